"""A calendar means what cron means: a table of lines, and the times at which cron(8) would start them."""

from datetime import UTC, datetime

import pytest

from flywheel.errors import InvalidInput
from flywheel.retraining.crontab import parse_crontab
from services.integrations.apscheduler.schedule import trigger_of

SATURDAY_NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


def next_times(line: str, *, count: int, after: datetime = SATURDAY_NOON) -> list[str]:
    trigger, found, previous = trigger_of(parse_crontab(line)), [], None
    while len(found) < count:
        previous = trigger.get_next_fire_time(previous, previous or after)
        found.append(f"{previous:%a %d %b %H:%M}")
    return found


@pytest.mark.parametrize(
    ("line", "times"),
    [
        ("0 3 * * 1", ["Mon 30 Nov 03:00", "Mon 07 Dec 03:00"]),
        ("0 3 * * 0", ["Sun 29 Nov 03:00", "Sun 06 Dec 03:00"]),
        ("0 3 * * 7", ["Sun 29 Nov 03:00", "Sun 06 Dec 03:00"]),
        ("0 3 * * 6", ["Sat 05 Dec 03:00", "Sat 12 Dec 03:00"]),
        ("0 3 * * sun", ["Sun 29 Nov 03:00", "Sun 06 Dec 03:00"]),
        ("0 3 * * MON", ["Mon 30 Nov 03:00", "Mon 07 Dec 03:00"]),
        ("0 3 * * 1-3", ["Mon 30 Nov 03:00", "Tue 01 Dec 03:00", "Wed 02 Dec 03:00", "Mon 07 Dec 03:00"]),
        ("0 3 * * 5-7", ["Sun 29 Nov 03:00", "Fri 04 Dec 03:00", "Sat 05 Dec 03:00", "Sun 06 Dec 03:00"]),
        ("0 3 * * fri-sun", ["Sun 29 Nov 03:00", "Fri 04 Dec 03:00", "Sat 05 Dec 03:00", "Sun 06 Dec 03:00"]),
        ("0 3 * * 0,3", ["Sun 29 Nov 03:00", "Wed 02 Dec 03:00", "Sun 06 Dec 03:00"]),
        ("0 3 * * tue,4", ["Tue 01 Dec 03:00", "Thu 03 Dec 03:00", "Tue 08 Dec 03:00"]),
        ("0 3 * * */2", ["Sun 29 Nov 03:00", "Tue 01 Dec 03:00", "Thu 03 Dec 03:00", "Sat 05 Dec 03:00"]),
        ("0 3 * * 1-5/2", ["Mon 30 Nov 03:00", "Wed 02 Dec 03:00", "Fri 04 Dec 03:00", "Mon 07 Dec 03:00"]),
        ("0 3 * * 0-7", ["Sun 29 Nov 03:00", "Mon 30 Nov 03:00", "Tue 01 Dec 03:00"]),
        # day and weekday both restricted: either is enough
        ("0 3 1 * 1", ["Mon 30 Nov 03:00", "Tue 01 Dec 03:00", "Mon 07 Dec 03:00"]),
        ("0 3 7 * 1", ["Mon 30 Nov 03:00", "Mon 07 Dec 03:00", "Mon 14 Dec 03:00"]),
        ("30 4 1,15 * 5", ["Tue 01 Dec 04:30", "Fri 04 Dec 04:30", "Fri 11 Dec 04:30", "Tue 15 Dec 04:30"]),
        ("0 3 31 2 1", ["Mon 01 Feb 03:00", "Mon 08 Feb 03:00"]),
        # a field that begins with a star is not restricted: both must fit
        ("0 3 */2 * 1", ["Mon 07 Dec 03:00", "Mon 21 Dec 03:00"]),
        ("0 3 1 * */1", ["Tue 01 Dec 03:00", "Fri 01 Jan 03:00"]),
        ("0 3 1 * *", ["Tue 01 Dec 03:00", "Fri 01 Jan 03:00"]),
        ("15,45 9-17/4 * dec *", ["Tue 01 Dec 09:15", "Tue 01 Dec 09:45", "Tue 01 Dec 13:15"]),
        ("*/20 * * * *", ["Sat 28 Nov 12:00", "Sat 28 Nov 12:20", "Sat 28 Nov 12:40"]),
        ("0 0 29 2 *", ["Tue 29 Feb 00:00"]),
        ("@weekly", ["Sun 29 Nov 00:00", "Sun 06 Dec 00:00"]),
        ("@daily", ["Sun 29 Nov 00:00", "Mon 30 Nov 00:00"]),
        ("  0\t3  *  *  1 ", ["Mon 30 Nov 03:00"]),
    ],
)
def test_a_calendar_fires_when_cron_would(line: str, times: list[str]) -> None:
    assert next_times(line, count=len(times)) == times


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("every day", "it has 2 fields, not 5"),
        ("0 3 * * 1 *", "it has 6 fields, not 5"),
        ("@reboot", "it has 1 fields, not 5"),
        ("", "it has 0 fields, not 5"),
        ("99 3 * * 1", "'99' as minute, which goes from 0 to 59"),
        ("0 3 * * 8", "'8' as weekday, which goes from 0 to 7, or sun to sat"),
        ("0 3 0 * *", "'0' as day, which goes from 1 to 31"),
        ("0 3 * 13 *", "'13' as month, which goes from 1 to 12, or jan to dec"),
        ("0 3 * * monday", "'monday' as weekday"),
        ("0 3 * * fri-mon", "'fri-mon' as weekday, a range that ends before it begins"),
        ("0 3 * * 1/2", "'1/2' as weekday: a step needs a range"),
        ("0 3 * * */0", "'*/0' as weekday, a step outside 1 to 7"),
        ("0 3 * * 1#2", "'1#2' as weekday, which is no value, range or step"),
        ("0 3 L * *", "'L' as day"),
        ("0 3 ? * 1", "'?' as day, which is no value, range or step"),
        ("0 3 1,,2 * *", "'' as day, which is no value, range or step"),
        ("0 3 * * ١", "as weekday, which is no value, range or step"),
        ("0 0 31 2,4,6 *", "never fires: these months have no such day"),
        ("0 0 30 feb */2", "never fires: these months have no such day"),
    ],
)
def test_what_cron_would_not_take_is_refused_in_one_sentence(line: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_crontab(line)
    assert reason in str(caught.value)
    assert "0 and 7 are Sunday" in caught.value.remedy
