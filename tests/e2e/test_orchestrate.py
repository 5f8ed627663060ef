"""`doit orchestrate` with the real client in tmux, its model played by the loopback stand-in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from dodo_claude.state.journal import Attempt
from tests.e2e.replies import by_stage, stages, write
from tests.project import Project

from .client import client_home
from .messages_api import MessagesApi, Reply, Request, delay, ended, error, say, tool, turns, used

pytestmark = [pytest.mark.client, pytest.mark.tmux]


def test_two_dependent_stages_are_verified_and_then_skipped(client: Project, api: MessagesApi) -> None:
    root = client.root
    client.write(
        "orchestrate.toml",
        stages(
            "[stages.backend]\nprompt = 'Make the api.'\ntargets = ['api.txt']\ncheck = 'grep -q GET api.txt'",
            '[stages.tests]\nprompt = """Test this:\n{{ files[\'api.txt\'] }}\nand mind: {{ stages.backend.message }}"""\n'
            "targets = ['tests.txt']",
        ),
    )
    api.reply = by_stage(
        backend=turns(write(root / "api.txt", "GET /profile\n"), say("The api has one path.")),
        tests=turns(write(root / "tests.txt", "ok\n"), say("Tested.")),
    )
    ran = client.orchestrate()
    assert ran.said("2 stages: 2 done")
    assert client.result("backend")["message"] == "The api has one path."
    asked = next(request for request in api.requests if "the stage 'tests'" in request.system)
    assert "GET /profile" in asked.prompts[0]
    assert "The api has one path." in asked.prompts[0]
    count = len(api.requests)
    assert client.orchestrate().said("2 stages: 2 up to date")
    assert len(api.requests) == count
    assert client.sessions() == []


def test_a_worker_that_stops_too_early_is_told_what_is_missing(client: Project, api: MessagesApi) -> None:
    client.write(
        "orchestrate.toml",
        stages(
            "[stages.one]\nprompt = 'Make it.'\ntargets = ['it.txt']\ncheck = 'echo long line; grep -q good it.txt'\nrepairs = 2"
        ),
    )
    path = client.root / "it.txt"
    api.reply = by_stage(
        one=turns(
            say("All done!"), write(path, "bad\n"), say("Now it is."), write(path, "good\n"), say("Mended.")
        )
    )
    ran = client.orchestrate()
    assert ran.said("after 2 repairs")
    first = next(request for request in api.requests if len(request.prompts) == 2)
    assert first.prompts[1].startswith("The stage 'one' is not done: target 'it.txt' was not written.")
    second = next(request for request in api.requests if len(request.prompts) == 3)
    assert "check `echo long line; grep -q good it.txt` ended with exit status 1" in second.prompts[2]
    assert "Output of the check, as data:\nlong line" in second.prompts[2]
    assert client.result("one")["repairs"] == 2


PLAN = """
[stages.page]
prompt = "Make the page of {{ files['api.txt'] }}"
targets = ["page.txt"]
check = "grep -q GET page.txt"
[stages.api]
prompt = "Make the api."
targets = ["api.txt"]
"""
WRONG_PLAN = PLAN.replace("[stages.api]", "[stages.api]\nafter = ['page']\nagent = 'claude'")


def test_a_plan_is_mended_by_its_planner_and_then_runs(client: Project, api: MessagesApi) -> None:
    root = client.root
    client.write("orchestrate.toml", stages("[stages.work]\nplan = 'plan.toml'\nprompt = 'Plan a page.'"))
    api.reply = by_stage(
        **{
            "work:plan": turns(
                write(root / "plan.toml", WRONG_PLAN),
                say("Planned."),
                write(root / "plan.toml", PLAN),
                say("Mended."),
            ),
            # It may not touch the plan that it stands in.
            "work:api": turns(
                write(root / "plan.toml", "[stages.x]"),
                write(root / "api.txt", "GET /page\n"),
                say("The api."),
            ),
            "work:page": turns(write(root / "page.txt", "GET /page\n"), say("The page.")),
        }
    )
    ran = client.orchestrate("--yes")
    assert ran.said("3 stages: 3 done")
    assert ran.said("work: 2 stages planned in plan.toml")
    told = [request for request in api.requests if "the stage 'work:plan'" in request.system][-1].prompts
    assert told[0].startswith("Plan a page.")
    assert "Write plan.toml, a TOML file" in told[0]
    assert "plan.toml:7:1: stages.api.after" not in told[0]
    assert "plan.toml:8:1: stages.api.agent: can't stand in a plan" in told[1]
    assert "stages wait for each other: work:page -> work:api -> work:page" in told[1]
    assert client.result("work:plan")["repairs"] == 1
    assert client.read("plan.toml") == PLAN
    count = len(api.requests)
    assert client.orchestrate().said("3 stages: 3 up to date")
    assert len(api.requests) == count


def test_a_worker_that_never_makes_its_target_fails_by_name(client: Project, api: MessagesApi) -> None:
    client.write("orchestrate.toml", stages("[stages.one]\nprompt = 'Make it.'\ntargets = ['it.txt']"))
    api.reply = by_stage(one=turns(say("Done."), then=say("Really done.")))
    ran = client.orchestrate(check=1)
    assert ran.said("one FAILED: target 'it.txt' was not written")
    screen = client.log("one").dir.joinpath("1/screen.txt").read_text()
    # Its words it may not have drawn before it was ended, some milliseconds after its Stop hook.
    assert "Claude Code v" in screen
    assert client.result("one")["message"] == "Really done."
    assert client.processes() == []


# Each begins, ends or holds what something on the way might act on; "hash" ends with a semicolon.
PROMPTS = {
    "inside": 'say "it\'s" $(touch pwned) `touch pwned` $HOME \\n 100%, naïve 👩‍👩‍👧 café — “x”\r\ntwo\r\na\x1b[201~b\x03c',
    "dash": "--dangerously-skip-permissions is what this text begins with",
    "path": "/etc/hosts is a file, and a backslash ends it \\",
    "command": "/help is no command here",
    "bang": "! echo this is text",
    "hash": "# a heading\n\n- a list;",
    "long": "".join(f"line {number:05}: {'x' * 40}\n" for number in range(1700)),
    "longer": "".join(f"line {number:05}: {'y' * 40}\n" for number in range(3000)),
}
# What changes on the way, and who does it: README, "What reaches the model".
ALTERED = {"inside": PROMPTS["inside"].replace("\r", "").replace("\x1b", "").replace("\x03", "")}


def test_prompts_reach_the_model_as_written(client: Project, api: MessagesApi) -> None:
    tables = ["[orchestrate]\nname = 'p'\nmax_workers = 3\n[defaults]\ntimeout = '90s'\nrepairs = 0"]
    for name, text in PROMPTS.items():
        (client.root / f"{name}.md").write_bytes(text.encode())
        tables.append(f"[stages.{name}]\nprompt_file = '{name}.md'\ntargets = ['{name}.txt']")
    client.write("orchestrate.toml", "\n".join(tables))
    made = {name: turns(write(client.root / f"{name}.txt", "x"), say("ok")) for name in PROMPTS}
    api.reply = by_stage(**made)
    client.orchestrate()
    reached = {}
    for request in api.requests:
        for name in PROMPTS:
            if f"the stage '{name}'" in request.system and request.prompts:
                reached.setdefault(name, request.prompts[0])
    for name, text in PROMPTS.items():
        if name in ("longer", "command"):
            folder = client.log(name).dir / "1"
            assert reached[name] == f"Read the file {folder / 'prompt.md'} and do what it says."
            assert (folder / "prompt.md").read_text() == text
        else:
            assert reached[name].strip("\n") == ALTERED.get(name, text).strip("\n"), name
    assert not (client.root / "pwned").exists()


def test_edits_outside_the_project_are_denied_without_a_dialog(
    client: Project, api: MessagesApi, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.txt"
    (client.root / "link").symlink_to(tmp_path)
    client.write("orchestrate.toml", stages("[stages.one]\nprompt = 'Go.'\ntargets = ['in.txt']"))
    api.reply = by_stage(
        one=turns(
            write(outside, "x"),
            write(client.root / ".." / "outside.txt", "x"),
            write(client.root / "link" / "outside.txt", "x"),
            tool("Bash", command=f"echo x > {outside}", description="try"),
            tool("Bash", command="touch in.txt", description="not allowed either"),
            tool("EnterPlanMode"),
            write(client.root / "in.txt", "x"),
            say("Done."),
        )
    )
    client.orchestrate()
    assert not outside.exists()
    kinds = client.kinds("one")
    assert "PermissionRequest" not in kinds
    assert "Notification" not in kinds


def test_no_key_of_ours_answers_a_dialog(client: Project, api: MessagesApi) -> None:
    """In manual mode a Write asks. Nobody answers: the file is not made, the reason names the dialog."""
    client.write(
        "orchestrate.toml",
        stages(
            "[agents.asking]\nbase = 'claude'\npermission_mode = 'manual'\nallowed_tools = []",
            "[stages.one]\nagent = 'asking'\nprompt = 'Go.'\ntargets = ['in.txt']\ntimeout = '15s'",
        ),
    )
    api.reply = by_stage(one=turns(write(client.root / "in.txt", "x"), then=say("Done.")))
    ran = client.orchestrate(check=1)
    assert ran.said("one NEEDS A PERSON: Write in.txt")
    assert ran.said("FAILED: timed out after 15 s (it waited for a person: Write")
    assert not (client.root / "in.txt").exists()
    assert "Do you want to create in.txt?" in client.log("one").dir.joinpath("1/screen.txt").read_text()


def test_an_untrusted_project_starts_no_worker_until_trust_is_given(
    client: Project, api: MessagesApi, tmp_path: Path
) -> None:
    home = client_home(tmp_path / "other", trusted=[])
    client.env["HOME"] = str(home)
    client.write("orchestrate.toml", stages("[stages.one]\nprompt = 'Go.'\ntargets = ['in.txt']"))
    api.reply = by_stage(one=turns(write(client.root / "in.txt", "x"), say("Done.")))
    refused = client.orchestrate(check=3)
    assert refused.err.startswith(f"ERROR: claude: does not trust {client.root}")
    assert "--trust" in refused.err
    assert client.attempts("one") == 0
    client.orchestrate("--trust")
    state = json.loads((home / ".claude.json").read_text())
    assert state["projects"][str(client.root)]["hasTrustDialogAccepted"] is True
    assert state["hasCompletedOnboarding"] is True


def test_a_repository_below_a_trusted_folder_needs_trust_of_its_own(
    client: Project, api: MessagesApi, tmp_path: Path
) -> None:
    """Its own, and that of a `cwd` which is one: the client asks for each, and no worker is started to meet that."""
    home = client_home(tmp_path / "other", trusted=[client.root.parent])
    client.env["HOME"] = str(home)
    for folder in (client.root, client.root / "inner"):
        subprocess.run(["git", "init", "-q", str(folder)], check=True)
    text = "[stages.one]\nprompt = 'Go.'\ntargets = ['in.txt']\n"
    text += "[stages.two]\nprompt = 'Go.'\ncwd = 'inner'\ntargets = ['inner/in.txt']\n"
    client.write("orchestrate.toml", stages(text))
    write_one, write_two = write(client.root / "in.txt", "x"), write(client.root / "inner/in.txt", "x")
    api.reply = by_stage(one=turns(write_one, say("Done.")), two=turns(write_two, say("Done.")))
    refused = client.orchestrate(check=3)
    for folder in (client.root, client.root / "inner"):
        assert f"claude: does not trust {folder} (run `claude` there once" in refused.err
    assert client.attempts("one") == client.attempts("two") == 0
    ran = client.orchestrate("--trust")
    assert ran.said(f"recorded: {client.root} is trusted")
    assert ran.said(f"recorded: {client.root}/inner is trusted")
    assert ran.said("2 stages: 2 done")


def test_a_fault_in_the_users_settings_ends_the_run_and_is_named(client: Project, api: MessagesApi) -> None:
    client.write("orchestrate.toml", stages("[stages.one]\nprompt = 'Go.'\ntargets = ['in.txt']"))
    settings = Path(client.env["HOME"]) / ".claude/settings.json"
    settings.parent.mkdir(exist_ok=True)
    settings.write_text('{"hooks": {"NoSuch": []}}')
    ran = client.orchestrate(check=1)  # a person would be waited for 30 minutes, longer than this waits
    assert ran.said(
        f"FAILED: the client stopped at a dialog before it began: {settings}: hooks.NoSuch: Unknown hook event"
    )
    assert "mend that file" in ran.out
    assert client.attempts("one") == 1
    assert api.requests == []
    settings.write_text('{"hooks": {')
    ran = client.orchestrate(check=3)
    assert ran.err.startswith(f"ERROR: {settings}:1:12: is not JSON")
    assert client.attempts("one") == 1


def test_an_error_that_will_not_pass_fails_at_once_with_its_text(client: Project, api: MessagesApi) -> None:
    client.write("orchestrate.toml", stages("[stages.one]\nprompt = 'Go.'\ntargets = ['in.txt']"))
    api.reply = by_stage(one=lambda request: error(400, "Your credit balance is too low to access the API"))
    ran = client.orchestrate(check=1)
    assert ran.said("one FAILED: the client gave up (billing_error): Credit balance is too low")
    assert client.attempts("one") == 1


def test_a_refused_key_is_said_at_the_first_refusal(client: Project, api: MessagesApi) -> None:
    """No hook tells before the client gives up, minutes later."""
    client.write("orchestrate.toml", stages("[stages.one]\nprompt = 'Go.'\ntargets = ['a.txt']"))
    api.reply = by_stage(one=lambda request: error(401, "invalid x-api-key"))
    with client.started() as live:
        live.until(
            ": 401 invalid x-api-key (its client asks again by itself, attempt 1 of 11; if that stays so, run"
        )
        client.run("dodo-claude", "stop", "one", check=0)
        live.wait()
    assert next(kind for kind in client.kinds("one") if kind in ("unheard", "StopFailure")) == "unheard"


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (
            "refusal",
            "FAILED: the model refuses to answer (say it in other words, or give the stage another model): API",
        ),
        ("max_tokens", "FAILED: the model's answer was longer than one may be ("),
    ],
)
def test_an_answer_that_is_none_is_called_what_it_is(
    client: Project, api: MessagesApi, reason: str, said: str
) -> None:
    client.write("orchestrate.toml", stages("[stages.one]\nprompt = 'Go.'\ntargets = ['a.txt']"))
    api.reply = by_stage(one=lambda request: say("No.") + ended(reason))
    assert client.orchestrate(check=1).said(said)


def test_what_the_users_own_rule_refuses_is_named(client: Project, api: MessagesApi) -> None:
    settings = Path(client.env["HOME"]) / ".claude/settings.json"
    settings.parent.mkdir(exist_ok=True)
    settings.write_text('{"permissions": {"deny": ["Bash(echo *)", "Edit(./a.txt)"]}}')
    client.write("orchestrate.toml", stages("[stages.one]\nprompt = 'Go.'\ntargets = ['a.txt']\nrepairs = 0"))
    path = client.root / "a.txt"
    api.reply = by_stage(one=turns(tool("Bash", command="echo hi"), write(path, "a"), say("Done.")))
    ran = client.orchestrate(check=1)
    assert ran.said("was refused: Bash echo hi (by a deny rule)")
    rule = "(by a deny rule of the user's settings)"
    assert ran.said(
        f"not written; its client refused it Bash echo hi {rule}, Write {path} {rule}"
    ) or ran.said(f"not written; its client refused it Bash echo hi {rule}, Write a.txt {rule}")


def test_settings_of_the_project_can_not_switch_our_hooks_off_or_add_theirs(
    client: Project, api: MessagesApi
) -> None:
    evil = {"hooks": [{"type": "command", "command": f"touch {client.root}/evil"}]}
    client.write(
        ".claude/settings.json",
        json.dumps({"disableAllHooks": True, "hooks": {"SessionStart": [evil], "Stop": [evil]}}),
    )
    client.write(
        ".mcp.json",
        json.dumps({"mcpServers": {"evil": {"command": "touch", "args": [f"{client.root}/evil"]}}}),
    )
    client.write("orchestrate.toml", stages("[stages.one]\nprompt = 'Go.'\ntargets = ['in.txt']"))
    api.reply = by_stage(one=turns(write(client.root / "in.txt", "x"), say("Done.")))
    client.orchestrate()
    assert not (client.root / "evil").exists()
    assert "Stop" in client.kinds("one")


def spawned(project: Project, stage: str, number: int) -> int:
    log = project.log(stage)
    events = list(Attempt(log, number).replay())
    return int(str(next(event for event in events if event.kind == "spawned").data["pid"]))


def test_a_killed_client_is_resumed_and_goes_on(client: Project, api: MessagesApi) -> None:
    client.write(
        "orchestrate.toml",
        "[orchestrate]\nname = 'e2e'\nretry_delay = '10ms'\n[stages.one]\nprompt = 'Make it.'\ntargets = ['a.txt', 'b.txt']",
    )

    def model(request: Request) -> Reply:
        if "Please go on" in request.last_user_text:
            return write(client.root / "b.txt", "b") if not request.tool_results else say("Done.")
        if request.tool_results:
            os.kill(spawned(client, "one", 1), signal.SIGKILL)  # in mid-turn, a.txt is written
            return delay(5) + say("never heard")
        if any("Please go on" in text for text in request.prompts):
            return say("Done.")
        return write(client.root / "a.txt", "a")

    api.reply = by_stage(one=model)
    ran = client.orchestrate()
    assert ran.said("one done in")
    assert client.attempts("one") == 2
    script = client.log("one").dir.joinpath("2/launch.sh").read_text()
    assert "--resume " in script
    assert "signal 9" in str(Attempt(client.log("one"), 1).result()["reason"])
    resumed = next(request for request in api.requests if "Please go on" in request.last_user_text)
    assert resumed.prompts[0].startswith("Make it.")  # the same conversation
    assert client.read("a.txt") == "a"


def test_an_overload_is_waited_out_in_the_same_attempt(client: Project, api: MessagesApi) -> None:
    client.write(
        "orchestrate.toml",
        "[orchestrate]\nname = 'e2e'\nretry_delay = '200ms'\n[stages.one]\nprompt = 'Make it.'\ntargets = ['a.txt']\nrepairs = 0",
    )
    failed = error(529, "Overloaded", headers={"x-should-retry": "false"})
    api.reply = by_stage(one=turns(failed, failed, write(client.root / "a.txt", "a"), say("Done.")))
    ran = client.orchestrate()
    assert ran.said("the API is overloaded (server_error); all workers wait until")
    kinds = client.kinds("one")
    assert kinds.count("paused") == kinds.count("continued") == 2
    assert client.attempts("one") == 1


def test_what_would_be_asked_is_refused_by_policy(client: Project, api: MessagesApi) -> None:
    client.write(
        "orchestrate.toml",
        stages(
            "[agents.asking]\nbase = 'claude'\npermission_mode = 'manual'\nallowed_tools = ['Edit(./in.txt)']",
            "[stages.one]\nagent = 'asking'\nprompt = 'Go.'\ntargets = ['in.txt']\non_permission = 'deny'",
        ),
    )
    api.reply = by_stage(
        one=turns(
            tool("Bash", command="touch out.txt", description="x"),
            write(client.root / "in.txt", "x"),
            say("Done."),
        )
    )
    client.orchestrate()
    assert "PermissionRequest" in client.kinds("one")
    assert not (client.root / "out.txt").exists()
    told = next(request for request in api.requests if request.tool_results).tool_results[0]
    assert "nobody can be asked" in str(told)


def test_tokens_and_cost_are_counted(client: Project, api: MessagesApi) -> None:
    client.write("orchestrate.toml", stages("[stages.one]\nprompt = 'Go.'\ntargets = ['in.txt']"))
    api.reply = by_stage(
        one=turns(write(client.root / "in.txt", "x") + used(1000, 50), say("Done.") + used(2000, 10))
    )
    client.orchestrate()
    result = client.result("one")
    assert result["tokens"] == 3060
    assert float(str(result["cost_usd"])) > 0


WORKFLOW = """export const meta = { name: 'two', description: 'Ask two agents' }
return await parallel([() => agent('FIRST'), () => agent('SECOND')])
"""


def test_what_a_workflows_agents_use_is_counted(client: Project, api: MessagesApi) -> None:
    client.write(
        "orchestrate.toml",
        stages(
            "[stages.one]\nprompt = 'Ask them.'\ntargets = ['it.txt']\nallowed_tools = ['Edit(./**)', 'Workflow']"
        ),
    )
    path = client.root / "it.txt"

    def reply(request: Request) -> Reply:
        if any("FIRST" in text or "SECOND" in text for text in request.prompts):
            return say("Asked.") + used(100_000, 5)
        if path.exists():
            return say("Done.") + used(10, 1)
        if any("<task-notification>" in text for text in request.user_texts):
            return write(path, "x\n") + used(10, 1)
        if request.tool_results:
            return say("They are at work.") + used(10, 1)
        return tool("Workflow", script=WORKFLOW) + used(10, 1)

    api.reply = reply
    client.orchestrate()
    assert client.result("one")["tokens"] == 2 * 100_005 + 4 * 11


def test_a_login_that_is_missing_stops_the_run_with_one_message(client: Project, api: MessagesApi) -> None:
    client.write(
        "orchestrate.toml",
        stages(*(f"[stages.s{n}]\nprompt = 'Go.'\ntargets = ['{n}.txt']" for n in range(3))).replace(
            "[orchestrate]", "[orchestrate]\nmax_workers = 1"
        ),
    )
    api.reply = lambda request: error(401, "invalid x-api-key", headers={"x-should-retry": "false"})
    ran = client.orchestrate(check=1)
    assert sum("authentication" in line for line in ran.lines if line.startswith("stopped:")) == 1
    assert [client.attempts(f"s{n}") for n in range(3)].count(1) == 1


def test_a_killed_orchestrator_is_followed_by_one_that_adopts_the_live_client(
    client: Project, api: MessagesApi
) -> None:
    client.write("orchestrate.toml", stages("[stages.one]\nprompt = 'Make it.'\ntargets = ['a.txt']"))
    gate = threading.Event()

    def model(request: Request) -> Reply:
        if request.tool_results:
            return say("Done.")
        gate.wait(30)  # in mid-turn until the second orchestrator is there
        return write(client.root / "a.txt", "a")

    api.reply = by_stage(one=model)
    with client.started() as live:
        client.wait_for(
            lambda: client.attempts("one") and "UserPromptSubmit" in client.kinds("one"), "its prompt"
        )
        pid = spawned(client, "one", 1)
        live.kill()
    with client.started() as live:
        client.wait_for(
            lambda: "a run is in progress" in client.run("dodo-claude", "status").out, "the second run"
        )
        gate.set()
        assert live.wait() == 0
    assert client.attempts("one") == 1
    assert [event.kind for event in Attempt(client.log("one"), 1).replay()].count("spawned") == 1
    assert client.result("one")["result"] == "succeeded"
    assert pid not in client.processes()
    assert len([request for request in api.requests if request.kind == "turn"]) == 2


@pytest.mark.parametrize("raised", [False, True])
def test_a_run_that_its_budget_stopped_goes_on_with_the_next_one(
    client: Project, api: MessagesApi, raised: bool
) -> None:
    """In the same session, whose past costs more than the next run may: that was another run's."""
    text = stages("[stages.one]\nprompt = 'Make it.'\ntargets = ['it.txt']").replace(
        "[defaults]", "budget = { cost_usd = 0.4 }\n[defaults]"
    )
    client.write("orchestrate.toml", text)
    go, path, calls = threading.Event(), client.root / "it.txt", []

    def script(request: Request) -> Reply:
        resumed = "was cut off" in request.prompts[-1]
        calls.append(resumed)
        if resumed:
            return (say("Done.") if calls.count(True) > 1 else write(path, "whole\n")) + used(1000, 10)
        if calls.count(False) == 2:
            # The client tells its status line of the first answer within a second; the next hook has the run look there.
            time.sleep(2)
        elif calls.count(False) > 2:
            go.wait(60)  # it is in mid-work when that is seen
        return write(path, "half\n") + used(215_000, 10)

    api.reply = by_stage(one=script)
    try:
        ran = client.orchestrate(check=1)
    finally:
        go.set()
    assert ran.said("stopped: budget of 0.40 USD used (0.8"), ran.out
    first = client.result("one")
    assert float(str(first["cost_usd"])) > 0.8
    assert True not in calls
    if raised:
        client.write("orchestrate.toml", text.replace("0.4 }", "0.8 }"))
    assert client.orchestrate().said("1 stage: 1 done")
    second = client.result("one")
    assert second["session_id"] == first["session_id"]
    assert client.read("it.txt") == "whole\n"


def in_mid_work(path: Path, go: threading.Event):  # type: ignore[no-untyped-def]
    """A worker that has made half of its file and waits for its model; once resumed, it makes the whole."""
    resumed: list[Request] = []

    def script(request: Request) -> Reply:
        if "was cut off" in request.prompts[-1]:
            resumed.append(request)
            return write(path, "whole\n") if len(resumed) == 1 else say("Done.")
        if request.tool_results:
            go.wait(60)
            return say("late")
        return write(path, "half\n")

    return by_stage(one=script)


def test_a_stopped_worker_comes_back_with_the_next_run_only(client: Project, api: MessagesApi) -> None:
    client.write(
        "orchestrate.toml", stages("[stages.one]\nprompt = 'Make it.'\ntargets = ['it.txt']\nretries = 3")
    )
    go, path = threading.Event(), client.root / "it.txt"
    api.reply = in_mid_work(path, go)
    try:
        with client.started() as live:
            client.wait_for(path.exists, "its half")
            said = client.run("dodo-claude", "stop", "one", check=0).out
            assert said == "one: stopped; doit orchestrate goes on with it\n"
            assert live.wait() == 1
    finally:
        go.set()
    assert "one             stopped by you\n" in live.text
    assert not path.exists()
    assert (client.attempts("one"), client.processes(), client.sessions()) == (1, [], [])
    first = client.result("one")
    assert (first["result"], first["reason"]) == ("aborted", "stopped by you")
    assert client.orchestrate().said("1 stage: 1 done")
    assert client.result("one")["session_id"] == first["session_id"]
    assert client.read("it.txt") == "whole\n"


# Two ways each look the same from outside: integration/test_faults.py has all four with the scripted agent.
@pytest.mark.parametrize("way", ["/exit", "kill-server"])
def test_how_a_client_was_lost_is_said_where_another_is_started(
    client: Project, api: MessagesApi, way: str
) -> None:
    client.write(
        "orchestrate.toml",
        stages("[stages.one]\nprompt = 'Make it.'\ntargets = ['it.txt']\nretries = 3").replace(
            "[defaults]", "retry_delay = '10ms'\n[defaults]"
        ),
    )
    go, path = threading.Event(), client.root / "it.txt"
    api.reply = in_mid_work(path, go)
    try:
        with client.started() as live:
            client.wait_for(path.exists, "its half")
            (socket,) = client.runtime.glob("dodo-claude/*/tmux.sock")
            spawned = [event for event in Attempt(client.log("one"), 1).replay() if event.kind == "spawned"]
            pane = str(spawned[0].data["pane"])
            tmux = ["tmux", "-S", str(socket)]
            if way == "kill-server":
                subprocess.run([*tmux, way], check=True)
            else:
                client.run("dodo-claude", "interrupt", "one", check=0)
                client.wait_for(
                    lambda: "Interrupted" in client.run("dodo-claude", "capture", "one").out, "its prompt"
                )
                for keys in (["-l", way], ["Enter"]):
                    subprocess.run([*tmux, "send-keys", "-t", pane, *keys], check=True)
            assert live.wait() == 0, live.text
    finally:
        go.set()
    how = (
        "an unknown exit status (its tmux server, or its pane, was killed)"
        if way == "kill-server"
        else "exit status 0 (somebody left it in its pane: /exit, Ctrl-C or Ctrl-D)"
    )
    why = f"its worker ended in mid-work with {how}"
    (again,) = [line for line in live.lines if "(attempt 2; attempt 1 failed: " in line]
    assert why[:80] in again
    told = client.run("dodo-claude", "log", "one", check=0).out
    assert f"  before: attempt 1 failed: {why} (files: .orchestrate/stages/one/1/)\n" in told
    assert client.read("it.txt") == "whole\n"
