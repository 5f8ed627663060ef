"""Makes demo/picture.svg, the picture in the README: a real run of templates/refactor by the scripted agent, in a tmux of its own.

python demo/picture.py          # a Python that dodo_claude is installed for; takes ten seconds
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).resolve().with_name("picture.svg")
TEMPLATE = "refactor"
COMMAND = "doit orchestrate --agent scripted"
COLUMNS, ROWS = 100, 26
# The moment that tells most: one stage is done, all those that waited for it work, one still waits.
MOMENT = re.compile(r"(^modules:\w+ +running .*Write.*\n){4}^verify +waiting", re.M)
OVER = re.compile(r"^report: .*\n\$", re.M)
PATIENCE_SECONDS, LOOK_SECONDS = 60.0, 0.05
# As rich has it, without the web fonts: a picture in a page may load nothing.
FORMAT = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: {char_height}px; line-height: {line_height}px }}
.{unique_id}-title {{ font-family: sans-serif; font-size: 18px; font-weight: bold }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def svg(screen: str) -> str:
    """A screen, as tmux gives it with its colours, as a picture."""
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(Text.from_ansi(screen.rstrip()), soft_wrap=True)
    text = console.export_svg(title=COMMAND, code_format=FORMAT, unique_id="board")
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip()) + "\n"


def play(folder: Path, moment: re.Pattern[str] = MOMENT, speed: str = "1") -> str:
    """Run the template in `folder`; the screen at that moment, with its colours."""
    programs = Path(sys.executable).parent
    env = {
        "PATH": f"{programs}:{os.environ.get('PATH', os.defpath)}",
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
        "LANG": "C.UTF-8",
        "DODO_CLAUDE_SCRIPTED_SPEED": speed,
        "PS1": "$ ",
        "HISTFILE": "",  # nothing is written when it is hung up
    }
    project = folder / TEMPLATE
    subprocess.run(["dodo-claude", "init", TEMPLATE, project], env=env, check=True, stdout=subprocess.DEVNULL)

    def tmux(*arguments: str) -> str:
        command = ["tmux", "-u", "-S", str(folder / "tmux.sock"), "-f", "/dev/null", *arguments]
        return subprocess.run(command, env=env, check=True, capture_output=True, encoding="utf-8").stdout

    def wait(sight: re.Pattern[str]) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not sight.search(tmux("capture-pane", "-p", "-t", "picture:")):
            if time.monotonic() > end:
                sys.exit(f"picture: not within {PATIENCE_SECONDS:g} s: {sight.pattern}")
            time.sleep(LOOK_SECONDS)

    tmux(
        "start-server", ";", "set-option", "-g", "status", "off", ";",
        "new-session", "-d", "-s", "picture", "-x", str(COLUMNS), "-y", str(ROWS), "-c", str(project),
        "bash", "--norc", "--noprofile",
    )  # fmt: skip
    try:
        wait(re.compile(r"^\$", re.M))
        tmux("send-keys", "-t", "picture:", COMMAND, "Enter")
        wait(moment)
        screen = tmux("capture-pane", "-p", "-e", "-t", "picture:")
        wait(OVER)
    finally:
        tmux("kill-server")
    return screen


def main() -> None:
    if shutil.which("tmux") is None:
        sys.exit("picture: tmux: not found on PATH")
    # A socket's path has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="dc") as folder:
        screen = play(Path(folder))
    PICTURE.write_text(svg(screen), encoding="utf-8")
    sys.stdout.write(f"wrote {PICTURE}\n")


if __name__ == "__main__":
    main()
