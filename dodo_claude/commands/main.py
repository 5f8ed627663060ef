"""`dodo-claude`: the group of all commands that are not a run. Owns its help, and how it ends where its streams are lost."""

from __future__ import annotations

from typing import Any

import click

from dodo_claude import __version__
from dodo_claude.commands import manage, say, see, start
from dodo_claude.machine import streams


class _Commands(click.Group):
    """Its help gives each command's whole first sentence; click's own cuts it in mid-word."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """As click's, with streams that may be closed or full."""
        streams.settle(ends=True)
        try:
            return super().main(*args, **kwargs)
        finally:
            streams.failed()  # what is not written yet is, or ends it

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click's, but on as many lines as it takes."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, self.commands[name].get_short_help_str(limit=500))
                    for name in self.list_commands(ctx)
                ]
            )


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dodo-claude")
def main() -> None:
    """Claude Code workers in tmux as doit tasks. `doit orchestrate` runs them."""


for command in (*start.COMMANDS, *see.COMMANDS, *say.COMMANDS, *manage.COMMANDS):
    main.add_command(command)
