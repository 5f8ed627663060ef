"""What an agent's hooks call what our events tell of, where that is not as those are called: kept beside the attempt, so that
whoever reads what its hooks wrote, in whatever process and at whatever time, reads it alike.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dodo_claude.machine import files
from dodo_claude.machine.ours import NotOursError

# In the attempt's folder. There is none of an agent whose hooks speak as our events do.
FILE = "agent.json"
KIND = "hook_event_name"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Names that an agent's hooks use -> ours; what is not in it stays as it is."""

    kinds: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # by our field's name

    def read(self, said: Mapping[str, object]) -> dict[str, object]:
        """What a hook said, in our words."""
        event = {self.fields.get(name, name): value for name, value in said.items()}
        for name, ours in ({KIND: self.kinds} | dict(self.values)).items():
            value = event.get(name)
            if isinstance(value, str):
                event[name] = ours.get(value, value)
        return event


def as_json(base: str, vocabulary: Vocabulary) -> str:
    """What `FILE` holds."""
    table = {"base": base, "kinds": dict(vocabulary.kinds), "fields": dict(vocabulary.fields),
             "values": {name: dict(words) for name, words in vocabulary.values.items()}}  # fmt: skip
    return json.dumps(table) + "\n"


def of_attempt(folder: Path) -> tuple[str, Vocabulary] | None:
    """The base of the agent that works in the attempt's `folder`, and its words; None: it speaks as our events do."""
    with contextlib.suppress(
        NotOursError, OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError
    ):
        table = json.loads(files.read(folder / FILE))
        kinds, fields = (
            {name: str(ours) for name, ours in table[key].items()} for key in ("kinds", "fields")
        )
        values = {
            name: {word: str(ours) for word, ours in words.items()} for name, words in table["values"].items()
        }
        return str(table["base"]), Vocabulary(kinds, fields, values)
    return None
