"""Is what a gate sees of now: does it fit the clock, and was the newest update watched for long enough? Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from ringroad.ship.guard import SequentialPolicy
from ringroad.ship.wave_facts import WaveFacts

CLOCK_SKEW_S_MAX = 300  # seconds; evidence newer than this from now is contradictory
READING_TICKS_MAX = 4  # ticks after which a reading is old; one may be missed while the lake is busy
UNREAD = ("no_reading", "reading_too_old")  # there is none of now
READING_SLACK_S = 60  # seconds on top, for ticks of a second


def stale_s(policy: SequentialPolicy) -> int:
    """Return after how many seconds a reading is old."""
    return READING_TICKS_MAX * policy.tick_s + READING_SLACK_S


def not_fresh(policy: SequentialPolicy | None, read_at: datetime | None, *, now: datetime) -> str:
    """Return why the comparison with the control group cannot be relied on now, or an empty text."""
    if policy is None or not policy.compared:
        return ""
    if read_at is None:
        return "no_reading"
    if is_future(read_at, now):
        return "evidence_from_the_future"
    return "reading_too_old" if timedelta(seconds=stale_s(policy)) < now - read_at else ""


def stays_unread(policy: SequentialPolicy | None, newest: datetime | None, *, now: datetime) -> bool:
    """Tell whether the newest update was to be watched for long enough by now, and readings are missing for good."""
    if policy is None or newest is None:
        return False
    return is_past(newest, policy.window_s + policy.late_s + stale_s(policy), now)


def watching(policy: SequentialPolicy | None, newest: datetime | None, *, read_at: datetime | None) -> str:
    """Return why the newest update was not watched for long enough yet, or an empty text."""
    if policy is None or not policy.compared or newest is None:
        return ""
    watched_s = policy.window_s + policy.late_s
    return "" if read_at is not None and is_past(newest, watched_s, read_at) else "watching"


def contradiction(wave: WaveFacts, released: WaveFacts, *, now: datetime) -> str:
    """Return how the evidence contradicts itself or the clock, or an empty text."""
    fewer = released.vehicles_targeted < wave.vehicles_targeted
    if wave.contradictory or released.contradictory or fewer:
        return "contradictory_evidence"
    if wave.vehicles_targeted == 0:
        return "empty_wave"
    future = any(is_future(at, now) for at in (wave.newest_report_at, wave.evidence_since))
    return "evidence_from_the_future" if future else ""


def is_future(at: datetime | None, now: datetime) -> bool:
    """Tell whether it is later than now, by more than clocks differ."""
    return at is not None and timedelta(seconds=CLOCK_SKEW_S_MAX) < at - now


def is_past(at: datetime, seconds: int, now: datetime) -> bool:
    """Tell whether these seconds are over since then."""
    return timedelta(seconds=seconds) <= now - at
