"""How an agent without hooks is started; run for real by /bin/sh."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dodo_claude.agents.start import launch, launch_script
from tests.samples.jobs import COMMAND, JOB


@pytest.mark.parametrize(
    ("prompt_by", "end"),
    [("argument", """ "$(case $prompt in (-*) printf ' ';; esac)$prompt\""""), ("stdin", " < /p/.orchestrate/stages/api/3/prompt.md"),
     ("file", " /p/.orchestrate/stages/api/3/prompt.md")],
)  # fmt: skip
def test_a_command(prompt_by: str, end: str) -> None:
    made = launch(replace(COMMAND, prompt_by=prompt_by), JOB, {}, {})
    assert made.command == "my-agent --now 'it'\"'\"'s'" + end + " 3>&1"
    assert made.files == {}


@pytest.mark.parametrize(
    ("words", "prompt", "given"),
    [
        ((), "- one\n- two\n", " - one\n- two\n"),
        ((), "--help me", " --help me"),
        ((), "one - two", "one - two"),
        (("--",), "- one", "- one"),
    ],
)
def test_a_prompt_is_no_option_of_a_command(
    tmp_path: Path, words: tuple[str, ...], prompt: str, given: str
) -> None:
    """Its program gets the prompt as its last argument, with a blank before a leading dash unless `--` stands there."""
    show = (
        sys.executable,
        "-c",
        "import sys; open('got', 'w').write(repr(sys.argv[-1]))",
    )
    profile = replace(COMMAND, command=show, args=words, prompt_by="argument")
    job = replace(JOB, folder=tmp_path, cwd=tmp_path)
    (tmp_path / "prompt.md").write_text(prompt)
    (tmp_path / "env").write_text("")
    script = launch_script(job, launch(profile, job, {}, {}).command, tmp_path / "env")
    subprocess.run(["sh", "-c", script], check=True)
    assert (tmp_path / "got").read_text() == repr(given)
