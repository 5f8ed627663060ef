"""What a person sees and steers by: interrupt, attach, completion. Status and doctor have files of their own."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from dodo_claude.commands import main
from dodo_claude.commands.face import complete_stage
from dodo_claude.state.journal import folder_name
from tests.integration.scenes import (
    Terminal,
    at_gate,
    configure,
    events,
    gate,
    happened,
    open_gate,
    play,
    wait_event,
    write,
)
from tests.project import BIN, Project

ONE = {"one": {"targets": ["it.txt"]}}


# -- interrupt


@pytest.mark.tmux
def test_an_interrupted_worker_waits_for_a_word(project: Project) -> None:
    configure(project, ONE)
    play(project, {"one": [[gate("go"), write("no.txt")], [write("it.txt")]]})
    with project.started() as live:
        at_gate(project, "go")
        ran = project.run("dodo-claude", "interrupt", "one", check=0)
        assert ran.out == "interrupted 'one'; it waits: dodo-claude send one TEXT\n"
        assert wait_event(project, "one", "interrupt").data == {"sender": "the user"}
        again = project.run("dodo-claude", "interrupt", "one", check=1)
        assert again.err == "refused: 'one': is idle: there is no turn to interrupt\n"
        assert "interrupted" in project.run("dodo-claude", "status", check=0).out
        project.run("dodo-claude", "send", "one", "write it.txt instead", check=0)
        assert live.wait() == 0, live.text
    assert not (project.root / "no.txt").exists()
    kinds = [event.kind for event in events(project, "one")]
    assert kinds.index("interrupt") < kinds.index("mailed") < kinds.index("received")
    assert "continued" not in kinds  # nobody told it to go on but the message


@pytest.mark.tmux
def test_no_escape_goes_to_a_dialog(project: Project) -> None:
    configure(project, ONE, agent={"permission_mode": "manual"})
    play(project, {"one": [[{"permission": "Bash", "command": "touch forbidden"}, write("it.txt")]]})
    with project.started() as live:
        live.until("NEEDS A PERSON")
        refused = project.run("dodo-claude", "interrupt", "one", check=1)
        assert refused.err.startswith("refused: 'one': waits for a person at a dialog: Bash touch forbidden")
        assert "forbidden" in project.run("dodo-claude", "capture", "one", check=0).out  # it is still open
        assert not happened(project, "one", "interrupt")
        project.run("dodo-claude", "stop", "one", check=0)
        live.kill(15)
    assert "no worker is at work on it" in project.run("dodo-claude", "interrupt", "one", check=2).err


# -- attach


@pytest.mark.tmux
@pytest.mark.parametrize("socket", ["private", "default"])
@pytest.mark.parametrize("inside", [False, True])
def test_attach_from_inside_tmux_and_outside(project: Project, socket: str, inside: bool) -> None:
    """Inside the workers' own server the client switches; from another server's it is nested."""
    configure(project, ONE, tmux={"socket": socket})
    play(project, {"one": [[gate("go"), write("it.txt")]]})
    servers = project.runtime / "default"
    servers.mkdir()
    project.env["TMUX_TMPDIR"] = str(servers)
    with project.started() as live:
        at_gate(project, "go")
        command = f"cd {project.root} && {BIN}/dodo-claude attach one"
        if inside:  # in a session beside it: of the default server
            command = f"tmux -f /dev/null new-session -s outer 'sh -c \"{command}; sleep 5\"'"
        ours, theirs = pty.openpty()
        environ = {**project.environ(), "TERM": "xterm"}
        process = subprocess.Popen(
            ["/bin/sh", "-c", command], stdin=theirs, stdout=theirs, stderr=theirs, env=environ, cwd=project.root,
            start_new_session=True, text=True,
        )  # fmt: skip
        os.close(theirs)
        terminal = Terminal(process, ours)
        try:
            terminal.until("esc to interrupt")
            project.wait_for(lambda: "p-one" in _clients(project, socket, environ), "a client at the session")
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            os.close(ours)
            open_gate(project, "go")
        assert live.wait() == 0
    subprocess.run(["tmux", "kill-server"], env=environ, check=False, capture_output=True)


def _clients(project: Project, socket: str, environ: dict[str, str]) -> str:
    (private,) = project.runtime.glob("dodo-claude/*/")
    server = ["-S", str(private / "tmux.sock")] if socket == "private" else []
    done = subprocess.run(["tmux", *server, "list-clients", "-F", "#{client_session}"], env=environ, capture_output=True, text=True, check=False)  # fmt: skip
    return done.stdout


# -- completion


def complete(project: Project, line: str) -> list[str]:
    """What bash itself would offer at the end of `line`."""
    script = project.run("dodo-claude", "completion", "bash", check=0).out
    ask = (
        f'{script}\nCOMP_LINE="$1"; COMP_POINT=${{#1}}\n_dodo_claude_completion dodo-claude\n'
        'for reply in "${COMPREPLY[@]}"; do echo "$reply"; done\n'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", ask, "bash", line], cwd=project.root, env=project.environ(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_stages_and_templates(project: Project) -> None:
    project.write(
        "orchestrate.toml",
        "[stages.backend]\nprompt = 'x'\n[stages.baking]\nprompt = 'x'\n"
        "[stages.research]\nforeach = ['tview', 'textual']\nprompt = '{{ item }}'\n",
    )
    (project.root / ".orchestrate/stages/late:one%2Ftwo").mkdir(parents=True)
    assert complete(project, "dodo-claude sta") == ["status"]
    assert complete(project, "dodo-claude attach b") == ["backend", "baking"]
    assert complete(project, "dodo-claude send back") == ["backend"]
    assert complete(project, "dodo-claude log re") == ["research:tview", "research:textual"]
    # bash has taken the word apart at its colon, and puts back what is offered behind that.
    assert complete(project, "dodo-claude log research:tv") == ["tview"]
    assert complete(project, "dodo-claude log late") == ["late:one/two"]
    assert complete(project, "dodo-claude init map") == ["map-reduce"]
    assert "--json" in complete(project, "dodo-claude status --")


def test_only_names_that_orchestrate_toml_takes_are_offered(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = [
        "a b",
        "a;b",
        "a$(true)",
        "a`b",
        "a'b",
        "a&b",
        "a*",
        "a\u001b[2Jb",
        "a\u202eb",
        "-a",
        "ä",
        "a\nb",
        "",
        "a" * 65,
    ]
    tables = "".join(f"[stages.{json.dumps(name)}]\nprompt = 'x'\n" for name in ["good", *odd])
    items = json.dumps(["one", "two/3.txt", *odd, 7])
    project.write("orchestrate.toml", f"{tables}[stages.each]\nforeach = {items}\nprompt = 'x'\n")
    for name in ["late:x", "sub:part:y", *(f"late:{name}" for name in odd[:12]), *odd[:12]]:
        (project.root / ".orchestrate/stages" / folder_name(name)).mkdir(parents=True)
    monkeypatch.chdir(project.root)
    found = complete_stage(None, None, "")
    assert sorted(found) == ["each:" + "a" * 65, "each:one", "each:two/3.txt", "good", "late:x", "sub:part:y"]
    assert complete(project, "dodo-claude log a") == []


@pytest.mark.parametrize("text", ["", "[stages", "stages = 3\n", "[stages.b]\nforeach = 3\n", "\xff"])
def test_completion_never_fails(project: Project, text: str) -> None:
    project.root.joinpath("orchestrate.toml").write_text(text, encoding="latin-1")
    assert complete(project, "dodo-claude attach b") == []
    project.root.joinpath("orchestrate.toml").unlink()
    assert complete(project, "dodo-claude attach b") == []
    os.mkfifo(project.root / "orchestrate.toml")  # which would be waited for
    assert complete(project, "dodo-claude attach b") == []


def test_completion_imports_nothing_heavy(project: Project) -> None:
    project.write("orchestrate.toml", "[stages.backend]\nprompt = 'x'\n")
    code = (
        "import sys\nfrom dodo_claude.commands.main import main\n"
        "try:\n    main(prog_name='dodo-claude')\n"
        "except SystemExit:\n    pass\n"
        "print(sorted({'jsonschema', 'libtmux', 'jinja2', 'rich', 'doit'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project.root, capture_output=True, text=True, check=True,
        env={**project.environ(), "_DODO_CLAUDE_COMPLETE": "bash_complete", "COMP_WORDS": "dodo-claude attach b", "COMP_CWORD": "2"},
    )  # fmt: skip
    assert done.stdout.splitlines() == ["plain,backend", "[]"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_for_the_shell(shell: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main.main, ["completion", shell])
    assert result.exit_code == 0
    assert "_DODO_CLAUDE_COMPLETE" in result.output
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=result.output, text=True, check=True)
