"""Ways to a session, as commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from dodo_claude.commands.attach import GOES_BACK, LEAVES, way

HOME = {"HOME": "/h"}
TELLS = ["display-message", "-d", "5000"]


def inside(socket: object) -> dict[str, str]:
    return {**HOME, "TMUX": f"{socket},12,0", "TMUX_PANE": "%3"}


@pytest.mark.parametrize("environ", [HOME, {**HOME, "TMUX": ""}])
def test_outside_tmux(environ: dict[str, str]) -> None:
    found = way("$1", Path("/s"), environ, is_watched=True, has_borderless=True)
    assert found.argv == ("tmux", "-S", "/s", "attach-session", "-t", "$1", ";", *TELLS, LEAVES)
    assert found.environ == HOME
    assert way("$1", None, environ, is_watched=True, has_borderless=True).argv[:2] == (
        "tmux",
        "attach-session",
    )


def test_on_the_same_server(tmp_path: Path) -> None:
    socket = tmp_path / "s"
    socket.touch()
    link = tmp_path / "link"
    link.symlink_to(socket)
    found = way("$1", link, inside(socket), is_watched=True, has_borderless=True)
    assert found.argv == ("tmux", "-S", str(link), "switch-client", "-t", "$1", ";", *TELLS, GOES_BACK)
    assert found.environ == inside(socket)
    assert way("$1", None, inside(socket), is_watched=True, has_borderless=True).argv[:2] == (
        "tmux",
        "switch-client",
    )


def test_by_another_tmux(tmp_path: Path) -> None:
    for environ in (HOME, inside("/tmp/default"), inside(tmp_path)):
        found = way("$1", tmp_path, environ, is_watched=True, has_borderless=True, program="/b/tmux")
        assert found.argv[0] == "/b/tmux"
        assert "tmux" not in [word for part in found.argv for word in part.split()]


@pytest.mark.parametrize("borderless", [True, False])
def test_inside_another_server(tmp_path: Path, borderless: bool) -> None:
    found = way("$1", tmp_path / "it's", inside("/tmp/default"), is_watched=True, has_borderless=borderless)
    assert found.argv[:3] == ("tmux", "display-popup", "-E")
    assert ("-B" in found.argv) == borderless
    assert found.environ == inside("/tmp/default")  # the outer one's command


@pytest.mark.parametrize("watched", [True, False])
def test_where_no_popup_can_be_seen(tmp_path: Path, watched: bool) -> None:
    environ = {**HOME, "TMUX": "/tmp/default,1,0", **({} if watched else {"TMUX_PANE": "%1"})}
    found = way("$1", tmp_path / "s", environ, is_watched=watched, has_borderless=True)
    assert (found.argv[3], found.environ) == ("attach-session", HOME)
