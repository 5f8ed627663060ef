"""The way in, as `dodo-claude` and as `python -m dodo_claude`: nothing of ours is imported before we look elsewhere."""

from dodo_claude.machine import importing

importing.leave_folder()

from dodo_claude.commands.main import main  # noqa: E402

if __name__ == "__main__":
    main(prog_name="dodo-claude")
