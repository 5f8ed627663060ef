"""The dashboard's widgets: lines of pieces put on a terminal, only those that are seen, only those that changed.

No text becomes markup: a piece is a segment as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from dodo_claude.board import Line


@lru_cache(512)
def _style(look: str) -> Style:
    return Style.parse(look)


def strip(line: Line, width: int, base: Style) -> Strip:
    """A line in exactly so many columns."""
    return Strip([Segment(text, base + _style(look)) for text, look in line]).adjust_cell_length(width, base)


def painted(screen: str) -> list[Strip]:
    """A worker's screen, of which mirror.py left only the colours."""
    lines = Text.from_ansi(screen, no_wrap=True).split("\n", allow_blank=True)
    found = []
    for line in lines:
        spans = sorted({0, len(line), *(at for span in line.spans for at in (span.start, span.end))})
        segments = []
        for start, end in pairwise(spans):
            style = Style()
            for span in line.spans:
                if span.start <= start and end <= span.end:
                    style += span.style if isinstance(span.style, Style) else _style(span.style)
            segments.append(Segment(line.plain[start:end], style.update_link(None)))
        found.append(Strip(segments))
    while found and not found[-1].text.strip():
        found.pop()
    return found


class Clicked(Message):
    """Somebody clicked at this column and row of a widget."""

    def __init__(self, widget: Widget, x: int, y: int) -> None:
        super().__init__()
        self.widget, self.x, self.y = widget, x, y

    @property
    def control(self) -> Widget:
        return self.widget


class Still(Widget):
    """A few lines that do not scroll."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.lines: list[Line] = []

    def show(self, lines: list[Line]) -> None:
        if lines != self.lines:
            taller = len(lines) != len(self.lines)
            self.lines = lines
            self.refresh(layout=taller)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return max(1, len(self.lines))

    def render_line(self, y: int) -> Strip:
        line = self.lines[y] if y < len(self.lines) else ()
        return strip(line, self.size.width, self.rich_style)

    def on_click(self, event: events.Click) -> None:
        self.post_message(Clicked(self, event.x, event.y))


class Scrolled(ScrollView, can_focus=False):
    """Lines of which a part is seen. `tail`: it goes on with the last ones while these are seen."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.lines: Sequence[Line | Strip] = ()

    def show(self, lines: Sequence[Line | Strip], *, tail: bool = False, columns: int = 0) -> None:
        if lines is self.lines or (len(lines) == len(self.lines) and lines == self.lines):
            return
        follows = tail and self.scroll_offset.y >= self.max_scroll_y
        self.lines = lines
        self.virtual_size = Size(columns, len(lines))
        if follows:
            self.scroll_end(animate=False, immediate=True)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        x, top = self.scroll_offset
        width, base = self.scrollable_content_region.width, self.rich_style
        line: Line | Strip = self.lines[top + y] if top + y < len(self.lines) else ()
        found = line.apply_style(base) if isinstance(line, Strip) else strip(line, max(width + x, 1), base)
        return found.crop_extend(x, x + width, base)


class Listed(ScrollView, can_focus=False):
    """Rows of which one is chosen. A row is made only when it is seen, and painted only when it changed."""

    COMPONENT_CLASSES = {"listed--chosen"}  # noqa: RUF012 (Textual's)

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._row: Callable[[int, int], Line] = lambda number, width: ()
        self._count = 0
        self._chosen = -1
        self._painted: dict[int, tuple[Line, bool]] = {}

    def show(self, count: int, chosen: int, row: Callable[[int, int], Line]) -> None:
        """`row`: the line of a number, in so many columns."""
        self._row = row
        if count != self._count:
            self._count = count
            self.virtual_size = Size(0, count)
            self._painted.clear()
            self.refresh()
        if chosen != self._chosen:
            self._chosen = chosen
            self._into_view()
        width = self.scrollable_content_region.width
        top = self.scroll_offset.y
        for number in range(top, min(count, top + self.size.height)):
            if self._painted.get(number) != (row(number, width), number == chosen):
                self.refresh(Region(0, number - top, self.size.width, 1))

    def _into_view(self) -> None:
        if self._chosen >= 0:
            top, height = self.scroll_offset.y, max(1, self.scrollable_content_region.height)
            if not top <= self._chosen < top + height:
                to = self._chosen if self._chosen < top else self._chosen - height + 1
                self.scroll_to(y=to, animate=False, immediate=True)

    def on_resize(self) -> None:
        self._into_view()

    def render_line(self, y: int) -> Strip:
        number, width = self.scroll_offset.y + y, self.scrollable_content_region.width
        if number >= self._count or width <= 0:
            return Strip.blank(width, self.rich_style)
        line, chosen = self._row(number, width), number == self._chosen
        self._painted[number] = (line, chosen)
        base = self.get_component_rich_style("listed--chosen") if chosen else self.rich_style
        return strip(line, width, base)

    def on_click(self, event: events.Click) -> None:
        self.post_message(Clicked(self, event.x, event.y + self.scroll_offset.y))
