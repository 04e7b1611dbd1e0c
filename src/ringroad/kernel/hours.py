"""Hours of the week in which something may happen, by the clock on the wall of whoever it happens to.

A window is open at an instant when the wall clock of the time zone shows one of its hours then, and none of its
quiet ones. That settles daylight saving time: hours that a clock skips do not happen, hours that it shows twice
happen twice.

Not here: what is done in a window.
Invariant: `open_until` and `offer_time` never contradict `is_open`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from functools import lru_cache, reduce
from operator import and_

from ringroad.kernel.errors import InvalidInput

ALWAYS = ("00:00-24:00",)  # hours that are never over
HOURS_MAX = 28  # spans per window: four for each day of a week
SPAN_CHARS_MAX = 60  # characters of one span
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MIN = 24 * 60  # minutes
WEEK_MIN = 7 * DAY_MIN  # minutes
LOOKED_DAYS = (
    9  # days ahead; a week repeats after seven, and a clock that is set moves no span by a whole day
)
OPENINGS_MAX = 400  # openings looked through for one that is long enough: three weeks of all spans
_EXAMPLE = "for example 22:00-05:00, or mon-fri 22:00-05:00"
_SPAN = re.compile(
    r"(?:(?P<days>[a-z]{3}(?:-[a-z]{3})?(?:,[a-z]{3}(?:-[a-z]{3})?)*) +)?"
    r"(?P<start>[0-9]{2}:[0-9]{2})-(?P<end>[0-9]{2}:[0-9]{2})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Hours of a week.

    Attributes:
        hours: when it is open, ``mon-fri 22:00-05:00``; a span past midnight belongs to the day on which it begins.
            Empty: always.
        quiet: when it is closed all the same.
        time_zone: of whoever has none of their own; an IANA name.
    """

    hours: tuple[str, ...] = ()
    quiet: tuple[str, ...] = ()
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        """Refuse a window that cannot be read, or is never open."""
        if not self.hours and not self.quiet:
            raise InvalidInput("a window has hours or quiet hours", hint=_EXAMPLE)
        if find_zone(self.time_zone) is None:
            raise InvalidInput(
                f"there is no time zone {self.time_zone[:60]!r}", hint="an IANA name, for example Europe/Oslo"
            )
        if 1 not in week_of(self.hours, self.quiet):
            raise InvalidInput("the quiet hours leave nothing of the window")

    def zone(self, own: tzinfo | None) -> tzinfo:
        """Return the time zone that counts: one's own, or the window's."""
        return own or find_zone(self.time_zone) or UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnHours(Window):
    """When one vehicle may begin, as who runs it said: in hours of the week, and not before a time.

    Attributes:
        not_before: it is put off until then; None: it is not.
    """

    not_before: datetime | None = None

    def __post_init__(self) -> None:
        """Refuse hours that cannot be read, and a time that is no instant."""
        Window.__post_init__(self)
        if self.not_before is not None and self.not_before.tzinfo is None:
            raise InvalidInput(
                "not_before names no instant", hint="with its offset: 2026-12-27T08:00:00+01:00"
            )


def moment_words(at: datetime) -> str:
    """Return an instant to its minute, as ``2027-01-11 08:00 UTC``."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


@lru_cache(maxsize=1_024)  # some 600 names exist
def find_zone(name: str) -> tzinfo | None:
    """Return the time zone of this IANA name, or None. UTC needs no list of names, which is read from the disk."""
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - a vehicle whose clock shows UTC carries none

    return ZoneInfo(name) if name in _zone_names() else None


def is_open(window: Window, zone: tzinfo, at: datetime) -> bool:
    """Tell whether the window is open at an instant."""
    local = at.astimezone(zone)
    minute = local.weekday() * DAY_MIN + local.hour * 60 + local.minute
    return week_of(window.hours, window.quiet)[minute] == 1


def open_until(window: Window, zone: tzinfo, at: datetime) -> tuple[bool, datetime | None]:
    """Tell whether the window is open, and when that changes next; None: never."""
    now_open = is_open(window, zone, at)
    for instant in _instants(window, zone, at):
        if is_open(window, zone, instant) != now_open:
            return now_open, instant
    return now_open, None


def closed_spans(
    window: Window, zone: tzinfo, *, start: datetime, end: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """Yield, in order, when the window is closed between two instants; spans may touch."""
    instant = start
    while instant < end:
        found = _instants(window, zone, instant) or [
            end
        ]  # of a week and more, so that it is read once for each
        for until in found:
            if instant < end and not is_open(window, zone, instant):
                yield instant, min(until, end)
            instant = until


def offer_time(window: Window, zone: tzinfo, at: datetime, *, needed_s: int) -> tuple[bool, datetime | None]:
    """Tell whether something that takes `needed_s` may begin now, and when that changes next; None: never."""
    needed = timedelta(seconds=needed_s)
    instant = at
    for _ in range(OPENINGS_MAX):
        now_open, until = open_until(window, zone, instant)
        if now_open and (until is None or instant + needed <= until):
            if instant > at:
                return False, instant
            return True, None if until is None else until - needed + timedelta(microseconds=1)
        if until is None:
            return False, None
        instant = until
    return False, None


def own_offer_time(
    own: OwnHours, zone: tzinfo, at: datetime, *, needed_s: int, recall: bool = False
) -> tuple[bool, datetime | None]:
    """Tell the same of a vehicle's own hours.

    To an emergency recall it is not put off, nor do hours hold that never leave it time enough.
    """
    if own.not_before is None or recall or own.not_before <= at:
        may, changes = offer_time(own, zone, at, needed_s=needed_s)
        return may or (recall and changes is None), changes
    may, changes = offer_time(own, zone, own.not_before, needed_s=needed_s)
    return False, own.not_before if may else changes


def longest_s(window: Window) -> int:
    """Return the seconds of the longest opening of a usual week."""
    return max(end - start for start, end in openings_of(week_of(window.hours, window.quiet))) * 60


def longest_wait_s(*windows: Window, needed_s: int) -> int | None:
    """Return the longest time, in a usual week, until something that takes `needed_s` may begin; None: it never may.

    Args:
        windows: all of which must be open; by one clock.
        needed_s: seconds.
    """
    weeks = (int.from_bytes(week_of(each.hours, each.quiet), "big") for each in windows)
    week = reduce(and_, weeks).to_bytes(WEEK_MIN, "big")
    usable = [
        (start * 60, end * 60 - needed_s)
        for start, end in openings_of(week)
        if needed_s <= (end - start) * 60
    ]
    if not usable:
        return None
    if usable == [(0, WEEK_MIN * 60 - needed_s)]:
        return 0  # open all week
    nexts = [start for start, _ in usable[1:]] + [usable[0][0] + WEEK_MIN * 60]
    return max(following - end for (_, end), following in zip(usable, nexts, strict=True))


def openings_of(week: bytes) -> list[tuple[int, int]]:
    """Return first and last minute of each opening; one past Sunday ends beyond the week."""
    if 0 not in week:
        return [(0, WEEK_MIN)]
    first = week.index(0)
    turned = week[first:] + week[:first]  # begins closed, so that no opening is cut in two
    edges = [minute for minute in range(1, WEEK_MIN) if turned[minute] != turned[minute - 1]]
    if len(edges) % 2:
        edges.append(WEEK_MIN)
    found = [
        ((start + first) % WEEK_MIN, (start + first) % WEEK_MIN + end - start)
        for start, end in zip(edges[::2], edges[1::2], strict=True)
    ]
    return sorted(found)


@lru_cache(maxsize=256)
def week_of(hours: tuple[str, ...], quiet: tuple[str, ...]) -> bytes:
    """Return one byte per minute of the week, from Monday 00:00: 1 while it is open.

    Raises:
        InvalidInput: a span cannot be read, or there are too many.
    """
    if len(hours) + len(quiet) > HOURS_MAX:
        raise InvalidInput(f"{len(hours) + len(quiet)} spans of hours, limit {HOURS_MAX}")
    week = bytearray(WEEK_MIN) if hours else bytearray(b"\1" * WEEK_MIN)
    for spans, value in ((hours, 1), (quiet, 0)):
        for span in spans:
            for start, end in _minutes(span):
                for minute in range(start, end):
                    week[minute % WEEK_MIN] = value
    return bytes(week)


def _minutes(span: str) -> Iterator[tuple[int, int]]:
    match = _SPAN.fullmatch(span.strip().lower()) if len(span) <= SPAN_CHARS_MAX else None
    if match is None:
        raise InvalidInput(f"{span[:SPAN_CHARS_MAX]!r} are no hours", hint=_EXAMPLE)
    start, end = _minute(match["start"], span), _minute(match["end"], span)
    if start in (end, DAY_MIN):
        raise InvalidInput(f"{span!r} is empty", hint="00:00-24:00 is a whole day")
    for day in _days(match["days"] or "mon-sun", span):
        yield day * DAY_MIN + start, day * DAY_MIN + (end if start < end else end + DAY_MIN)


def _minute(text: str, span: str) -> int:
    minute = int(text[:2]) * 60 + int(text[3:])
    if int(text[3:]) > 59 or minute > DAY_MIN:
        raise InvalidInput(f"{span!r}: {text} is no time of day", hint=_EXAMPLE)
    return minute


def _days(text: str, span: str) -> Iterator[int]:
    for part in text.split(","):
        names = part.split("-")
        if not set(names) <= set(DAYS):
            raise InvalidInput(f"{span!r}: {part} is no day", hint=f"one of {', '.join(DAYS)}")
        first, last = DAYS.index(names[0]), DAYS.index(names[-1])
        yield from (day % 7 for day in range(first, last + 1 if first <= last else last + 8))


def _instants(window: Window, zone: tzinfo, at: datetime) -> Sequence[datetime]:
    """Return, in order, every instant in the `LOOKED_DAYS` after `at` at which the window can open or close."""
    week = week_of(window.hours, window.quiet)
    found: set[datetime] = set()
    day = at.astimezone(zone).date() - timedelta(days=1)
    edges: dict[int, list[int]] = {}
    for minute in range(WEEK_MIN):
        if week[minute] != week[minute - 1]:
            edges.setdefault(minute // DAY_MIN, []).append(minute % DAY_MIN)
    for _ in range(LOOKED_DAYS + 2):
        for minute in edges.get(day.weekday(), ()):
            local = datetime.combine(day, time(minute // 60, minute % 60), tzinfo=zone)
            found.update(local.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
        day += timedelta(days=1)
    found.update(_clock_changes(zone, at))
    until = at + timedelta(days=LOOKED_DAYS)  # all are known until then; behind it some are
    return sorted(instant for instant in found if at < instant <= until)


def _clock_changes(zone: tzinfo, at: datetime) -> Iterator[datetime]:
    """Yield when the clock of the zone is set, in the days ahead, to the second."""
    start = at.astimezone(UTC).replace(microsecond=0) - timedelta(days=1)
    for day in range(LOOKED_DAYS + 1):
        low, high = start + timedelta(days=day), start + timedelta(days=day + 1)
        before = low.astimezone(zone).utcoffset()
        if before == high.astimezone(zone).utcoffset():
            continue
        while high - low > timedelta(seconds=1):
            middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
            if middle.astimezone(zone).utcoffset() == before:
                low = middle
            else:
                high = middle
        yield high


@lru_cache(maxsize=1)
def _zone_names() -> frozenset[str]:
    from zoneinfo import available_timezones  # noqa: PLC0415

    return frozenset(available_timezones())


def length_words(seconds: int) -> str:
    """Return a length of time in words, in at most two units, rounded up: ``7 d``, ``1 h 30 min``, ``10 min``, ``5 s``."""
    if seconds < 3_600:
        units = (seconds // 60, "min"), (seconds % 60, "s")
    elif seconds < 48 * 3_600:
        minutes = -(-seconds // 60)
        units = (minutes // 60, "h"), (minutes % 60, "min")
    else:
        hours = -(-seconds // 3_600)
        units = (hours // 24, "d"), (hours % 24, "h")
    return " ".join(f"{count} {unit}" for count, unit in units if count) or "0 s"
