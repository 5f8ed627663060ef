"""What a worker is told besides its prompt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dodo_claude.agents.agent import Job
from dodo_claude.agents.brief import brief
from dodo_claude.agents.start import launch
from tests.samples.jobs import CLAUDE, JOB


def test_brief_names_targets_as_the_worker_sees_them(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/CLAUDE.md").write_text("notes")
    job = replace(JOB, root=tmp_path, cwd=tmp_path / "sub", targets=("api/a.py", "sub/b.py"))
    text = brief(job)
    assert "\n- ../api/a.py\n- b.py\n" in text
    assert f"run in {tmp_path / 'sub'} " in text
    assert "\n    make test\n" in text
    assert "CLAUDE.md" in text
    bare = brief(replace(job, targets=(), check=None, cwd=tmp_path))
    assert "exist" not in bare
    assert "CLAUDE.md" not in bare
    assert job.nonce not in text + settings_of_text(job)


def settings_of_text(job: Job) -> str:
    return launch(CLAUDE, job, {}, {}).files["settings.json"]
