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
from textual.strip import Strip
from textual.widget import Widget

from dodo_claude.report.board import Line


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


class _Plain(Widget):
    """A widget whose lines know their own looks. What its styles say is asked once, not for each line."""

    _base: Style | None = None

    @property
    def base(self) -> Style:
        if self._base is None:
            self._base = self.rich_style
        return self._base

    def notify_style_update(self) -> None:
        self._base = None
        super().notify_style_update()


class Still(_Plain):
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
        return strip(line, self.size.width, self.base)

    def on_click(self, event: events.Click) -> None:
        self.post_message(Clicked(self, event.x, event.y))


class Window(_Plain):
    """A part of many lines. Not Textual's ScrollView, which lays out the whole screen anew for each line that comes."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.count = self.columns = 0  # of what there is
        self.top = self.left = 0  # of what is seen

    @property
    def room(self) -> int:
        """Columns of a line; the last one is the bar's."""
        return max(0, self.size.width - 1)

    @property
    def _lowest(self) -> int:
        return max(0, self.count - self.size.height)

    def shift(self, down: int = 0, right: int = 0) -> None:
        """See another part."""
        top = max(0, min(self._lowest, self.top + down))
        left = max(0, min(max(0, self.columns - self.room), self.left + right))
        if (top, left) != (self.top, self.left):
            self.top, self.left = top, left
            self.refresh()

    def begin(self) -> None:
        """See the first part."""
        self.shift(-self.top, -self.left)

    def end(self) -> None:
        """See the last lines."""
        self.shift(self.count)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self.shift(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self.shift(-3)

    def on_click(self, event: events.Click) -> None:
        self.post_message(Clicked(self, event.x, event.y + self.top))

    def _with_bar(self, line: Strip, y: int, base: Style) -> Strip:
        height, mark = self.size.height, " "
        if self.count > height > 0:
            long = max(1, height * height // self.count)
            start = (height - long) * self.top // max(1, self._lowest)
            mark = "▐" if start <= y < start + long else " "
        return Strip.join([line, Strip([Segment(mark, base + _style("dim"))])])


class Scrolled(Window):
    """Lines. Those that come at the end are seen as long as the last ones are."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.lines: Sequence[Line | Strip] = ()

    def show(self, lines: Sequence[Line | Strip], *, tail: bool = False, columns: int = 0) -> None:
        if lines is self.lines or (len(lines) == len(self.lines) and lines == self.lines):
            return
        follows = tail and self.top >= self._lowest
        self.lines, self.count, self.columns = lines, len(lines), columns
        self.shift(self.count if follows else 0)
        self.refresh()

    def on_resize(self) -> None:
        self.shift()

    def render_line(self, y: int) -> Strip:
        base, number = self.base, self.top + y
        line: Line | Strip = self.lines[number] if number < self.count else ()
        end = self.left + self.room
        found = line.apply_style(base) if isinstance(line, Strip) else strip(line, end, base)
        return self._with_bar(found.crop_extend(self.left, end, base), y, base)


class Listed(Window):
    """Rows of which one is chosen. A row is made only when it is seen, and painted only when it changed."""

    COMPONENT_CLASSES = {"listed--chosen"}  # noqa: RUF012 (Textual's)

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._row: Callable[[int, int], Line] = lambda number, width: ()
        self._chosen = -1
        self._painted: dict[int, tuple[Line, bool]] = {}

    def show(self, count: int, chosen: int, row: Callable[[int, int], Line]) -> None:
        """`row`: the line of a number, in so many columns."""
        self._row = row
        if count != self.count:
            self.count = count
            self._painted.clear()
            self.shift()
            self.refresh()
        if chosen != self._chosen:
            self._chosen = chosen
            self._into_view()
        for y in range(min(count - self.top, self.size.height)):
            number = self.top + y
            if self._painted.get(number) != (row(number, self.room), number == chosen):
                self.refresh(Region(0, y, self.size.width, 1))

    def _into_view(self) -> None:
        if self._chosen < self.top:
            self.shift(self._chosen - self.top)
        elif self._chosen >= self.top + self.size.height:
            self.shift(self._chosen - self.size.height + 1 - self.top)

    def on_resize(self) -> None:
        self.shift()
        self._into_view()

    def render_line(self, y: int) -> Strip:
        number, base = self.top + y, self.base
        if number >= self.count:
            return Strip.blank(self.size.width, base)
        line, chosen = self._row(number, self.room), number == self._chosen
        self._painted[number] = (line, chosen)
        look = self.get_component_rich_style("listed--chosen") if chosen else base
        return self._with_bar(strip(line, self.room, look), y, base)
