"""What a shell command runs, read from its text."""

from __future__ import annotations

import pytest

from dodo_claude.config import shell

FILES = {
    "checks/run.py", "x.sh", "check.sh", "Other.mk", "tests/test_a.py", "r.xml", "build.log", "test.log", "data.csv",
    "sub/x.sh", "prog",
}  # fmt: skip


@pytest.mark.parametrize(
    ("command", "runs"),
    [
        ("python3 checks/run.py", ["checks/run.py"]),
        ("python3 -W error checks/run.py r.xml > test.log", ["checks/run.py"]),
        ("sh x.sh", ["x.sh"]),
        ("sh < x.sh", ["x.sh"]),
        (". ./x.sh && true", ["x.sh"]),
        ("./check.sh --fast", ["check.sh"]),
        ("CI=1 timeout 60 ./check.sh", ["check.sh"]),
        ("uv run python checks/run.py", ["checks/run.py"]),
        ("make -f Other.mk test", ["Other.mk"]),
        ("make --file=Other.mk", ["Other.mk"]),
        ("make test > test.log 2>&1", []),
        ("make test 2>&1 | tee build.log", []),
        ("pytest -q --junitxml=r.xml tests/test_a.py", ["tests/test_a.py"]),
        ("pytest --junitxml r.xml tests/test_a.py::test_one", ["tests/test_a.py"]),
        ("python3 -m pytest tests/test_a.py", ["tests/test_a.py"]),
        ("python3 -m json.tool data.csv", []),
        ("python3 -c 'open(\"data.csv\")'", []),
        ("grep -q good data.csv", []),
        ("date +%N > test.log", []),
        ("> test.log sh x.sh", ["x.sh"]),
        ("cd sub && ./x.sh", ["sub/x.sh"]),
        ("cd $X && ./x.sh", []),
        ("if sh x.sh; then ./check.sh; fi", ["x.sh", "check.sh"]),
        ("diff <(./check.sh) data.csv", ["check.sh"]),
        ("# sh x.sh\n./check.sh \\\n  --all", ["check.sh"]),
        ("python3 - <<END\nsh x.sh\nEND", []),
        ("sh x.sh && echo \"isn't", ["x.sh"]),
        ("prog", []),  # the shell looks for it on PATH
    ],
)
def test_the_scripts_of_a_command(command: str, runs: list[str]) -> None:
    assert shell.scripts(command, FILES.__contains__) == runs


@pytest.mark.parametrize(
    ("command", "program"),
    [
        ("./chek.sh", "./chek.sh"),
        ("pytset -q", "pytset"),
        ("\n  # the tests\n  pytset -q\n", "pytset"),
        ("CI=1 LANG=C pytset -q", "pytset"),
        ("> out.log pytset", "pytset"),
        ("'pytset' -q", "pytset"),
        ("pytset -q && true", "pytset"),
        ("timeout 60 pytset", "timeout"),
        ("! grep -q bad a", "grep"),
        ("! CI=1 grepp bad a", "grepp"),
        *(
            (command, None)
            for command in (
                "test -s a", "[ -s a ]", "! [ -s a ]", "!", "(cd sub; pytset)", "{ pytset; }", "if pytset; then :; fi",
                "f() { pytset; }; f", "$PYTEST -q", '"$PYTEST" -q', "`which pytest` -q", "~/bin/pytset", "X=1", "",
                "PATH=tools:$PATH pytset", "*/run.sh", "'my prog' x", "exec pytset", "echo 'it", "$(cat cmd)",
            )
        ),
    ],
)  # fmt: skip
def test_the_program_that_a_command_begins_with(command: str, program: str | None) -> None:
    assert shell.first_program(command) == program
