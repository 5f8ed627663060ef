"""When may a worker go on after the API said no? Pure: texts, times and random numbers in, times out.

The client's hook tells that a limit was hit; when it ends stands only in the text for people, as a time of day
with a zone ("Your limit will reset at 3pm (UTC)."). Wall-clock times are used here, because that is what the
text speaks of; whoever waits looks at the clock again every minute.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

# A reset that the text puts in the past has come or was misread: look again after this.
PAST_STEP = timedelta(minutes=15)
# A limit without a time in its text.
UNKNOWN_STEP = timedelta(minutes=30)
# No text makes us wait longer.
LONGEST = timedelta(hours=24)
# All workers of all users come back at the reset: some seconds later there is room.
AFTER_RESET = timedelta(seconds=60)
# A time of day that is over by at most this is today's, else tomorrow's is meant.
JUST_OVER = timedelta(hours=1)

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_RESET = re.compile(
    r"\breset(?:s|ting)?\b(?:\s+(?:at|on|by))?\s+"
    r"(?:(?P<month>[A-Za-z]{3,9})\.?\s+(?P<day>\d{1,2})(?:st|nd|rd|th)?(?:,?\s+(?P<year>\d{4}))?,?\s+(?:at\s+)?)?"
    r"(?P<hour>\d{1,2})(?::(?P<minute>\d{2}))?\s*(?P<half>[ap]\.?m\.?)?"
    r"(?:\s*\((?P<zone>[A-Za-z0-9_+/-]+)\))?",
    re.IGNORECASE,
)


def reset_time(text: str, now: datetime, local: tzinfo) -> datetime | None:
    """The moment (UTC) at which the limit that `text` tells of ends; None if it names none.

    `now` is aware; `local` is the zone of a time that comes without one. An unknown zone counts as none
    at all: a guess could be hours off. The result may be in the past.
    """
    found = _RESET.search(text)
    if found is None:
        return None
    hour, minute = int(found["hour"]), int(found["minute"] or 0)
    half = (found["half"] or "").lower().replace(".", "")
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "pm" else 0)
    elif found["minute"] is None:
        return None  # "resets 5" may be anything
    zone = _zone(found["zone"], local)
    if zone is None or hour > 23 or minute > 59:
        return None
    today = now.astimezone(zone)
    if found["month"] is not None:
        return _on_day(found, today, hour, minute)
    at = _moment(today, hour, minute)
    if at < now - JUST_OVER:
        at = _moment(today + timedelta(days=1), hour, minute)
    return at


def _zone(name: str | None, local: tzinfo) -> tzinfo | None:
    if name is None:
        return local
    try:
        return ZoneInfo(name)
    except (ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        return None
    except KeyError:
        return None


def _on_day(found: re.Match[str], today: datetime, hour: int, minute: int) -> datetime | None:
    month = found["month"][:3].lower()
    if month not in _MONTHS:
        return None
    try:
        day = today.replace(
            year=int(found["year"] or today.year), month=_MONTHS.index(month) + 1, day=int(found["day"])
        )
        at = _moment(day, hour, minute)
        # "Jan 2" said in December is next year's.
        if found["year"] is None and at < today - timedelta(days=180):
            at = _moment(day.replace(year=day.year + 1), hour, minute)
    except ValueError:
        return None
    return at


def _moment(day: datetime, hour: int, minute: int) -> datetime:
    """That time of that day in UTC: an hour that the clocks skip is read as the one after it."""
    return day.replace(hour=hour, minute=minute, second=0, microsecond=0, fold=0).astimezone(UTC)


def wait_until(text: str, now: datetime, local: tzinfo) -> datetime:
    """When to try again after the limit that `text` tells of. Later than `now`, by at most a day."""
    at = reset_time(text, now, local)
    if at is None:
        at = now + UNKNOWN_STEP
    elif at <= now:
        at = now + PAST_STEP
    else:
        at += AFTER_RESET
    return min(at, now + LONGEST)


def backoff(failures: int, first: float, longest: float, random: float) -> float:
    """Seconds to wait after that many failures in a row (from 1): doubling from `first` up to `longest`.

    `random` from 0 to 1 spreads it over the last quarter, so that workers that failed together do not
    come back together.
    """
    wait = min(longest, first * 2.0 ** min(failures - 1, 60))
    return wait * (0.75 + 0.25 * random)
