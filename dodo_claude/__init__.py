"""dodo_claude: `doit orchestrate`, Claude Code workers in tmux as doit tasks."""

__version__ = "0.1.0"
