"""Which versions of the client this was proved on, and which are too old."""

from __future__ import annotations

# The client version that the flags, hook names and settings below were proved on.
CLIENT_VERSION = "2.1.332"
# The oldest with which all of a run works: one before it does not go on after a compaction in mid-turn, "manual" is no mode of
# those before 2.1.200, what a Stop hook says does not reach the model before 2.1.163, and before 2.1.118 our settings stop it.
LOWEST_CLIENT_VERSION = "2.1.269"


def is_too_old(version: str) -> bool:
    """Is the client of that version one that can't be worked with?"""
    return _numbers(version) < _numbers(LOWEST_CLIENT_VERSION)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
