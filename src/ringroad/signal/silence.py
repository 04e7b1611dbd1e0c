"""Is telemetry silent? What a server saw of the stream of telemetry, and what that means. Pure.

Silent is telemetry whose stream does not answer, and telemetry that waits there while nobody takes it: what campaigns
compare and what findings are looked for in is not known meanwhile. That vehicles send nothing is no silence here, for
a fleet may stand.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

UNANSWERED_S: Final = 20.0  # s without an answer; NATS is back in 3 s when it was started again
UNTAKEN_S: Final = 90.0  # s; three times what NATS waits before it gives a message to another worker
AGAIN_S: Final = 90.0  # s after it was said to be over: of two servers that disagree each tells no more often


class Why(StrEnum):
    """What keeps telemetry from being read."""

    UNANSWERED = "unanswered"
    UNTAKEN = "untaken"


_TEXTS: Final = {
    Why.UNANSWERED: "NATS, which keeps it, does not answer",
    Why.UNTAKEN: "it waits in NATS, and no worker takes it",
}
_ALONE: Final = "NATS does not answer this server, and answers others"
_ALONE_HINT: Final = "look at this server's way to NATS: its network and nats_url"
_HINTS: Final = {
    Why.UNANSWERED: "look at NATS and its log; vehicles keep what they could not send",
    Why.UNTAKEN: "look at the worker and its log; nothing is lost while NATS has room",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Telemetry is silent since then, and why.

    Attributes:
        since: when it was heard last, or since when nothing is taken.
        why: what keeps it.
        alone: whether it is so for one server alone, while others hear it.
    """

    since: datetime
    why: Why
    alone: bool = False

    @property
    def text(self) -> str:
        """One line: since when, and why."""
        text = _ALONE if self.alone else _TEXTS[self.why]
        return f"silent since {self.since.astimezone(UTC):%Y-%m-%d %H:%M:%S UTC}: {text}"

    @property
    def hint(self) -> str:
        """What to look at."""
        return _ALONE_HINT if self.alone else _HINTS[self.why]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What the stream answers: messages that wait for a worker, and the newest up to which all were taken."""

    waiting: int
    taken: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What one server saw of the stream so far.

    Attributes:
        answered_s: when it answered last, or when the server began to ask; seconds of a clock that never jumps.
        untaken_s: since when messages wait and none was taken, by that clock; None while they are.
        taken: of its last answer; None before the first.
        answers: whether it answered when it was asked last.
    """

    answered_s: float
    untaken_s: float | None = None
    taken: int | None = None
    answers: bool = True

    def after(self, backlog: Backlog | None, *, now_s: float) -> Watched:
        """Return what is known after one more look; no backlog is no answer."""
        if backlog is None:
            return Watched(answered_s=self.answered_s, taken=self.taken, answers=False)
        moved = self.taken is not None and backlog.taken > self.taken
        lately = now_s - self.answered_s <= UNANSWERED_S  # else others may have seen nothing taken since
        if backlog.waiting == 0 or (moved and lately):
            untaken_s = None
        else:
            untaken_s = now_s if moved or self.untaken_s is None else self.untaken_s
        return Watched(answered_s=now_s, untaken_s=untaken_s, taken=backlog.taken)

    def silent_s(self, *, now_s: float) -> tuple[float, Why] | None:
        """Return for how many seconds telemetry is silent by now, and why; None while it is not."""
        if not self.answers and now_s - self.answered_s > UNANSWERED_S:
            return now_s - self.answered_s, Why.UNANSWERED
        if self.untaken_s is not None and now_s - self.untaken_s > UNTAKEN_S:
            return now_s - self.untaken_s, Why.UNTAKEN
        return None

    def is_over(self, why: Why) -> bool:
        """Whether what this server saw last says that a silence is over, whoever told it."""
        return self.answers and (why is Why.UNANSWERED or self.untaken_s is None)
