"""What is remembered of an approval, and how what lacks one is listed."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest

from dodo_claude.config.config import load_config
from dodo_claude.run import approvable, approval
from dodo_claude.run.approval import ApprovalError
from dodo_claude.text.errors import DodoClaudeError
from tests.samples.places import Place


def test_things_that_are_alike_are_listed_once_and_nothing_acts_on_a_terminal(place: Place) -> None:
    items = "', '".join(f"i{number}" for number in range(9))
    place.write(
        "orchestrate.toml",
        f"[stages.r]\nforeach = ['{items}']\nprompt = 'x'\ntargets = ['{{{{ item }}}}']\n"
        '[stages.z]\ncommand = "true \\u001b[2K\\nfalse"\n[stages.long]\ncommand = \'echo '
        + "x" * 600
        + "'\n",
    )
    lines = approval.listing(approvable.items(place.config))
    assert lines[0].startswith("worker of stage 'r:i0', 'r:i1', 'r:i2', 'r:i3' and 5 more: claude;")
    assert lines[1] == "command of stage 'z': true \\x1b[2K\\nfalse"
    assert lines[2].endswith("x… (105 more characters)")
    many = [approvable.Item("check of stage", f"s{n}", f"cmd {n}", f"{n}") for n in range(100)]
    assert approval.listing(many)[-1] == "… and 40 more: read orchestrate.toml"


def test_it_is_kept_outside_of_the_project_for_its_user_alone(place: Place) -> None:
    before = sorted(place.root.rglob("*"))
    place.approve()
    assert sorted(place.root.rglob("*")) == before
    assert place.state.parent == Path(place.environ["XDG_STATE_HOME"]) / "dodo-claude" / "approved"
    assert place.state.stat().st_mode & 0o777 == 0o600
    assert place.state.parent.stat().st_mode & 0o777 == 0o700
    assert place.state.parent.parent.stat().st_mode & 0o777 == 0o700
    text = place.state.read_text()
    assert "make" not in text
    assert json.loads(text)["root"] == str(place.root)


def test_without_a_state_home_it_lies_below_home(tmp_path: Path) -> None:
    for value in ("", "relative"):
        path = approval.state_file(tmp_path, {"HOME": str(tmp_path), "XDG_STATE_HOME": value})
        assert path.parent == tmp_path / ".local/state/dodo-claude/approved"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"approved": 1}', '{"approved": {"a": 1}}', "[" * 100_000, "\xff"]
)
def test_what_cannot_be_read_approves_nothing(place: Place, text: str) -> None:
    place.approve()
    place.state.write_text(text, encoding="latin-1")
    assert len(place.missing) == 6
    assert not approval.was_asked(place.config, place.environ)
    place.approve()
    assert place.missing == []


def test_what_others_could_write_approves_nothing(place: Place) -> None:
    place.approve()
    place.state.chmod(0o666)
    assert len(place.missing) == 6


def test_an_approval_is_of_one_folder(place: Place, tmp_path: Path) -> None:
    place.approve()
    shutil.copytree(place.root, tmp_path / "copy")
    assert len(approval.unapproved(load_config(tmp_path / "copy/orchestrate.toml"), place.environ)) == 6


def test_the_first_question_says_so(place: Place) -> None:
    with pytest.raises(ApprovalError, match=r"^you have not approved yet what this project runs .*--trust"):
        place.require()


def test_old_approvals_are_forgotten_some_day(place: Place) -> None:
    for number in range(approval.KEPT + 2):
        place.write("orchestrate.toml", f"[stages.a]\ncommand = 'echo {number}'\n")
        place.approve()
    place.write("orchestrate.toml", "[stages.a]\ncommand = 'echo 1'\n")
    assert place.missing == ["command of stage 'a'"]
    place.write("orchestrate.toml", "[stages.a]\ncommand = 'echo 2'\n")
    assert place.missing == []


def test_two_at_once_lose_nothing(place: Place) -> None:
    configs = []
    for number in range(12):
        place.write("orchestrate.toml", f"[stages.a{number}]\ncommand = 'echo {number}'\n")
        configs.append(place.config)
    threads = [threading.Thread(target=approval.approve, args=(config, place.environ)) for config in configs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [config for config in configs if approval.unapproved(config, place.environ)] == []


def test_a_state_folder_that_cannot_be_made_is_a_line(place: Place) -> None:
    Path(place.environ["XDG_STATE_HOME"]).write_text("a file")
    with pytest.raises(DodoClaudeError, match="can't be written: "):
        place.approve()
