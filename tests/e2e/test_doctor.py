"""`dodo-claude doctor --client`: a trial session of the real client, where it works and where it does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import pytest

from dodo_claude.agents.claude.versions import CLIENT_VERSION
from dodo_claude.agents.faults import FATAL
from tests.project import Project
from tests.schemas import shape

from .client import VERSION, client_home
from .messages_api import MessagesApi, error, say, turns

pytestmark = [pytest.mark.client, pytest.mark.tmux]


def look(client: Project, *, code: int) -> dict[str, dict[str, str]]:
    # It takes some 15 s; a loaded machine gets more.
    ran = client.run("dodo-claude", "doctor", "--client", "--json", check=code, timeout=180)
    found = [json.loads(line) for line in ran.out.splitlines()]
    for finding in found:
        jsonschema.validate(finding, shape("finding"))
    return {finding["name"]: finding for finding in found}


def test_a_client_that_works(client: Project, api: MessagesApi) -> None:
    client.write("orchestrate.toml", "[stages.one]\nprompt = 'Make it.'\ntargets = ['it.txt']\n")
    client.approve()
    api.reply = turns(say("ready"))
    found = look(client, code=0)
    assert {
        name: each for name, each in found.items() if each["result"] != "ok" and VERSION == CLIENT_VERSION
    } == {}
    assert found["client's input box"]["text"] == "taken for empty, also once somebody had looked in"
    assert found["client's messages"]["result"] == found["client's start"]["result"] == "ok"
    assert found["client's hooks"] == {
        "name": "client's hooks", "result": "ok", "text": "a trial session of the client told of itself", "remedy": "",
    }  # fmt: skip
    asked = [request for request in api.requests if request.kind == "turn"]
    assert asked[0].prompts == ["Answer with the word ready, and use no tool."]
    assert len(asked) == 1
    # Nothing of the trial is left: no session, no folder, no stage of the project was begun.
    assert remains(client) == []
    assert sorted(path.name for path in client.root.iterdir()) == ["orchestrate.toml"]


def remains(client: Project) -> list[str]:
    """Sessions and servers, what a trial would leave."""
    return [*client.sessions(), *map(str, client.runtime.glob("dodo-claude/*/tmux.sock"))]


def test_one_that_nobody_lets_in(client: Project, api: MessagesApi) -> None:
    """Its key is refused: what the API says comes through, and what to do."""
    api.reply = lambda request: error(401, "invalid x-api-key")
    found = look(client, code=1)
    hooks = found["client's hooks"]
    assert hooks["result"] == "wrong"
    assert "authentication_failed" in hooks["text"]
    assert hooks["remedy"] == FATAL["authentication_failed"]
    assert found["client's start"]["result"] == "ok"  # by itself it works
    assert remains(client) == []


def test_one_that_the_users_own_settings_stop(client: Project, api: MessagesApi) -> None:
    settings = Path(client.env["HOME"]) / ".claude/settings.json"
    settings.parent.mkdir(exist_ok=True)
    settings.write_text('{"permissions": {"allow": ["Bash("]}}')
    found = look(client, code=1)
    hooks = found["client's hooks"]
    assert hooks["text"].startswith(
        f"a trial session failed: the client stopped at a dialog before it began: {settings}: permissions.allow: Invalid"
    )
    assert hooks["remedy"] == "mend that file"
    assert found["client's start"]["result"] == "ok"
    assert api.requests == []
    assert remains(client) == []


def test_one_that_does_not_trust_the_folder(client: Project, api: MessagesApi, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "client")
    client_home(tmp_path / "client", trusted=[])
    hooks = look(client, code=0)["client's hooks"]
    assert (hooks["result"], "does not trust" in hooks["text"]) == ("note", True)
    assert hooks["remedy"].startswith("run `claude` there once")
    assert api.requests == []
