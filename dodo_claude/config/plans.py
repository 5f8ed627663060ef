"""Plans: files of stages that a planner, a worker, writes. Owns what may stand in one, and what its planner and its
reader are told of it.

Rule this file keeps: a plan is a worker's data. It says what is done, never with which rights: agents, tools, variables
and protected files are those of the file that the planner stands in.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from dodo_claude.config import documents, schema
from dodo_claude.config.drafts import Draft
from dodo_claude.config.findings import Findings, did_you_mean, listed, show
from dodo_claude.config.locate import KeyPath
from dodo_claude.config.paths import RESERVED, is_glob, matching
from dodo_claude.config.records import ORDERS, Config, Plan, Stage
from dodo_claude.text.clean import one_line

# What a planned stage may say.
KEYS = ("prompt", "phases", "command", "targets", "file_dep", "after", "foreach", "check", "cwd")
# Of these it has exactly one.
WORK = ("prompt", "phases", "command")
# More a person does not look through before saying yes.
MAX_STAGES = 100
# Characters of a list in the table. What runs is shown in full.
SHOWN_LIST = 40
# What no prompt shows: the client refuses to read these, too.
_SECRET = (".env", ".netrc", ".npmrc", ".pypirc", ".git-credentials")
# Takes the place of what was found wrong, so that it is not blamed again.
_SOUND = "x"
_OUTER = "it is for the file that its planner stands in to say"


# -- reading one


def read(path: Path, name: str) -> documents.File:
    """A plan. ConfigError when it can't be read; what else is wrong with its form is in its findings."""
    text = documents.text_of(path, name)
    values, positions = documents.parsed(name, text)
    findings = Findings(name, positions)
    _judge(values, findings)
    schema.judge(values, findings)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return documents.File(name, values, positions, findings, posixpath.dirname(name), digest=digest)


def _judge(values: dict[str, Any], findings: Findings) -> None:
    """Report and take out what is not for a plan to say."""
    for key in [key for key in values if key != "stages"]:
        remedy = _OUTER if key in schema.schema()["properties"] else "a plan has [stages.NAME] tables only"
        findings.add((key,), f"{show(key)} can't stand in a plan", remedy, key=True)
        del values[key]
    stages = values.get("stages")
    if not isinstance(stages, dict):
        if "stages" not in values:
            findings.add((), "has no stages", "write a table [stages.NAME] for each")
        return
    if not stages:
        findings.add(("stages",), "has no stages", "write a table [stages.NAME] for each")
    if documents.PLANNER in stages:
        place = ("stages", documents.PLANNER)
        findings.add(place, "is the planner's own name", "give the stage another", key=True)
        del stages[documents.PLANNER]
    for name, table in stages.items():
        if isinstance(table, dict):
            _judge_stage(("stages", name), table, findings)


def _judge_stage(place: KeyPath, table: dict[str, Any], findings: Findings) -> None:
    known = schema.schema()["properties"]["stages"]["additionalProperties"]["properties"]
    for key in [key for key in table if key not in KEYS]:
        if key in known:
            text, remedy = "can't stand in a plan", f"a planned stage has {listed(KEYS, 20)}"
        else:
            text, remedy = "unknown key", did_you_mean(key, KEYS, f"known keys: {listed(KEYS, 20)}")
        findings.add((*place, key), text, remedy, key=True)
        del table[key]
    if not any(key in table for key in WORK):
        text = f"has no {', '.join(WORK[:-1])} or {WORK[-1]}"
        findings.add(place, text, "a stage needs one of them", key=True)
        table["prompt"] = _SOUND
    if isinstance(table.get("foreach"), dict):
        findings.add((*place, "foreach"), "is no list", "a plan's foreach is a list of items")
        table["foreach"] = [_SOUND]
    phases = table.get("phases")
    for index, phase in enumerate(phases if isinstance(phases, list) else ()):
        if isinstance(phase, dict) and "prompt_file" in phase:
            where = (*place, "phases", index, "prompt_file")
            findings.add(where, "can't stand in a plan", "write the prompt itself", key=True)
            del phase["prompt_file"]
            phase.setdefault("prompt", _SOUND)


def judge_stages(drafts: Sequence[Draft], absent: Collection[str]) -> None:
    """What a planned stage must not do, besides what no stage may. Globs are resolved already.

    `absent`: the files that are not there, and that nobody makes.
    """
    planned = [draft for draft in drafts if draft.stage.planned is not None]
    targets = sorted({path for draft in planned for path in draft.targets})
    guarded: dict[tuple[int, str], set[str]] = {}  # by what is protected, and the folder
    for draft in planned:
        key = (id(draft.stage.protect), draft.stage.folder)
        if key not in guarded:
            orders = [posixpath.join(base, name) for base in ("", draft.stage.folder) for name in ORDERS]
            guarded[key] = _protected((*draft.stage.protect, *orders), targets)
        for path, place in draft.targets.items():
            if path in guarded[key]:
                place.complain(f"{show(path)} is protected", "no planned stage may change it")
        for path, place in draft.file_dep.items():
            name = posixpath.basename(path)
            secret = name in _SECRET or (name.startswith(".env.") and not name.endswith(".example"))
            if secret or any(part.lower() in RESERVED for part in path.split("/")[:-1]):
                place.complain(f"{show(path)} may hold secrets", "no planned stage may read it")
            elif path in absent:
                place.complain(
                    f"{show(path)} is not there, and no stage makes it", "name a target of a stage"
                )
    for file in dict.fromkeys(draft.stage.planned for draft in planned):
        mine = [draft for draft in planned if draft.stage.planned == file]
        if len(mine) > MAX_STAGES:
            text = f"makes {len(mine)} stages"
            mine[0].at.findings.add(("stages",), text, f"a plan has at most {MAX_STAGES}")


def _protected(protect: Collection[str], targets: list[str]) -> set[str]:
    """Those of the sorted targets that are protected, and what is besides."""
    found = (matching(name, targets) if is_glob(name) else [name] for name in protect)
    return {path for paths in found for path in paths}


# -- what its planner is told


def brief(stage: Stage, config: Config) -> str:
    """What comes after a planner's prompt: what it is to write, and how."""
    plan = next(plan for plan in config.plans if plan.planner == stage.name)
    others = [other for other in config.stages if other.targets and other.planned != plan.file]
    made = [path for other in others for path in other.targets if path != plan.file]
    taken = (
        f"\n- Other stages make {listed(made, 30)}: your stages may read these, not make them."
        if made
        else ""
    )
    folder = f"\n- Paths are relative to {stage.folder}/, and stay in it." if stage.folder else ""
    if (config.root / plan.file).exists():
        taken += _AGAIN.format(file=plan.file)
    return _BRIEF.format(
        file=plan.file, keys=listed(KEYS, 20), most=MAX_STAGES, taken=taken, folder=folder, planner=documents.PLANNER
    )  # fmt: skip


_AGAIN = """
- {file} is there: the plan of an earlier request. Keep what still holds as it is, for a stage that stays the same, name and
  all, is not run again; and write the whole file anew."""

_BRIEF = """

---

You are the planner: do not do this work yourself. Write {file}, a TOML file that divides it into stages. Each stage is
given to a worker of its own, who knows only its own prompt and the files that it names; stages that do not need each
other run at the same time. The file is checked when you stop: what is wrong with it is told to you, and you mend it. Then
a person looks at it, and it is run.

```toml
[stages.backend]
prompt = "Write api/profile.py: Profile, a dataclass with name and email, and save(path), load(path) as JSON."
targets = ["api/profile.py"]                  # the files that it must write
check = "python3 -m py_compile api/profile.py"     # a shell command that exits 0 when they are right

[stages.tests]
prompt = '''
Write tests/test_profile.py: tests of all that this module can do.
{{{{ files['api/profile.py'] }}}}
'''
targets = ["tests/test_profile.py"]
check = "python3 -m unittest discover tests"

[stages.docs]
after = ["tests"]                             # waits for it
file_dep = ["api/profile.py"]                 # reads it: waits for the stage that makes it
prompt = "Write docs/profile.md for users of api/profile.py."
targets = ["docs/profile.md"]
```

- A stage has {keys}, and nothing else; exactly one of prompt, phases and command.
- A command is shell, run instead of a worker: to build or to test.
- foreach = ["a", "b"] makes a stage of each item; its prompt, targets and check then say {{{{ item }}}}.
- phases is a list of tables with prompt, targets, check: one worker, one after the other.
- Prompts are templates: {{{{ files['PATH'] }}}} is a file's text, {{{{ stages.NAME.message }}}} what a stage said at its end.
- A file has one stage that makes it, and no stages wait for each other in a circle. At most {most} stages, none named
  {planner}; as few as the work needs: one that fits into one head is one stage.
- Give each stage a check that proves its work, where there is one. Paths are relative, and stay in the project.{folder}{taken}
"""


# -- what is shown of it


def table(config: Config, plan: Plan) -> list[str]:
    """A plan for a person: a heading, then of each stage what it waits for and makes; all that runs in a shell, below it."""
    stages = [stage for stage in config.stages if plan.has(stage.name)]
    count = f"{len(stages)} stage{'' if len(stages) == 1 else 's'}"
    rows = [("stage", "after", "makes"), *(_row(stage, stages, plan) for stage in stages)]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    lines = [f"{plan.group}: {count} planned in {plan.file}"]
    for index, row in enumerate(rows):
        lines.append(f"    {row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}".rstrip())
        if index:
            lines += _shell(stages[index - 1])
    return [one_line(line) if index == 0 else "    " + one_line(line[4:]) for index, line in enumerate(lines)]


def _row(stage: Stage, stages: Sequence[Stage], plan: Plan) -> tuple[str, str, str]:
    makers = {target: other.name for other in stages for target in other.targets}
    needs = [*stage.after, *(makers[path] for path in stage.file_dep if path in makers)]
    names = [name.removeprefix(f"{plan.group}:") for name in dict.fromkeys(needs) if name != plan.planner]
    return (
        _clipped(stage.name.removeprefix(f"{plan.group}:")),
        _clipped(", ".join(names)) or "-",
        _clipped(", ".join(stage.targets)) or "-",
    )


def _clipped(text: str) -> str:
    return text if len(text) <= SHOWN_LIST else text[: SHOWN_LIST - 1] + "…"


def _shell(stage: Stage) -> list[str]:
    """What of a stage runs without a model's judgement."""
    cd = "" if stage.cwd == "." else f"in {stage.cwd}: "
    given = [("runs", stage.command)] if stage.command is not None else []
    given += [("check", check) for check in stage.checks]
    lines = []
    for kind, text in given:
        lines.append(f"        {kind}: {cd}{text}")
    return lines
