"""`python -m pipeline`: the same as the command `sitscube`."""

from pipeline.cli import main

main()
