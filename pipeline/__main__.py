"""`python -m pipeline`: the same as the command `sitscube`."""

from pipeline.cli.commands import main

main()
