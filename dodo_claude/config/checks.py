"""What stages must not do to each other: one name, target or session twice, waiting in a circle. Resolves globs too,
as one finds the targets of other stages."""

from __future__ import annotations

import graphlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from dodo_claude.config import inputs
from dodo_claude.config.drafts import Draft
from dodo_claude.config.findings import At, did_you_mean_file, listed, show
from dodo_claude.config.groups import Group, Late
from dodo_claude.config.paths import Made, Project, is_glob, is_utf8, too_much, tried_too_much
from dodo_claude.config.records import Absent, Stage, enclosing
from dodo_claude.text.errors import Problem
from dodo_claude.text.numbers import grouped

# What globs find, counted for each stage that reads it: of 10000 stages each may read 500 files. doit looks at each of them.
MOST_READ = 5_000_000
# For groups whose stages are not known yet, counted for each stage that waits for one.
MOST_WAITS = 1_000_000
# Stages that others come after as those of a group, counted for each that does.
MOST_BEFORE = 1_000_000
# What reports in prompts are of, counted for each stage that has one.
MOST_REPORTED = 500_000
# One cycle hides others: each is cut and the search goes on, so long as there is a point in reading more of them.
MAX_CYCLES = 20


def connect(
    drafts: list[Draft], late: Late, groups: Collection[str], project: Project, orders: Collection[str]
) -> tuple[Stage, ...]:
    """The finished stages; every clash between them is in the findings. `late` are groups with no stages yet.

    `groups` are the names of all that stand for others, `orders` the files that say what stages do.
    """
    makers = _targets(drafts, project)
    _protected(drafts, project, orders)
    _sessions(drafts)
    _globs(drafts, late, project)
    _aliases(drafts, project, makers)
    _wait_for(drafts, late)
    _after_groups(drafts)
    _cycles(drafts, late.groups, groups)
    _reports(drafts, late.groups, groups)
    return tuple(_finished(draft) for draft in drafts)


def absent(
    readers: Collection[tuple[str, Draft]], project: Project, others: Callable[[str], bool]
) -> tuple[Absent, ...]:
    """The files that are read, are not there, and that nobody makes; who reads them is named as in `readers`.

    `others`: may that file come from where no stage is known?
    """
    made = {path for _, draft in readers for path in draft.targets}
    real = {project.real(path) for path in made}
    lacking: dict[str, list[tuple[str, Draft]]] = {}
    wrong: dict[str, str] = {}  # with each path, or nothing
    for name, draft in readers:
        for path in draft.file_dep:
            if path not in wrong:
                fact = "" if path in made else _unlike_a_file(f"{project.root}/{path}")
                wrong[path] = "" if fact and (project.real(path) in real or others(path)) else fact
            if wrong[path]:
                lacking.setdefault(path, []).append((name, draft))
    known = {*made, *project.some_files()} if lacking else set()
    return tuple(found for path in lacking for found in _absent(path, wrong[path], lacking[path], known))


def _unlike_a_file(full: str) -> str:
    """What keeps a stage from reading it; nothing: it can be read."""
    kind, behind = inputs.kinds(full)
    if behind == "f":
        return ""
    if kind == "":
        return "is not there, and no stage makes it"
    return (
        "is a link to what is not there, and no stage makes it" if kind == inputs.LINK else "is no plain file"
    )


def _absent(
    path: str, fact: str, readers: list[tuple[str, Draft]], known: Collection[str]
) -> Iterator[Absent]:
    """One for each place that names it: the items of a foreach have the same."""
    remedy = did_you_mean_file(path, known, "write it, or let a stage have it as a target")
    places = [(name, draft.said.get(path) or draft.file_dep[path].problem) for name, draft in readers]
    same: dict[Problem | None, list[tuple[str, Callable[[], Problem]]]] = {}
    for name, place in places:
        same.setdefault(place() if len(places) > 1 else None, []).append((name, place))
    for alike in same.values():
        names = tuple(name for name, _ in alike)
        yield Absent(path, names, f"{show(path)} {fact}", remedy, alike[0][1])


def unproved(drafts: Collection[Draft]) -> Iterator[Problem]:
    """Where a worker's word is all that says that a stage, or a phase, is done: neither targets nor a check.

    A command has an exit status. A stage whose message, or report, another one's prompt shows made just that.
    """
    shown = {name for draft in drafts for name in (*draft.stage.messages, *draft.stage.report)}
    fact, remedy = "has neither targets nor a check", "nothing proves it but its worker's word"
    for draft in drafts:
        stage = draft.stage
        if stage.command is not None or not shown.isdisjoint((stage.name, *enclosing(stage.name))):
            continue
        if not stage.phases and not draft.targets and stage.check is None:
            yield draft.at.problem(fact, remedy)
        for number, phase in enumerate(stage.phases):
            last = number + 1 == len(stage.phases)
            if not phase.targets and phase.check is None and not (last and stage.check is not None):
                at = At(draft.at.findings, (*draft.at.path, "phases", number))
                yield at.problem(fact, remedy)


def _finished(draft: Draft) -> Stage:
    return draft.stage.with_values(
        file_dep=tuple(sorted(draft.file_dep)),
        targets=tuple(draft.targets),
        after=tuple(draft.after),
        prompt_globs=tuple((glob, draft.found[glob]) for glob in draft.prompt_globs if glob in draft.found),
    )


def _targets(drafts: list[Draft], project: Project) -> dict[str, tuple[Draft, str]]:
    """No two stages make one file, and none makes a file where another makes a folder; symbolic links are followed.

    Who makes a file, by its real path, and how that one names it.
    """
    owners: dict[str, tuple[Draft, str]] = {}
    for draft in drafts:
        for path, place in draft.targets.items():
            real = project.real(path)
            if real in owners:
                place.complain(*_taken(draft, path, owners[real][0]))
            else:
                owners[real] = (draft, path)
    for real, (draft, path) in owners.items():
        for folder in _folders(real, project.root):
            if folder in owners:
                _nested(draft, path, *owners[folder])
    return owners


def _aliases(drafts: list[Draft], project: Project, makers: Mapping[str, tuple[Draft, str]]) -> None:
    """Who reads a file under another name than its maker's comes after that one, too; doit goes by names alone."""
    made = {path for _, path in makers.values()}

    def owned(protect: tuple[str, ...]) -> tuple[str, ...]:
        names = (
            path if is_glob(path) else makers.get(project.real(path), (None, path))[1] for path in protect
        )
        return tuple(dict.fromkeys(names))

    by_makers = once_each(owned)
    for draft in drafts:
        for path, place in draft.file_dep.items():
            if path in made or (found := makers.get(project.real(path))) is None:
                continue
            maker, name = found
            if maker is draft:
                text = f"{show(path)} is {show(name)}, a target of this stage"
                place.complain(text, "a stage can't wait for itself")
            else:
                draft.after.setdefault(maker.stage.name, place)
        protect = draft.stage.protect
        if protect:
            draft.stage = draft.stage.with_values(protect=by_makers(protect))


def once_each(make: Callable[[tuple[str, ...]], tuple[str, ...]]) -> Callable[[tuple[str, ...]], tuple[str, ...]]:  # fmt: skip
    """`make`, asked once for a value that many stages share, which is known by its identity: looking at all that is in it
    for each of them would take as long."""
    made: dict[int, tuple[tuple[str, ...], tuple[str, ...]]] = {}  # each with what it is of, which so stays

    def once(value: tuple[str, ...]) -> tuple[str, ...]:
        if id(value) not in made:
            made[id(value)] = (value, make(value))
        return made[id(value)][1]

    return once


def _taken(draft: Draft, path: str, other: Draft) -> tuple[str, str]:
    if other is draft:
        return f"target {show(path)} is given twice", "leave one of them out"
    if draft.stage.group is not None and draft.stage.group == other.stage.group:
        stem, suffix = os.path.splitext(path)
        remedy = f"put {{{{ item }}}} in it, such as {show(stem + '-{{ item }}' + suffix)}"
        return f"every item of the foreach would make {show(path)}", remedy
    return f"{show(path)} is a target of {_named(other, draft)} too", "a file has one stage that makes it"


def _nested(draft: Draft, path: str, other: Draft, folder: str) -> None:
    """`path` lies below the target `folder`: said where the later of the two stands."""
    place, others = draft.targets[path], other.targets[folder]
    if place.behind(others):
        text = f"{show(path)} lies below {show(folder)}, a target of {_named(other, draft)}"
        place.complain(text, "a target is a file, so no other can be below it")
    else:
        text = f"{show(folder)} is the folder of {show(path)}, a target of {_named(draft, other)}"
        others.complain(text, "a target is a file: name the files that the stage makes")


def _protected(drafts: list[Draft], project: Project, orders: Collection[str]) -> None:
    """No stage makes what it reads, nor what says what stages do."""
    prompts = {project.real(draft.stage.prompt_file) for draft in drafts if draft.stage.prompt_file}
    files = {inputs.real(os.path.join(project.root, name)): name for name in orders}
    for draft in drafts:
        for path, place in draft.targets.items():
            real = project.real(path)
            if real in files:
                this = files[real] == place.findings.file
                text = "is this file" if this else "says what other stages do"
                place.complain(f"{show(path)} {text}", "no stage may change what says what stages do")
            elif real in prompts:
                place.complain(f"{show(path)} is a prompt file", "no stage may change what it is asked")
            elif path in draft.file_dep:
                place.complain(
                    f"{show(path)} is also a file_dep of this stage", "a stage can't wait for itself"
                )


def _sessions(drafts: list[Draft]) -> None:
    owners: dict[str, Draft] = {}
    for draft in drafts:
        other = owners.setdefault(draft.stage.session, draft)
        if other is draft:
            continue
        session = show(draft.stage.session)
        if draft.stage.group is not None and draft.stage.group == other.stage.group:
            text, remedy = (
                f"every item of the foreach would have the session {session}",
                "put {{ item }} in it",
            )
        else:
            text = f"{session} is the session of {_named(other, draft)} too"
            remedy = "leave it out, or give another"
        draft.session.complain(text, remedy)


def _named(draft: Draft, seen_from: Draft) -> str:
    """A stage with its line, and its file where that is another."""
    findings = draft.at.findings
    line, _ = findings.positions.of(draft.at.path)
    file = f"{findings.file}, " if findings is not seen_from.at.findings else ""
    return f"stage {show(draft.stage.name)} ({file}line {line})"


def _globs(drafts: list[Draft], late: Late, project: Project) -> None:
    """Put the files that globs find among the file_deps: those that are there, and targets of other stages."""
    made = Made(project, (path for draft in drafts for path in draft.targets))
    found: dict[str, tuple[str, ...]] = {}
    count = 0
    for draft in drafts:
        globs = draft.prompt_globs | draft.globs
        own = {project.real(path) for path in draft.targets} if globs else set()
        for pattern, place in globs.items():
            if pattern not in found:
                found[pattern] = tuple(project.once({*project.files(pattern), *made.found(pattern)}))
                if tried_too_much():
                    place.complain(*too_much(pattern))
                    place.findings.raise_any()
                for path in found[pattern]:
                    if not is_utf8(path):
                        text = f"{show(pattern)} finds {show(path)}, whose name is not UTF-8"
                        place.complain(text, "rename it, or let the glob leave it out")
            paths = found[pattern]
            if own:
                paths = tuple(path for path in paths if project.real(path) not in own)
            count += len(paths)
            if count > MOST_READ:
                most = grouped(MOST_READ)
                text = f"with what {show(pattern)} finds the stages read more than {most} files, each counted for each"
                place.complain(text, "let one stage put them together, and the others read what it made")
                place.findings.raise_any()
            draft.found[pattern] = paths
            for path in paths:
                draft.file_dep.setdefault(path, place)
            if not paths and not late.makers(pattern):
                text = f"{show(pattern)} matches no file and no target of another stage"
                place.complain(text, "its own targets do not count" if found[pattern] else "")


def _wait_for(drafts: list[Draft], late: Late) -> None:
    """Who reads what a group may make whose stages are not known yet comes after that group."""
    made = {path for draft in drafts for path in draft.targets}
    count = 0
    for draft in drafts if late.groups else ():
        globs = draft.globs | draft.prompt_globs
        read = {path: place for path, place in draft.file_dep.items() if path not in made} | globs
        found = {
            group.name: (group, place)
            for path, place in reversed(read.items())
            for group in late.makers(path)
        }
        count += len(found)
        if count > MOST_WAITS:
            path, place = next((path, place) for path, place in read.items() if late.makers(path))
            most = grouped(MOST_WAITS)
            text = f"{show(path)} may be made by so many groups whose stages are not known that stages would wait for more than {most}, each counted for each"
            place.complain(text, "let a stage have it as a target")
            place.findings.raise_any()
        for name in sorted(found, key=late.names.__getitem__):
            group, place = found[name]
            if not (group.plan and draft.stage.name in group.makers):
                draft.after.setdefault(name, place)


def _after_groups(drafts: list[Draft]) -> None:
    """Who comes after a group comes after each of its stages: there must not be too many pairs."""
    sizes = Counter(group for draft in drafts for group in enclosing(draft.stage.name))
    count = 0
    for draft in drafts if sizes else ():
        for name, place in draft.after.items():
            count += sizes[name]
            if count > MOST_BEFORE:
                most = grouped(MOST_BEFORE)
                text = f"with {show(name)} stages come after more than {most} others, those of groups counted for each"
                place.complain(text, "let one stage come after the group, and the others after that one")
                place.findings.raise_any()


def _cycles(drafts: list[Draft], late: Collection[Group], groups: Collection[str]) -> None:
    """Report stages that wait for each other; `a -> b` reads: a needs b."""
    needs = _needs(drafts, late, groups)
    order = {name: index for index, name in enumerate(needs)}
    for _ in range(MAX_CYCLES):
        try:
            graphlib.TopologicalSorter(needs).prepare()
            return
        except graphlib.CycleError as error:
            cycle: list[str] = error.args[1][::-1][
                :-1
            ]  # it comes with the first again at the end, and the other way
        start = min(range(len(cycle)), key=lambda index: order[cycle[index]])
        cycle = cycle[start:] + cycle[:start]
        # A group only stands for its items; the place to mend is what a stage says.
        edges = [(name, cycle[(index + 1) % len(cycle)]) for index, name in enumerate(cycle)]
        places = [needs[name][needed] for name, needed in edges]
        place = next(place for place in places if place)
        text = f"stages wait for each other: {listed([*cycle, cycle[0]], 20).replace(', ', ' -> ')}"
        place.findings.add(place.path, text, "'a -> b' reads 'a needs b'; take one of these needs away")
        for name, needed in edges:
            del needs[name][needed]


def _needs(
    drafts: list[Draft], late: Collection[Group], groups: Collection[str]
) -> dict[str, dict[str, At | None]]:
    """Of each stage and group what it waits for, and where that is said."""
    makers = {path: draft.stage.name for draft in drafts for path in draft.targets}
    needs: dict[str, dict[str, At | None]] = defaultdict(dict)
    for draft in drafts:
        name = draft.stage.name
        needs[name] = dict(draft.after)
        for path, place in draft.file_dep.items():
            # A target among its own file_deps is reported as that.
            if path in makers and makers[path] != name:
                needs[name].setdefault(makers[path], place)
    for group in late:
        place = At(group.table.document.findings, group.place)
        needs[group.name] = dict.fromkeys(group.makers, place)
    known = {*groups}
    for name in [*(draft.stage.name for draft in drafts), *(group.name for group in late)]:
        for around in enclosing(name):
            if around in known:
                needs[around].setdefault(name, None)
    return needs


def _reports(drafts: list[Draft], late: Collection[Group], included: Collection[str]) -> None:
    """What the report in a prompt is of: all that its stage comes after; a group stands for its stages."""
    asking = [draft for draft in drafts if draft.report]
    needs = _needs(drafts, late, included) if asking else {}
    order = {draft.stage.name: index for index, draft in enumerate(drafts)}
    count = 0
    for draft in asking:
        waiting, found = [draft.stage.name], {draft.stage.name}
        while waiting:
            new = needs[waiting.pop()].keys() - found
            found |= new
            waiting += new
        count += len(found)
        if count > MOST_REPORTED:
            most = grouped(MOST_REPORTED)
            text = f"with {show(draft.stage.name)} the reports in prompts are of more than {most} stages, each counted for each"
            assert draft.report is not None
            draft.report.complain(text, "let one stage have the report, and write what the others read")
            draft.report.findings.raise_any()
        found.discard(draft.stage.name)
        # In the file's order; a group that has no stages yet is known by its name only.
        stages = sorted(found & order.keys(), key=order.__getitem__)
        whole = [name for name in sorted(found - order.keys()) if found.isdisjoint(enclosing(name))]
        names = dict.fromkeys(_outermost(name, found) for name in stages) | dict.fromkeys(whole)
        draft.stage = replace(draft.stage, report=tuple(names))
        if not names:
            text = f"{show(draft.stage.name)} uses the report of the stages before it, and comes after none"
            assert draft.report is not None
            draft.report.complain(text, "name them in after")


def _outermost(name: str, found: Collection[str]) -> str:
    """The stage, or the largest group of it that is `found` as a whole."""
    return next((group for group in reversed(enclosing(name)) if group in found), name)


def _folders(path: str, root: str) -> Iterable[str]:
    while len(path := os.path.dirname(path)) > len(root):
        yield path
