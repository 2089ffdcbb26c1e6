"""Search: what is tried, where it runs, and the study that keeps it."""
