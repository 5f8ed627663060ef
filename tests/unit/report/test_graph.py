"""The page's graph: what is one box, and where it stands."""

from __future__ import annotations

import re
from dataclasses import replace

from dodo_claude.report.graph import Graph
from dodo_claude.report.page import page
from dodo_claude.report.record import RunReport, StageReport
from tests.samples.pages import text_of
from tests.samples.runs import GOOD, run_of


def stages(**needs: str) -> list[StageReport]:
    return [replace(GOOD, name=name.replace("_", ":"), group=name.partition("_")[0] if "_" in name else None,
                    needs=tuple(of.split())) for name, of in needs.items()]  # fmt: skip


def drawn(**needs: str) -> dict[str, tuple[int, list[str]]]:
    """Of each box its layer, and the boxes that it has an edge from."""
    graph = Graph(stages(**needs))
    return {box.name: (box.layer, [need.name for need in box.needs]) for box in graph.boxes}


def test_stages_stand_after_what_they_need() -> None:
    assert drawn(d="b c a", a="", b="a", c="b gone") == {
        "d": (3, ["c"]), "a": (0, []), "b": (1, ["a"]), "c": (2, ["b"])
    }  # fmt: skip


def test_a_group_is_a_box_for_each_layer_that_it_is_in() -> None:
    assert drawn(plan="", map_a="plan", map_b="plan", mid="map:a", map_c="mid", end="map") == {
        "plan": (0, []), "map": (1, ["plan"]), "mid": (2, ["map"]), "map:c": (3, ["mid"]), "end": (4, ["map:c"])
    }  # fmt: skip


def test_many_that_are_alike_are_one_box() -> None:
    alike = {f"s{number}": "a" for number in range(7)}
    assert drawn(a="", **alike, b=" ".join(alike)) == {
        "a": (0, []), "7 stages": (1, ["a"]), "b": (2, ["7 stages"])
    }  # fmt: skip
    assert len(drawn(a="", **dict(list(alike.items())[:6]))) == 7


def test_a_circle_in_a_changed_file_is_no_fault() -> None:
    assert drawn(a="b", b="a") == {"a": (0, []), "b": (0, [])}
    assert page(run_of(*stages(a="b", b="a")), {})


def places(told: RunReport) -> list[tuple[float, float]]:
    graph = page(told, {}).split('<h2 id="graph">')[1].split("</section>")[0]
    return [
        (float(x), float(y)) for x, y in re.findall(r'<rect x="([\d.]+)" y="([\d.]+)"[^>]*class="box"', graph)
    ]


def test_a_deep_graph_goes_down_the_page() -> None:
    flat = places(run_of(*stages(a="", b="a", c="b")))
    assert len({y for _, y in flat}) == 1
    deep = places(run_of(*stages(a0="", **{f"a{number}": f"a{number - 1}" for number in range(1, 200)})))
    assert len({x for x, _ in deep}) == 1
    assert [y for _, y in deep] == sorted(y for _, y in deep)
    assert len(deep) == 200


def test_a_graph_of_too_many_boxes_is_not_drawn() -> None:
    many = {
        f"s{number}": " ".join(f"s{other}" for other in range(max(0, number - 2), number))
        for number in range(301)
    }
    assert "With 301 boxes it is too large to be drawn" in text_of(run_of(*stages(**many)))
