"""When does a line of a crontab fire? As cron reads it (crontab(5)), in UTC.

In: the line, five fields or a nickname such as ``@weekly``. Out: a Crontab with the values of each field, or InvalidInput with what is
wrong in which field. Waiting for the time is not done here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from flywheel.errors import InvalidInput

REMEDY = "Write minute, hour, day, month and weekday in UTC, e.g. 0 3 * * 1: Mondays at three; 0 and 7 are Sunday."
NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, kw_only=True)
class CrontabField:
    """The range of a field's values, and names for them: names[0] is ``first``."""

    name: str
    first: int
    last: int
    names: Sequence[str] = ()


FIELDS = (
    CrontabField(name="minute", first=0, last=59),
    CrontabField(name="hour", first=0, last=23),
    CrontabField(name="day", first=1, last=31),
    CrontabField(name="month", first=1, last=12, names=MONTHS),
    CrontabField(name="weekday", first=0, last=7, names=WEEKDAYS),
)


@dataclass(frozen=True, kw_only=True)
class Crontab:
    """Ascending values of each field; weekdays count from Sunday, 0, to Saturday, 6."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    either_day: bool  # day and weekday are both restricted: the line fires on a date that fits one of them; else both must fit


def parse_crontab(line: str) -> Crontab:
    """Raises InvalidInput for a line that cron would not take, and for a date that never comes."""
    text = line.strip()
    parts = NICKNAMES.get(text.lower(), text).split()
    if len(parts) != len(FIELDS):
        raise _invalid(f"has {len(parts)} fields, not 5", line)
    minutes, hours, days, months, weekdays = (_values(part, field, line) for part, field in zip(parts, FIELDS, strict=True))
    # As in cron, a field counts as restricted unless it begins with a star: */2 is unrestricted in this sense.
    either_day = not parts[2].startswith("*") and not parts[4].startswith("*")
    if not either_day and not any(day <= LONGEST_MONTHS[month - 1] for month in months for day in days):
        raise _invalid("never fires: these months have no such day", line)
    sunday_once = tuple(sorted({day % 7 for day in weekdays}))
    return Crontab(minutes=minutes, hours=hours, days=days, months=months, weekdays=sunday_once, either_day=either_day)


def _values(text: str, field: CrontabField, line: str) -> tuple[int, ...]:
    found: set[int] = set()
    for item in text.split(","):
        match = re.fullmatch(r"(?:\*|(\w+)(?:-(\w+))?)(?:/(\d+))?", item, re.ASCII)
        if match is None:
            raise _invalid(f"has {item!r} as {field.name}, which is no value, range or step", line)
        begin, end, step = match.groups()
        if step is not None and begin is not None and end is None:
            raise _invalid(f"has {item!r} as {field.name}: a step needs a range", line)
        first = field.first if begin is None else _value(begin, field, line)
        last = field.last if begin is None else first if end is None else _value(end, field, line)
        if begin is None and field.name == "weekday":
            last = 6  # 7 is Sunday again
        if end is not None and end.lower() == "sun" and first > 0:
            last = 7  # fri-sun, as 5-7
        if first > last:
            raise _invalid(f"has {item!r} as {field.name}, a range that ends before it begins", line)
        if step is not None and not 1 <= int(step) <= field.last:
            raise _invalid(f"has {item!r} as {field.name}, a step outside 1 to {field.last}", line)
        found.update(range(first, last + 1, int(step or 1)))
    return tuple(sorted(found))


def _value(text: str, field: CrontabField, line: str) -> int:
    if text.lower() in field.names:
        return field.first + field.names.index(text.lower())
    if not text.isdigit() or not field.first <= int(text) <= field.last:
        names = f", or {field.names[0]} to {field.names[-1]}" if field.names else ""
        raise _invalid(f"has {text!r} as {field.name}, which goes from {field.first} to {field.last}{names}", line)
    return int(text)


def _invalid(reason: str, line: str) -> InvalidInput:
    return InvalidInput(f"is not a crontab line: it {reason}", where="trigger.calendar", value=line, remedy=REMEDY)
