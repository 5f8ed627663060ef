"""Broken configurations, what is said of each, and a good one."""

from __future__ import annotations

from pathlib import Path

BROKEN = Path(__file__).parents[1] / "data" / "broken"


GOOD = '''# A good one: each kind of key once, and texts that are easily misread.
[orchestrate]
name = "profile"
max_workers = 8
tmux = { socket = "default" }
budget = { minutes = 90, cost_usd = 5 }
retry_delay = "100ms"
max_wait = "0s"
worker_memory = "1.5 GiB"
notify = ["say", "it"]

[defaults]
agent = "scripted"
timeout = "1h30m"
idle_timeout = "5m"
protect = ["src/*.lock"]
env = { LANG = "C", MODE = "fast" }
allowed_tools = ["Read"]

[agents.claude]
model = "sonnet"
env_pass = ["HOME"]
allowed_tools = ["Edit(./**)", "Bash(pytest *)"]
disallowed_tools = ["WebFetch"]

[agents.other]
command = "my-agent --quiet 'two words'"
prompt_by = "stdin"

[stages.contract]
prompt = """
Write the contract, "quoted" \\u00e9, in
{{ stage }}.
"""
targets = ["./docs//contract.md"]
agent = "claude"
model = "opus"

[stages.backend]
prompt_file = "prompts/backend.md"
file_dep = ["src/*.py", "docs/contract.md"]
targets = ["api/profile.py"]
check = "python -m py_compile api/profile.py"
session = "worker-backend"
env = { MODE = "slow" }
keep = "always"
repairs = 3
retries = 0
person_timeout = "10m"
on_permission = "deny"
max_turns = 50
protect = ["./tests/**", "setup.cfg"]

[stages.research]
foreach = ["bubbletea", "go/cui"]
prompt = "Research {{ item }} with {{ files['docs/contract.md'] }}"
targets = ["research/{{ item }}.md"]
check = "grep -q {{ item }} research/{{ item }}.md"
env = { TOPIC = "{{ item }}" }
cwd = "src"

[stages."v1.report"]
prompt = "Sum up {{ stages.research.message }} and {{ stages['research:go/cui'].message }} for {{ env.MODE }}"
file_dep = ["research/**"]
targets = ["report.md"]
after = ["backend"]
agent = "other"
allow_unchanged = true

[stages.build]
command = "make -j4"
timeout = "90s"
'''


def expected() -> dict[str, list[str]]:
    """The messages of each broken file, from expected.txt: a heading `== FILE`, then its lines."""
    table: dict[str, list[str]] = {}
    for line in (BROKEN / "expected.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("== "):
            lines = table.setdefault(line.removeprefix("== "), [])
        else:
            lines.append(line)
    return table


EXPECTED = expected()
