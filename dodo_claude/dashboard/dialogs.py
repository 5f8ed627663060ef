"""The dashboard's dialogs: a line of text that is asked for, and a question with yes and no. Their texts are pieces, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from dodo_claude.dashboard import desk
from dodo_claude.dashboard.panes import Still
from dodo_claude.report.board import Line


def yes_no(yes: str, no: str) -> Line:
    """The keys of a question."""
    return ((" y ", "bold reverse"), (f" {yes}   ", ""), (" n ", "bold reverse"), (f" {no}", ""))


def box_width(app: App[Any]) -> int:
    """Columns for text in a dialog."""
    return max(20, min(104, app.size.width) - 4)


class Say(ModalScreen[str | None]):
    """A line of text, asked for."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", show=False)]

    def __init__(
        self, lines: Sequence[Line], value: str = "", typed: Callable[[str], None] | None = None
    ) -> None:
        super().__init__()
        self._lines, self._value, self._typed = lines, value, typed

    def compose(self) -> ComposeResult:
        with Vertical(id="box"):
            yield Still(id="about")
            yield Input(self._value, id="text", select_on_focus=False, compact=True)

    def on_mount(self) -> None:
        self.query_one("#about", Still).show(desk.wrapped(self._lines, box_width(self.app)))

    @on(Input.Changed)
    def _on_typed(self, event: Input.Changed) -> None:
        if self._typed is not None:
            self._typed(event.value)

    @on(Input.Submitted)
    def _on_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)


class Sure(ModalScreen[bool]):
    """A question with yes and no, or a text to be read."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", show=False),
        Binding("n,escape,q,enter,question_mark", "dismiss(False)", show=False),
    ]

    def __init__(self, lines: Sequence[Line]) -> None:
        super().__init__()
        self._lines = lines

    def compose(self) -> ComposeResult:
        with Vertical(id="box"):
            yield Still(id="about")

    def on_mount(self) -> None:
        self.query_one("#about", Still).show(desk.wrapped(self._lines, box_width(self.app)))
