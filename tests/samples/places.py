"""A project that runs commands, a worker and a program of its own, with a state folder of its own."""

from __future__ import annotations

from pathlib import Path

from dodo_claude.config.config import load_config
from dodo_claude.config.records import Config
from dodo_claude.run import approval

FILE = """
[agents.claude]
setting_sources = ["user"]
[agents.mine]
command = ["./agent.sh", "--fast"]
env_pass = ["MY_KEY"]
[stages.backend]
prompt = "Write it."
targets = ["api.py"]
check = "make test"
[stages.docs]
agent = "mine"
prompt_file = "docs.md"
targets = ["doc.txt"]
cwd = "sub"
env = { LEVEL = "a b" }
check = "cat doc.txt"
[stages.build]
command = "make -j4"
targets = ["out.bin"]
"""


class Place:
    """A project with a state folder of its own."""

    def __init__(self, tmp_path: Path) -> None:
        self.root = tmp_path / "p"
        (self.root / "sub").mkdir(parents=True)
        self.environ = {
            "XDG_STATE_HOME": str(tmp_path / "state"),
            "HOME": str(tmp_path),
            "PATH": "/usr/bin:/bin",
        }
        self.write("orchestrate.toml", FILE)
        self.write("docs.md", "Write docs.")
        self.write("agent.sh", "#!/bin/sh\n")

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
        return path

    @property
    def config(self) -> Config:
        return load_config(self.root / "orchestrate.toml")

    @property
    def missing(self) -> list[str]:
        return [item.what for item in approval.unapproved(self.config, self.environ)]

    @property
    def state(self) -> Path:
        return approval.state_file(self.root, self.environ)

    def approve(self) -> None:
        approval.approve(self.config, self.environ)

    def edit(self, old: str, new: str, name: str = "orchestrate.toml") -> None:
        text = (self.root / name).read_text()
        assert old in text
        self.write(name, text.replace(old, new))

    def require(self) -> None:
        approval.require(self.config, self.environ)
