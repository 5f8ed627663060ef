"""The page's graph of stages: which are drawn as one box, where the boxes stand, and their drawing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from dodo_claude.config.records import enclosing
from dodo_claude.report.markup import Html, class_of, join, state_of, tag
from dodo_claude.report.record import StageReport
from dodo_claude.report.words import SHOWN_MEMBERS, head, many, states_of
from dodo_claude.text.cells import cells
from dodo_claude.text.clean import clean_line
from dodo_claude.text.states import MARKS

MOST_BOXES = 300  # of the graph
ALIKE = 6  # more stages that are alike in the graph are one box
WIDTH, ROW, PAD = 200, 20, 12
NAME_COLUMNS = 22  # characters of a name in a box
SQUARES, PITCH = 14, 13  # of a large box: in a row, pixels from one to the next
MOST_SQUARES = 20 * SQUARES
GAP_ALONG, GAP_ACROSS = 56, 14
DEEP = 10  # a graph with more layers goes down the page


@dataclass(eq=False)
class Box:
    """A stage, or several that are drawn as one."""

    name: str
    stages: list[StageReport]
    layer: int
    needs: list[Box] = field(default_factory=list)
    x: float = 0.0
    y: float = 0.0

    @property
    def alone(self) -> bool:
        """Is it one stage?"""
        return len(self.stages) == 1

    @property
    def height(self) -> float:
        """What its lines need."""
        if self.alone:
            return ROW + 10
        if len(self.stages) <= SHOWN_MEMBERS:
            return ROW * (len(self.stages) + 1) + 12
        rows = -(-len(self.stages) // SQUARES) if len(self.stages) <= MOST_SQUARES else 1
        return 2 * ROW + 12 + rows * PITCH


class Graph:
    """All stages of a run, as boxes in layers."""

    def __init__(self, stages: Sequence[StageReport]) -> None:
        self.stages = stages
        self.members: dict[str, list[str]] = defaultdict(list)
        for stage in stages:
            for group in enclosing(stage.name):
                self.members[group].append(stage.name)
        self.layers = self._layers()
        self.boxes = self._boxes()

    def _layers(self) -> dict[str, int]:
        """How many stages stand before each, one after the other; a group is where its last stage is."""
        names = {stage.name for stage in self.stages}
        needs = {
            stage.name: [name for name in stage.needs if name in names or name in self.members]
            for stage in self.stages
        }
        groups = {name: members for name, members in self.members.items() if name not in names}
        found: dict[str, int] = {}
        try:
            order = list(TopologicalSorter({**needs, **groups}).static_order())
        except CycleError:  # of a file that somebody changed
            return dict.fromkeys(names, 0)
        for name in order:
            if name in groups:
                found[name] = max(found[member] for member in groups[name])
            else:
                found[name] = max((found[need] + 1 for need in needs[name]), default=0)
        return {name: found[name] for name in names}

    def _boxes(self) -> list[Box]:
        used: dict[str, list[str]] = defaultdict(list)
        for stage in self.stages:
            for name in stage.needs:
                used[name].append(stage.name)
        # Never over layers: so what is one box waits for none that waits for it.
        places = [
            (stage.group, self.layers[stage.name])
            if stage.group
            else (None, self.layers[stage.name], stage.needs, tuple(used[stage.name]))
            for stage in self.stages
        ]
        together: dict[object, list[StageReport]] = defaultdict(list)
        for stage, place in zip(self.stages, places, strict=True):
            together[place].append(stage)
        boxes: list[Box] = []
        for stages in together.values():
            layer, group = self.layers[stages[0].name], stages[0].group
            if len(stages) > (1 if group else ALIKE):
                boxes.append(Box(group or many(len(stages), "stage"), stages, layer))
            else:
                boxes += [Box(stage.name, [stage], layer) for stage in stages]
        self._connect(boxes)
        return boxes

    def _connect(self, boxes: list[Box]) -> None:
        place = {stage.name: number for number, box in enumerate(boxes) for stage in box.stages}
        groups = {
            name: {place[member] for member in members}
            for name, members in self.members.items()
            if name not in place
        }
        before = [0] * len(boxes)  # as sets of bits
        for number in sorted(range(len(boxes)), key=lambda number: boxes[number].layer):
            box = boxes[number]
            names = {name for stage in box.stages for name in stage.needs}
            needs = {place[name] for name in names if name in place}.union(
                *(groups[name] for name in names if name in groups)
            )
            needs = {need for need in needs if boxes[need].layer < box.layer}
            further = 0
            for need in needs:
                further |= before[need]
                before[number] |= before[need] | 1 << need
            # An edge to what is before another need tells nothing new.
            box.needs = [boxes[need] for need in sorted(needs) if not further >> need & 1]

    def drawn(self, ids: Mapping[str, str]) -> Html:
        """The drawing. `ids`: of each stage the element that tells of it."""
        if len(self.boxes) > MOST_BOXES:
            return tag(
                "p",
                f"With {len(self.boxes)} boxes it is too large to be drawn: each stage says what it comes after.",
            )
        width, height = self._place()
        down = self._is_deep()
        edges = (self._edge(need, box, down) for box in self.boxes for need in box.needs)
        drawing = tag(
            "svg",
            tag("g", *edges, aria_hidden="true"),
            *(_drawn(box, ids) for box in self.boxes),
            width=width, height=height, viewBox=f"0 0 {width:g} {height:g}", role="group",
            aria_label="Stages, from those that need nothing to those that need the others",
        )  # fmt: skip
        states = {stage.state for stage in self.stages}
        legend = (tag("li", state_of(state)) for state in MARKS if state in states)
        return join(
            [
                tag(
                    "div",
                    drawing,
                    class_="graph",
                    tabindex=0,
                    role="region",
                    aria_label="Graph of the stages",
                ),
                tag("ul", *legend, class_="legend"),
            ]
        )

    def _is_deep(self) -> bool:
        return max(self.layers.values(), default=0) >= DEEP

    def _place(self) -> tuple[float, float]:
        """Layer after layer to the right; those of a deep graph down."""
        layers: dict[int, list[Box]] = defaultdict(list)
        for box in self.boxes:
            layers[box.layer].append(box)
        down = self._is_deep()

        def across(box: Box) -> float:
            return WIDTH if down else box.height

        extent = max(sum(map(across, boxes)) + GAP_ACROSS * (len(boxes) - 1) for boxes in layers.values())
        along, gap = float(PAD), GAP_ALONG / 2 if down else GAP_ALONG
        for _, boxes in sorted(layers.items()):
            # Near what it needs: fewer edges cross.
            boxes.sort(key=lambda box: sum(n.x if down else n.y for n in box.needs) / max(1, len(box.needs)))
            spare = extent - sum(map(across, boxes)) - GAP_ACROSS * (len(boxes) - 1)
            at = PAD if down else PAD + spare / 2
            for box in boxes:
                box.x, box.y = (at, along) if down else (along, at)
                at += across(box) + GAP_ACROSS
            along += (max(box.height for box in boxes) if down else WIDTH) + gap
        along += PAD - gap
        return (extent + 2 * PAD, along) if down else (along, extent + 2 * PAD)

    def _edge(self, need: Box, box: Box, down: bool) -> Html:
        if down:
            x1, y1, x2, y2 = need.x + WIDTH / 2, need.y + need.height, box.x + WIDTH / 2, box.y
            bend = f"{x1:g} {(y1 + y2) / 2:g} {x2:g} {(y1 + y2) / 2:g}"
        else:
            x1, y1, x2, y2 = need.x + WIDTH, need.y + need.height / 2, box.x, box.y + box.height / 2
            bend = f"{(x1 + x2) / 2:g} {y1:g} {(x1 + x2) / 2:g} {y2:g}"
        return tag("path", d=f"M{x1:g} {y1:g}C{bend} {x2:g} {y2:g}", class_="edge")


def _drawn(box: Box, ids: Mapping[str, str]) -> Html:
    x, y, first = box.x, box.y, box.stages[0]
    frame = tag("rect", x=x, y=y, width=WIDTH, height=box.height, rx=5, class_="box")
    if box.alone:
        return tag("g", frame, _line(first, first.name, x, y + 20, ids))
    count = f"{many(len(box.stages), 'stage')}"
    if len(box.stages) <= SHOWN_MEMBERS:
        title = tag("text", _short(box.name), tag("title", box.name), x=x + 10, y=y + 18, class_="sum")
        # Under the name of their group, theirs need not say it again.
        rows = (
            _line(stage, stage.name.removeprefix(f"{box.name}:"), x, y + 18 + ROW * number, ids)
            for number, stage in enumerate(box.stages, 1)
        )
        return tag("g", frame, title, *rows)
    states: dict[str, int] = defaultdict(int)
    for stage in box.stages:
        states[stage.state] += 1
    ordered = {state: states[state] for state in MARKS if state in states}
    name = box.name if first.group else "alike"
    title = tag(
        "a", tag("text", _short(name), tag("title", name), x=x + 10, y=y + 18), href=f"#{ids[first.name]}",
        aria_label=f"{name}: {count}: {states_of(ordered)}",
    )  # fmt: skip
    told = states_of(ordered) if len(ordered) == 1 else f"{len(box.stages)}: {states_of(ordered)}"
    sums = tag(
        "text", _short(told, 26), tag("title", states_of(ordered)), x=x + 10, y=y + 18 + ROW, class_="sum"
    )
    return tag("g", frame, title, sums, *_squares(box, ordered))


def _squares(box: Box, states: Mapping[str, int]) -> Iterator[Html]:
    x, y = box.x + 9, box.y + 2 * ROW + 6
    if len(box.stages) > MOST_SQUARES:
        for state, count in states.items():
            width = (WIDTH - 18) * count / len(box.stages)
            title = tag("title", f"{count} {state}")
            yield tag(
                "rect", title, x=x, y=y, width=max(width, 1.0), height=PITCH - 3, class_=class_of(state)
            )
            x += width
        return
    for number, stage in enumerate(box.stages):
        row, column = divmod(number, SQUARES)
        yield tag(
            "rect", tag("title", f"{stage.name}: {stage.state}"), x=x + column * PITCH, y=y + row * PITCH,
            width=PITCH - 3, height=PITCH - 3, rx=2, class_=class_of(stage.state),
        )  # fmt: skip


def _line(stage: StageReport, name: str, x: float, y: float, ids: Mapping[str, str]) -> Html:
    return tag(
        "a",
        tag("title", f"{stage.name}: {stage.state}"),
        tag("text", MARKS[stage.state], x=x + 10, y=y, class_=f"mark {class_of(stage.state)}", aria_hidden="true"),
        tag("text", _short(name), x=x + 28, y=y),
        href=f"#{ids[stage.name]}", aria_label=f"{stage.name}: {stage.state}",
    )  # fmt: skip


def _short(name: str, columns: int = NAME_COLUMNS) -> str:
    """`name` as far as it fits a box."""
    name = clean_line(name)
    return name if cells(name) <= columns else f"{head(name, columns - 1)}…"
