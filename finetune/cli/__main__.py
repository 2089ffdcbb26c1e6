"""`python -m finetune.cli`: the command, where it is not on the path."""

from finetune.cli import app

app()
