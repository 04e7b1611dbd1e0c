"""What is known of the vehicles of a wave: counts, and when the newest came in. Values alone."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime

PLAIN_HARM_MIN = 3  # vehicles; of fewer a good update may be unlucky
PLAIN_HARM_PERMILLE = 250  # of outcomes; no campaign goes on with a quarter harmed, whatever is compared


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveFacts:
    """What is known of one wave, or of all waves released so far. Counts are vehicles.

    Attributes:
        vehicles_targeted: of the wave.
        vehicles_installed: confirmed, by manifest or by closed/success over DDI.
        vehicles_downloaded: stored and verified it, as a plan asked that only downloads; nothing was installed.
        vehicles_failed: tried, nothing installed.
        vehicles_rolled_back: installed and undone.
        vehicles_lost: began to install, then silent past the deadline.
        vehicles_silent: did not begin within the deadline.
        vehicles_cancelled: let go, as they have the release already, may not have it or declined; nothing was installed.
        newest_report_at: when the newest report or manifest of the wave was received.
        evidence_since: when the last of the first `reports_min` outcomes came in; None before.
        newest_outcome_at: when the newest outcome came in; None before.
        paused_s: seconds since the newest report in which the campaign was paused, in pauses that are over, or its next
            wave waited for its date.
    """

    vehicles_targeted: int
    vehicles_installed: int = 0
    vehicles_downloaded: int = 0
    vehicles_failed: int = 0
    vehicles_rolled_back: int = 0
    vehicles_lost: int = 0
    vehicles_silent: int = 0
    vehicles_cancelled: int = 0
    newest_report_at: datetime | None = None
    evidence_since: datetime | None = None
    newest_outcome_at: datetime | None = None
    paused_s: int = 0

    @property
    def harmed(self) -> int:
        """Vehicles for which the update did not do what it should."""
        return self.vehicles_failed + self.vehicles_rolled_back + self.vehicles_lost

    @property
    def reported(self) -> int:
        """Vehicles whose outcome says something: about the software, or about its download where that is all."""
        return self.vehicles_installed + self.vehicles_downloaded + self.harmed

    @property
    def open(self) -> int:
        """Vehicles whose outcome is still to come."""
        return self.vehicles_targeted - self.reported - self.vehicles_silent - self.vehicles_cancelled

    @property
    def needed(self) -> int:
        """Vehicles that were not let go: of these evidence is due. A silent, failed or lost one is among them."""
        return self.vehicles_targeted - self.vehicles_cancelled

    @property
    def contradictory(self) -> bool:
        """Whether the counts cannot all be true."""
        counts = [getattr(self, item.name) for item in fields(self) if item.name.startswith("vehicles_")]
        return min(counts) < 0 or self.open < 0

    @property
    def plain_harm(self) -> bool:
        """Whether so much went wrong that no comparison is waited for: with few vehicles it would take waves to tell."""
        return (
            self.harmed >= PLAIN_HARM_MIN
            and not self.contradictory
            and PLAIN_HARM_PERMILLE * self.reported <= self.harmed * 1000
        )

    def fails_more(self, permille: int, *, of: int) -> bool:
        """Tell whether more failed than so many of 1000 outcomes, of all that were targeted while there are fewer than `of`."""
        base = self.reported if of <= self.reported else max(self.vehicles_targeted, self.reported)
        return permille * base < self.harmed * 1000
