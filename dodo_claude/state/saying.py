"""What a worker says of itself, and others to it: progress, lists of tasks, questions, what was refused. A part of lifecycle's
table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dodo_claude.state.events import MOST_DENIED, NOTE, Ask, Event, View


def progressed(view: View, event: Event) -> View:
    percent = event.data.get("percent")
    return replace(
        view,
        percent=min(100, max(0, percent)) if type(percent) is int else view.percent,  # true is none
        progress=event.text("text"),
        says_itself=True,
    )


def task_made(view: View, event: Event) -> View:
    made = view.tasks | {event.text("task_id")}
    return _by_list(replace(view, tasks=made), len(view.tasks_done), len(made), view.progress)


def task_done(view: View, event: Event) -> View:
    done = view.tasks_done | {event.text("task_id")}
    made = view.tasks | done
    after = replace(view, tasks=made, tasks_done=done)
    return _by_list(after, len(done), len(made), event.text("task_subject"))


def listed(view: View, event: Event) -> View:
    """The older tool gives the whole list at each change."""
    inputs = event.data.get("tool_input")
    todos = inputs.get("todos") if isinstance(inputs, Mapping) else None
    known = [todo for todo in todos if isinstance(todo, Mapping)] if isinstance(todos, list) else []
    if not known:
        return view
    done = sum(todo.get("status") == "completed" for todo in known)
    doing = [str(todo.get("activeForm") or "") for todo in known if todo.get("status") == "in_progress"]
    return _by_list(view, done, len(known), doing[0] if doing else "")


def _by_list(view: View, done: int, total: int, text: str) -> View:
    """How far its own list of tasks says that it is."""
    return view if view.says_itself else replace(view, percent=100 * done // total, progress=text)


def said(view: View, event: Event) -> View:
    return replace(view, activity=f"{'notes' if event.kind == NOTE else 'says'}: {event.text('text')}")


def asked(view: View, event: Event) -> View:
    ask = Ask(event.text("id"), event.text("text"), event.number("until"))
    return replace(view, asks=(*(other for other in view.asks if other.id != ask.id), ask))


def answered(view: View, event: Event) -> View:
    return replace(view, asks=tuple(ask for ask in view.asks if ask.id != event.text("id")))


def posted(view: View, event: Event) -> View:
    return replace(view, posted=(event.text("letter"), event.text("sender"), event.text("text")))


def denied(view: View, event: Event) -> View:
    what, why = event.text("what"), event.text("text")
    known = tuple(each for each in view.denied if each[0] != what)
    return replace(
        view,
        denied=(*known, (what, why, event.text("call")))[-MOST_DENIED:],
        activity=f"was refused: {what} ({why})",
    )
