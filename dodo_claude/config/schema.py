"""Judges a parsed orchestrate.toml by orchestrate.schema.json. The only importer of jsonschema, and only when something
is wrong.

The schema's file is the one definition of what may be written; here are only the words for what may not. A def's
`title` names what a value should be, its `$comment` says how to write one.

Most of what is read is sound, and jsonschema takes a tenth of a millisecond for a stage: so each value is looked at first
by questions that are made of the same rules. What passes breaks none; whatever is in doubt, jsonschema judges.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dodo_claude.config.findings import MOST, SHOWN, Findings, did_you_mean, listed, show
from dodo_claude.config.locate import KeyPath
from dodo_claude.text import durations

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

SCHEMA = Path(__file__).with_name("orchestrate.schema.json")

_KINDS = {
    "string": "a string",
    "integer": "a whole number",
    "array": "a list",
    "object": "a table",
    "boolean": "true or false",
}
WORK = ("prompt", "prompt_file", "command", "phases", "orchestrate")
_PHASE_WORK = WORK[:2]


@functools.cache
def schema() -> Mapping[str, Any]:
    loaded: Mapping[str, Any] = json.loads(SCHEMA.read_text("utf-8"))
    return loaded


def is_stage_name(text: str) -> bool:
    """Can a stage be called so: a name, of one in a group its item after a colon?"""
    kinds = schema()["$defs"]
    name, *items = text.split(":")
    return all(
        re.fullmatch(kinds[kind]["pattern"].strip("^$"), part)
        for kind, part in [("name", name), *(("item", item) for item in items)]
    )


def judge(document: dict[str, Any], findings: Findings) -> None:
    """Report every error and take what is wrong out of `document`, so that later checks see only sound values.

    Unknown keys go; every other wrong value becomes None: its key still counts as given, and a list's other elements
    keep their places.
    """
    if look(schema())(document):
        return
    raws = [*itertools.islice(_validator().iter_errors(document), MOST + 1)]
    for error in [_Error(*_parts(raw)) for raw in raws]:
        if error.of_name:
            text, remedy = _words(error)
            findings.add((*error.path, str(error.instance)), text, remedy, key=True)
        elif error.rule == "additionalProperties":
            _unknown_keys(error, findings)
        elif error.rule == "uniqueItems":
            _repeated(error, findings)
        elif error.rule == "oneOf":
            _work(error, findings)
        else:
            findings.add(error.path, *_words(error))
            _take_out(document, error.path)
    if len(raws) > MOST:  # what was not looked at may be wrong, too
        findings.raise_any()


Look = Callable[[Any], bool]
_Rules = Mapping[str, Any]
# All that the schema says of a value; a word that is not among them would be looked past.
_LOOKED_AT = re.compile(
    r"\$(ref|schema|defs|comment)|title|description|default|required|type|enum|pattern|(min|max)(imum|Length|Items)"
    r"|maxProperties|items|uniqueItems|properties|additionalProperties|propertyNames|oneOf"
)
_looks: dict[int, tuple[_Rules, Look]] = {}  # by the identity of the rules, which are kept


def look(rules: _Rules) -> Look:
    """The question whether a value breaks none of `rules`: only what surely breaks none has a yes."""
    found = _looks.get(id(rules))
    if found is None:
        found = _looks[id(rules)] = (rules, _look_by(rules))
    return found[1]


def _look_by(rules: _Rules) -> Look:
    assert all(map(_LOOKED_AT.fullmatch, rules))
    if "$ref" in rules:
        rules = {**schema()["$defs"][rules["$ref"].removeprefix("#/$defs/")], **rules}
    if "enum" in rules:
        allowed = frozenset(rules["enum"])
        return lambda value: isinstance(value, str) and value in allowed
    kinds = [rules["type"]] if isinstance(rules["type"], str) else rules["type"]
    by_type = {type_: make(rules) for kind in kinds for type_, make in _LOOKS[kind].items()}

    def is_sound(value: object) -> bool:
        by = by_type.get(type(value))
        return by is not None and by(value)

    return is_sound


def _look_at_text(rules: _Rules) -> Look:
    least, most = rules.get("minLength", 0), rules.get("maxLength", math.inf)
    wanted = re.compile(_whole(rules.get("pattern", ""))).search
    if "pattern" not in rules:
        return lambda text: least <= len(text) <= most
    return lambda text: least <= len(text) <= most and wanted(text) is not None


def _look_at_number(rules: _Rules) -> Look:
    least, most = rules.get("minimum", -math.inf), rules.get("maximum", math.inf)
    return lambda number: least <= number <= most


def _look_at_list(rules: _Rules) -> Look:
    least, most = rules.get("minItems", 0), rules.get("maxItems", math.inf)
    each, unique = look(rules["items"]), rules.get("uniqueItems", False)

    def is_sound(values: list[Any]) -> bool:
        # What is no text may not be hashed, and is no item of a list of ours that holds each but once.
        return (
            least <= len(values) <= most
            and all(map(each, values))
            and (not unique or len(set(values)) == len(values))
        )

    return is_sound


def _look_at_table(rules: _Rules) -> Look:
    most = rules.get("maxProperties", math.inf)
    known = {key: look(value) for key, value in rules.get("properties", {}).items()}
    others = rules["additionalProperties"]
    other = look(others) if others else None
    name = look(rules["propertyNames"]) if "propertyNames" in rules else None
    one_of = {key for (key,) in (choice["required"] for choice in rules.get("oneOf", ()))}

    def is_sound(table: dict[str, Any]) -> bool:
        if len(table) > most or (one_of and len(one_of & table.keys()) != 1):
            return False
        for key, value in table.items():
            by = known.get(key, other)
            if by is None or not by(value) or (name is not None and not name(key)):
                return False
        return True

    return is_sound


# Of each kind of JSON Schema's the types that tomllib reads as it.
_LOOKS: Mapping[str, Mapping[type, Callable[[_Rules], Look]]] = {
    "string": {str: _look_at_text},
    "integer": {int: _look_at_number},
    "number": {int: _look_at_number, float: _look_at_number},
    "boolean": {bool: lambda _rules: lambda _value: True},
    "array": {list: _look_at_list},
    "object": {dict: _look_at_table},
}


def _whole(pattern: str) -> str:
    """Python's `$` also matches before a line's end at the end: a stage "a\\n" would pass."""
    return pattern.removesuffix("$") + r"\Z" if pattern else pattern


class _Error(NamedTuple):
    """What jsonschema found, as far as we use it."""

    path: KeyPath
    instance: Any
    rule: str  # the keyword that failed, such as maxLength
    wanted: Any  # its value
    rules: Mapping[str, Any]  # the part of the schema it is from
    of_name: bool  # the instance is a key, not a value


def _parts(error: Any) -> tuple[KeyPath, Any, str, Any, Mapping[str, Any], bool]:
    of_name = "propertyNames" in error.absolute_schema_path
    path: KeyPath = tuple(error.absolute_path)
    return (path, error.instance, error.validator, error.validator_value, error.schema, of_name)


@functools.cache
def _validator() -> Validator:
    import jsonschema
    from jsonschema import Draft202012Validator, TypeChecker
    from jsonschema.validators import extend

    def is_whole(_checker: TypeChecker, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)

    def pattern(_validator: object, wanted: str, value: object, _schema: object) -> Any:
        if isinstance(value, str) and not re.search(_whole(wanted), value):
            yield jsonschema.ValidationError("pattern")

    def within(value: object, rules: _Rules, most: str) -> bool:
        """Of what is too large, that is all there is to say."""
        return not isinstance(value, list | dict) or len(value) <= rules.get(most, len(value))

    def unique(validator: object, wanted: object, value: Any, rules: Any) -> Any:
        if within(value, rules, "maxItems"):
            yield from Draft202012Validator.VALIDATORS["uniqueItems"](validator, wanted, value, rules) or ()

    # What is in a list or a table is looked at one by one, and in its order: most of a faulty file is sound.

    def items(validator: Any, wanted: Any, values: object, rules: Any) -> Iterator[Any]:
        is_sound = look(wanted)
        for index, value in enumerate(
            values if isinstance(values, list) and within(values, rules, "maxItems") else ()
        ):
            if not is_sound(value):
                yield from validator.descend(value, wanted, path=index)

    def names(validator: Any, wanted: Any, table: object, rules: Any) -> Iterator[Any]:
        is_sound = look(wanted)
        for name in table if isinstance(table, dict) and within(table, rules, "maxProperties") else ():
            if not is_sound(name):
                yield from validator.descend(name, wanted)

    def others(validator: Any, wanted: Any, table: object, rules: Any) -> Iterator[Any]:
        if not isinstance(table, dict) or not within(table, rules, "maxProperties"):
            return
        known = rules.get("properties", {})
        if wanted is False:
            if not table.keys() <= known.keys():
                yield jsonschema.ValidationError("additionalProperties")
            return
        is_sound = look(wanted)
        for key, value in table.items():
            if key not in known and not is_sound(value):
                yield from validator.descend(value, wanted, path=key)

    validators = {
        "pattern": pattern,
        "uniqueItems": unique,
        "items": items,
        "propertyNames": names,
        "additionalProperties": others,
    }
    # JSON Schema calls 1.0 an integer; in TOML it is a float, and a float is no count.
    checker = Draft202012Validator.TYPE_CHECKER.redefine("integer", is_whole)
    cls: Any = extend(Draft202012Validator, validators=validators, type_checker=checker)  # type: ignore[no-untyped-call]
    made: Validator = cls(schema())
    return made


def _unknown_keys(error: _Error, findings: Findings) -> None:
    known, path = error.rules["properties"], error.path
    for key in [key for key in error.instance if key not in known]:
        del error.instance[key]
        if path == ("defaults",) and key in _stage_keys():
            findings.add((*path, key), f"{show(key)} can't be a default", "give it in each stage", key=True)
            continue
        remedy = did_you_mean(key, known, f"known keys: {listed(known, 30)}")
        findings.add((*path, key), "unknown key", remedy, key=True)


def _stage_keys() -> Mapping[str, Any]:
    keys: Mapping[str, Any] = schema()["properties"]["stages"]["additionalProperties"]["properties"]
    return keys


def _repeated(error: _Error, findings: Findings) -> None:
    seen: set[str] = set()
    for index, value in enumerate(error.instance):
        if not isinstance(value, str):  # is an error of its own
            continue
        if value in seen:
            findings.add((*error.path, index), f"{show(value)} is given twice", "leave one of them out")
            error.instance[index] = None
        seen.add(value)


def _work(error: _Error, findings: Findings) -> None:
    if not isinstance(error.instance, dict):  # is an error of its own
        return
    of_phase = len(error.path) > 2
    works, what = (_PHASE_WORK, "a phase") if of_phase else (WORK, "a stage")
    given = [key for key in works if key in error.instance]
    if not given:
        text = f"has no {', '.join(works[:-1])} or {works[-1]}"
        findings.add(error.path, text, f"{what} needs one of them", key=not of_phase)
        return
    for key in given[1:]:
        findings.add(
            (*error.path, key),
            f"can't stand beside {given[0]!r}",
            f"{what} has exactly one of {listed(works)}",
            key=True,
        )


def _words(error: _Error) -> tuple[str, str]:
    """Text and remedy for an error whose message does not depend on its surroundings."""
    if isinstance(error.instance, int) and abs(error.instance) >= 10**SHOWN:
        return f"a number of {len(str(abs(error.instance)))} digits is too large", ""
    words = _WORDS.get(error.rule)
    return words(error, error.rules) if words else (f"{show(error.instance)} is not allowed here", "")


def _type(error: _Error, rules: Mapping[str, Any]) -> tuple[str, str]:
    kinds = [error.wanted] if isinstance(error.wanted, str) else error.wanted
    wanted = rules.get("title") or " or ".join(_KINDS[kind] for kind in kinds)
    value, remedy = error.instance, rules.get("$comment", "")
    if kinds == ["array"] and isinstance(value, str):
        remedy = f"write [{show(value)}]"
    elif wanted == "a duration" and isinstance(value, int | float):
        remedy = f"a plain number has no unit: did you mean '{show(value)}m' or '{show(value)}s'?"
    elif "string" in kinds and not isinstance(value, list | dict):
        remedy = "put it in quotes"
    elif kinds == ["boolean"] and isinstance(value, str) and value.lower() in ("true", "false", "yes", "no"):
        remedy = "write true or false, without quotes"
    elif kinds == ["integer"] and isinstance(value, str) and value.strip().isdecimal() and len(value) < SHOWN:
        remedy = f"write {show(int(value))}, without quotes"
    return f"{show(value)} is not {wanted}", remedy


def _pattern(error: _Error, rules: Mapping[str, Any]) -> tuple[str, str]:
    wanted, remedy = rules.get("title", "allowed"), rules.get("$comment", "")
    if wanted == "a duration":
        better = durations.nearest(error.instance)
        bare = error.instance.strip().isdecimal()
        if bare:
            better = f"{error.instance.strip()}m"
        remedy = f"did you mean {show(better)}?" if better else remedy
    return f"{show(error.instance)} is not {wanted}", remedy


def _enum(error: _Error, rules: Mapping[str, Any]) -> tuple[str, str]:
    value, allowed = error.instance, rules["enum"]
    remedy = did_you_mean(value, allowed) if isinstance(value, str) else ""
    return f"{show(value)} is not one of {listed(allowed)}", remedy


def _range(error: _Error, rules: Mapping[str, Any]) -> tuple[str, str]:
    return f"{show(error.instance)} is out of range", f"from {rules['minimum']} to {rules['maximum']}"


def _too_long(error: _Error, rules: Mapping[str, Any]) -> tuple[str, str]:
    return f"longer than {rules['maxLength']} characters", ""


def _too_many(error: _Error, _rules: Mapping[str, Any]) -> tuple[str, str]:
    return f"has {len(error.instance)} entries", f"at most {error.wanted}"


def _empty(_error: _Error, _rules: Mapping[str, Any]) -> tuple[str, str]:
    return "is empty", "give a value or leave the key out"


_WORDS: Mapping[str, Callable[[_Error, Mapping[str, Any]], tuple[str, str]]] = {
    "type": _type,
    "pattern": _pattern,
    "enum": _enum,
    "minimum": _range,
    "maximum": _range,
    "maxLength": _too_long,
    "maxItems": _too_many,
    "maxProperties": _too_many,
    "minLength": _empty,
    "minItems": _empty,
}


def _take_out(document: dict[str, Any], path: KeyPath) -> None:
    """Put None in place of the value, unless what it was in is gone already."""
    value: Any = document
    for part in path[:-1]:
        value = value[part]
        if value is None:
            return
    if path:
        value[path[-1]] = None
