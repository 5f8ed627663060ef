"""`dodo-claude doctor --client`: a trial session of the real client, where it works and where it does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import pytest

from dodo_claude.fleet import FATAL
from tests.project import Project
from tests.schemas import shape

from .client import client_home
from .messages_api import MessagesApi, error, say, turns

pytestmark = [pytest.mark.client, pytest.mark.tmux]


def look(client: Project, *, code: int) -> dict[str, dict[str, str]]:
    ran = client.run("dodo-claude", "doctor", "--client", "--json", check=code)
    found = [json.loads(line) for line in ran.out.splitlines()]
    for finding in found:
        jsonschema.validate(finding, shape("finding"))
    return {finding["name"]: finding for finding in found}


def test_a_client_that_works(client: Project, api: MessagesApi) -> None:
    client.write("orchestrate.toml", "[stages.one]\nprompt = 'Make it.'\ntargets = ['it.txt']\n")
    client.approve()
    api.reply = turns(say("ready"))
    found = look(client, code=0)
    assert found["trust"]["result"] == "ok"
    assert found["client's hooks"] == {
        "name": "client's hooks", "result": "ok", "text": "a trial session of the client told of itself", "remedy": "",
    }  # fmt: skip
    asked = [request for request in api.requests if request.kind == "turn"]
    assert asked[0].prompts == ["Answer with the word ready, and use no tool."]
    assert len(asked) == 1
    # Nothing of the trial is left: no session, no folder, no stage of the project was begun.
    assert client.sessions() == []
    assert sorted(path.name for path in client.root.iterdir()) == ["orchestrate.toml"]


def test_one_that_nobody_lets_in(client: Project, api: MessagesApi) -> None:
    """Its key is refused: what the API says comes through, and what to do."""
    api.reply = lambda request: error(401, "invalid x-api-key")
    found = look(client, code=1)
    hooks = found["client's hooks"]
    assert hooks["result"] == "wrong"
    assert "authentication_failed" in hooks["text"]
    assert hooks["remedy"] == FATAL["authentication_failed"]
    assert client.sessions() == []


def test_one_that_does_not_trust_the_folder(client: Project, api: MessagesApi, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "client")
    client_home(tmp_path / "client", trusted=[])
    hooks = look(client, code=1)["client's hooks"]
    assert (hooks["result"], "does not trust" in hooks["text"]) == ("wrong", True)
    assert hooks["remedy"].startswith("run `claude` there once")
    assert api.requests == []
