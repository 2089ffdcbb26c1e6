"""What makes training fast: nothing that is frozen is computed twice."""
