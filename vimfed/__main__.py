"""``python -m vimfed``: the command line."""

from vimfed.cli import main

main()
