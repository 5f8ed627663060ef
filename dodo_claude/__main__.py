"""`python -m dodo_claude`: the same as the command `dodo-claude`."""

from dodo_claude.cli import main

main(prog_name="dodo-claude")
