"""What has to be approved: what runs without a model's judgement."""

from __future__ import annotations

import json

import pytest

from dodo_claude.agents.claude import modes
from dodo_claude.run import approvable, approval
from dodo_claude.run.approval import ApprovalError
from tests.samples.places import Place


def test_what_runs_without_a_models_judgement_is_listed(place: Place) -> None:
    assert approval.listing(approvable.items(place.config)) == [
        "check of stage 'backend': make test",
        "worker of stage 'backend': claude; permission mode dontAsk; may use Edit(./**)",
        "check of stage 'docs': cd sub && LEVEL='a b' cat doc.txt",
        "worker of stage 'docs': cd sub && LEVEL='a b' ./agent.sh --fast; gets your MY_KEY",
        "command of stage 'build': make -j4",
        "file 'agent.sh': named by agent 'mine'",
    ]


CHANGES = {
    "a check": ("make test", "make test && curl x", ["check of stage 'backend'"]),
    "a command": ("make -j4", "make -j8", ["command of stage 'build'"]),
    "a folder": ('cwd = "sub"', 'cwd = "."', ["check of stage 'docs'", "worker of stage 'docs'"]),
    "a variable": ('"a b"', '"a c"', ["check of stage 'docs'", "worker of stage 'docs'"]),
    "a program's argument": ("--fast", "--slow", ["worker of stage 'docs'"]),
    "a variable that passes": ("MY_KEY", "MY_KEYS", ["worker of stage 'docs'"]),
    "allowed tools": ('check = "make test"', 'check = "make test"\nallowed_tools = ["Bash"]', ["worker of stage 'backend'"]),
    "whose settings": ('["user"]', '["user", "project"]', ["worker of stage 'backend'"]),
    "the mode": ("setting_sources", "permission_mode = 'acceptEdits'\nsetting_sources", ["worker of stage 'backend'"]),
    "the sandbox": ("setting_sources", "sandbox = true\nsetting_sources", ["worker of stage 'backend'"]),
    "a new stage": ("[stages.build]", "[stages.more]\ncommand = 'true'\n[stages.build]", ["command of stage 'more'"]),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_is_asked_again_and_named(place: Place, change: str) -> None:
    place.approve()
    assert place.missing == []
    place.require()
    old, new, named = CHANGES[change]
    if change == "the sandbox":  # what it is made of need not be on this machine
        for program in modes.SANDBOX_PROGRAMS:
            place.write(f"bin/{program}", "#!/bin/sh\n").chmod(0o755)
        place.environ["PATH"] += f":{place.root}/bin"
    place.edit(old, new)
    assert place.missing == named
    with pytest.raises(
        ApprovalError, match=f"^changed since you approved: {', '.join(named)} \\(run `doit orch"
    ):
        place.require()
    place.approve()
    place.edit(new, old)
    assert place.missing == []  # the other branch was approved, too


@pytest.mark.parametrize(
    ("old", "new"),
    [("Write it.", "Write it well."), ('targets = ["api.py"]', 'targets = ["api2.py"]\nmodel = "opus"\ntimeout = "5m"')],
)  # fmt: skip
def test_what_a_model_judges_is_not_asked_again(place: Place, old: str, new: str) -> None:
    place.approve()
    place.edit(old, new)
    assert place.missing == []


def test_one_byte_of_a_program_that_is_named(place: Place) -> None:
    place.approve()
    place.edit("sh\n", "sh \n", "agent.sh")
    assert place.missing == ["file 'agent.sh'"]


HOOKS = {
    "hooks": {"Stop": [{"hooks": [{"type": "command", "command": '"$CLAUDE_PROJECT_DIR"/tools/hook.sh x'}]}]}
}


def test_the_clients_settings_count_only_where_they_are_taken_over(place: Place) -> None:
    settings = place.write(".claude/settings.json", json.dumps(HOOKS))
    place.write(".claude/settings.local.json", "{}")
    place.write("tools/hook.sh", "true\n")
    place.write(".mcp.json", "{}")
    place.approve()
    settings.write_text("{}")
    assert place.missing == []  # no agent reads it

    settings.write_text(json.dumps(HOOKS))
    place.edit('["user"]', '["user", "project"]')
    assert place.missing == [
        "worker of stage 'backend'",
        "file '.claude/settings.json'",
        "file 'tools/hook.sh'",
    ]
    shown = approval.listing(approval.unapproved(place.config, place.environ))
    assert shown[1] == "file '.claude/settings.json': \"$CLAUDE_PROJECT_DIR\"/tools/hook.sh x"
    place.approve()
    place.write("tools/hook.sh", "true;\n")
    assert place.missing == ["file 'tools/hook.sh'"]
    place.write(".claude/settings.json", json.dumps(HOOKS) + " ")
    assert "file '.claude/settings.json'" in place.missing
    place.write(".claude/settings.json", "no JSON: {")
    assert "file '.claude/settings.json'" in place.missing

    place.edit('["user", "project"]', '["local"]\nargs = ["--mcp-config=.mcp.json"]')
    assert place.missing == [
        "worker of stage 'backend'",
        "file '.mcp.json'",
        "file '.claude/settings.local.json'",
    ]
