"""What the gateways know by heart: one small entry per vehicle, kept fresh from the database.

Not a cache: a poll that is not answered from here is not answered at all.
When the feed from the database breaks the model is dropped, and polls get 503 until it is whole again,
because an old offer must never be handed out (a halted campaign would go on). A network that is cut breaks nothing
that could be seen: so a model that was not heard of for a while counts as broken too.

Invariants:
    An action that was closed here is never offered again, whatever the database still says.
    What has not begun is offered inside its window only; what the window is, is known by heart too.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from sys import intern
from typing import Any, Literal

import msgspec

from ringroad.http.device.steering import Need
from ringroad.kernel.hours import OwnHours, Window, find_zone, offer_time, own_offer_time
from ringroad.protocol.vehicle import Urgency

OWN_TIMES_MAX = 100_000  # schedules whose openings are kept; beyond that they are computed again
REASON_CHARS_MAX = 500  # of why an update was cancelled; a report takes 2,000 in all
NEVER = datetime.max.replace(tzinfo=UTC)
OwnTime = tuple[OwnHours, int, tzinfo, bool]  # hours, seconds of an installation, whose clock, for a recall


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """The one thing a vehicle is asked to do."""

    action_id: int
    kind: Literal["update", "cancel"]
    release_id: str
    variant: str
    packages: str = ""  # by ECU, as JSON; empty: those of the release
    campaign_id: str = ""  # empty: no terms hold for it, as for a cancel or a return
    begun: bool = False  # the vehicle works on it: from then on it is told at any time
    consented: bool = False  # its driver agreed to it
    reason: str = ""  # of a cancel


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """How a DDI device is told of an offer."""

    offer: Offer
    urgency: Urgency = "forced"
    window_open: bool | None = None  # None: it has no maintenance window
    consent_wanted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a campaign's vehicles may be told; one for all of them."""

    window: Window | None = None
    install_s: int = 0  # a vehicle is told only while so much of the window is left
    urgency: Urgency = "forced"
    consent: bool = False  # a DDI device is asked first; a native one asks its driver by itself
    recall: bool = False  # an emergency: nobody puts it off


class Device:
    """One vehicle as the gateways see it. Mutable and slotted: a million of these must fit."""

    __slots__ = (
        "asked_action_id", "auto_confirm", "begun_action_id", "certificates", "certificates_after",
        "claimed_action_id", "closed_action_id", "config_wanted",
        "consented_action_id", "contact_due_s", "credentials_seq", "ddi", "enrolment_sha256", "honours_skip", "installed_action",
        "minute", "offer", "reports", "schedule",
        "stored_need", "token_sha256", "unsettled_action_id", "zone",
    )  # fmt: skip

    def __init__(
        self, token_sha256: bytes, *, ddi: bool, config_wanted: bool, zone: tzinfo | None = None
    ) -> None:
        self.token_sha256 = token_sha256
        self.credentials_seq = 0  # the change that they are of; a snapshot from before it does not count
        self.certificates: tuple[bytes, ...] = ()  # sha256 of those of our authority that are good
        self.certificates_after: datetime | None = None  # those of other authorities must be newer
        self.enrolment_sha256: bytes | None = None  # of the one-time token that it may use
        self.zone = zone  # None: not known, the campaign's counts
        self.ddi = ddi
        self.config_wanted = config_wanted
        self.schedule: OwnHours | None = None  # hours that its fleet's operator set
        self.auto_confirm = False  # agrees to every update
        self.honours_skip = False  # can be told to download and not to install
        self.installed_action = 0  # the last one that it finished well; DDI only
        self.offer: Offer | None = None
        self.stored_need = Need.IDLE  # by the database; an offer that was closed here is still one there
        self.closed_action_id = 0  # the last one that ended; numbers are names, no order
        self.claimed_action_id = 0  # said to be done; the device has yet to say that it runs it
        self.unsettled_action_id = 0  # said to be done, to this gateway; what that is worth is not known yet
        self.asked_action_id = 0  # the same, where its attributes can say it
        self.begun_action_id = self.consented_action_id = 0
        self.contact_due_s = 0  # on the monotonic clock: from then on that it was heard of is written again
        self.minute = 0  # the one in which it reported last
        self.reports = 0  # since that minute began

    @property
    def is_asked(self) -> bool:
        """Whether its attributes are asked for: they are not known, or it may run something new."""
        return self.config_wanted or self.asked_action_id > 0

    @property
    def need(self) -> Need:
        """What it waits for."""
        if self.offer is not None:
            return Need.OFFERED
        return Need.CHOSEN if self.stored_need is Need.CHOSEN else Need.IDLE

    def knows(self, token: bytes) -> bool:
        """Tell in constant time whether `token` is this device's."""
        return hmac.compare_digest(hashlib.sha256(token).digest(), self.token_sha256)

    def spend(self, *, minute: int, reports_max: int) -> bool:
        """Count one more report of this minute; tell whether it may be taken."""
        if self.minute != minute:
            self.minute, self.reports = minute, 0
        if self.reports >= reports_max:
            return False
        self.reports += 1
        return True

    def begin(self, action_id: int) -> None:
        """Go on telling it this, window or not: it reported work on it and that report is durable."""
        offer = self.offer
        if offer is not None and offer.action_id == action_id:
            self.begun_action_id = action_id  # beside the offer: another thread may be giving it a newer one

    def consent(self, action_id: int) -> None:
        """Note that its driver agreed to an action; that word is durable."""
        offer = self.offer
        if offer is not None and offer.action_id == action_id:
            self.consented_action_id = action_id

    def close(self, action_id: int) -> None:
        """Never offer this action again; it was reported as ended and that report is durable.

        The last one is enough to remember: another one is told only once the database had this one ended, and what is
        read of the database never grows older. Numbers are no order: what gave way to a later campaign goes on under
        the number that it had.
        """
        offer = self.offer
        told = offer is not None and offer.action_id == action_id
        if told or self.closed_action_id < action_id:  # not: an old one ended late
            self.closed_action_id = action_id
        offer = self.offer  # again: another thread may have given it in this moment
        if offer is not None and offer.action_id == action_id:
            self.offer = None

    def has_begun(self, offer: Offer) -> bool:
        """Say whether it works on an offer, as far as the database or this gateway knows."""
        return offer.begun or self.begun_action_id == offer.action_id

    def has_consented(self, offer: Offer) -> bool:
        """Say whether its driver agreed to an offer, now or to all."""
        return self.auto_confirm or offer.consented or self.consented_action_id == offer.action_id


class ReadModel:
    """All devices by VIN, and how far along the change feed they are."""

    def __init__(self) -> None:
        self.devices: dict[str, Device] = {}
        self.vehicles = [0] * len(Need)  # how many there are of each need, by the database
        self.vehicles_known = 0  # at the last time that everything was known
        self.fresh = False
        self.heard_s = 0.0  # on the monotonic clock: nothing that was told before is missing here
        self.seq = 0  # the highest change number seen
        self.gateway_tokens: tuple[bytes, ...] = ()  # sha256 of the tenant's own
        self.terms: dict[str, Terms] = {}  # by campaign that runs
        self._own_times: dict[OwnTime, tuple[bool, datetime]] = {}  # the same of schedules
        self._openings: dict[tuple[str, tzinfo], tuple[bool, datetime]] = {}  # may it be told, and until when

    def offer_now(self, device: Device, now: Callable[[], datetime]) -> tuple[Offer | None, Need]:
        """Return what a device may be told now, and what it waits for: outside of its window nothing.

        Args:
            device: that asks.
            now: the server's clock, looked at only where a window counts.
        """
        offer = device.offer
        if offer is None or device.has_begun(offer) or not offer.campaign_id:
            return offer, device.need
        terms = self.terms.get(offer.campaign_id)
        if terms is None:  # not of a campaign that runs
            return None, Need.IDLE
        if device.schedule is not None and not self._is_own_time(device, device.schedule, terms, now()):
            return None, Need.WAITING
        if terms.window is None or self._is_open(offer.campaign_id, terms, terms.window, device.zone, now()):
            return offer, device.need
        return None, Need.WAITING

    def opens_in_s(self, device: Device, now: Callable[[], datetime]) -> int | None:
        """Return in how many seconds a device's windows open, as far as can be seen; None: they are, or never."""
        offer = device.offer
        terms = self.terms.get(offer.campaign_id) if offer is not None else None
        if offer is None or terms is None:
            return None
        at, closed_until = now(), list[datetime]()
        window, own = terms.window, device.schedule
        if window is not None and not self._is_open(offer.campaign_id, terms, window, device.zone, at):
            closed_until.append(self._openings[offer.campaign_id, window.zone(device.zone)][1])
        if own is not None and not self._is_own_time(device, own, terms, at):
            closed_until.append(self._own_times[own, terms.install_s, own.zone(device.zone), terms.recall][1])
        opens = max(closed_until, default=NEVER)
        return None if opens == NEVER else int((opens - at).total_seconds())

    def telling(self, device: Device, now: Callable[[], datetime]) -> Telling | None:
        """Return how a DDI device is told of its offer; what it is shown of that is its gateway's to decide."""
        offer = device.offer
        if offer is None:
            return None
        if not offer.campaign_id:
            return Telling(offer=offer)
        terms = self.terms.get(offer.campaign_id)
        if terms is None:  # not of a campaign that runs
            return Telling(offer=offer) if device.has_begun(offer) else None
        window_open = None
        if terms.window is not None:
            window_open = device.has_begun(offer) or self._is_open(
                offer.campaign_id, terms, terms.window, device.zone, now()
            )
        if device.schedule is not None and window_open is not False:
            window_open = device.has_begun(offer) or self._is_own_time(device, device.schedule, terms, now())
        asked = self.asks(device)
        return Telling(offer=offer, urgency=terms.urgency, window_open=window_open, consent_wanted=asked)

    def asks(self, device: Device) -> bool:
        """Say whether a DDI device is asked for consent to its offer before it is told of it."""
        offer = device.offer
        terms = self.terms.get(offer.campaign_id) if offer is not None else None
        if offer is None or terms is None or not terms.consent:
            return False
        return not (device.has_begun(offer) or device.has_consented(offer))

    def _is_open(
        self, campaign_id: str, terms: Terms, window: Window, known_zone: tzinfo | None, at: datetime
    ) -> bool:
        zone = window.zone(known_zone)
        key = (campaign_id, zone)
        told, until = self._openings.get(key, (False, at))
        if until <= at:
            told, changes = offer_time(window, zone, at, needed_s=terms.install_s)
            self._openings[key] = (told, changes or NEVER)
        return told

    def _is_own_time(self, device: Device, schedule: OwnHours, terms: Terms, at: datetime) -> bool:
        key = (schedule, terms.install_s, schedule.zone(device.zone), terms.recall)
        told, until = self._own_times.get(key, (False, at))
        if until <= at:
            told, changes = own_offer_time(
                schedule, key[2], at, needed_s=terms.install_s, recall=terms.recall
            )
            if len(self._own_times) >= OWN_TIMES_MAX:
                self._own_times.clear()
            self._own_times[key] = (told, changes or NEVER)
        return told

    def drop(self) -> None:
        """Forget everything: the feed broke, so nothing here can be trusted."""
        self.vehicles_known = len(self.devices) if self.fresh else self.vehicles_known
        self.fresh = False
        self.seq = 0
        self.devices.clear()
        self.vehicles[:] = [0] * len(Need)
        self.gateway_tokens = ()
        self.terms.clear()
        self._openings.clear()
        self._own_times.clear()

    def fold_devices(self, rows: Iterable[dict[str, Any]]) -> None:
        """Take over vehicles that are new or changed."""
        for row in rows:
            device = self.devices.get(row["vin"])
            if device is None:
                device = self.devices[row["vin"]] = Device(
                    bytes(row["token_sha256"]),
                    ddi=row["gateway"] == "ddi",
                    config_wanted=row["config_wanted"],
                    zone=find_zone(row["time_zone"] or ""),
                )
                self.vehicles[Need.IDLE] += 1
            else:
                device.ddi = row["gateway"] == "ddi"
                device.config_wanted = row["config_wanted"]
                device.zone = find_zone(row["time_zone"] or "")
            device.schedule = _own_hours(row["schedule"])
            if device.credentials_seq <= row["changed_seq"]:
                _take_credentials(device, row)
            device.auto_confirm, device.honours_skip = row["auto_confirm"], row["honours_skip"]
            self.seq = max(self.seq, row["changed_seq"])

    def fold_terms(self, rows: Iterable[dict[str, Any]]) -> None:
        """Take over the terms of campaigns that run; a plan that runs never changes."""
        for row in rows:
            self.terms[intern(row["id"])] = Terms(
                window=_window(row["window"]),
                install_s=row["install_s"] or 0,
                urgency=row["urgency"],
                consent=row["consent"],
                recall=row["recall"],
            )

    def fold_assignments(self, rows: Iterable[dict[str, Any]]) -> None:
        """Take over what vehicles are asked to do, in the order it changed."""
        for row in rows:
            self.seq = max(self.seq, row["changed_seq"])
            device = self.devices.get(row["vin"])
            if device is None:
                continue
            offer = decide_offer(row)
            done = row["state"] not in {"pending", "offered", "active", "cancelling"}
            if device.unsettled_action_id == row["action_id"] and (row["claimed"] or done):
                device.unsettled_action_id = 0
            if row["claimed"] and row["state"] in {"offered", "active", "cancelling"}:
                device.claimed_action_id = row["action_id"]
                device.asked_action_id = row["action_id"] if row["asked"] else 0
            elif device.claimed_action_id == row["action_id"]:
                device.claimed_action_id = device.asked_action_id = 0
            if offer is not None and device.closed_action_id != offer.action_id:
                device.offer = offer
                if device.closed_action_id == offer.action_id:  # in this moment: this is another thread
                    device.offer = None
                self._note(device, Need.WAITING if self._waits(device, offer) else Need.OFFERED)
            elif offer is None and _is_about(device.offer, row):
                device.offer = None
                self._note(device, Need.CHOSEN if row["chosen"] else Need.IDLE)
            if row["ended_last"] and device.ddi:
                device.installed_action = row["action_id"]

    def fold_installed(self, rows: Iterable[dict[str, Any]]) -> None:
        """Take over what each vehicle finished last."""
        for row in rows:
            device = self.devices.get(row["vin"])
            if device is not None:
                device.installed_action = row["action_id"]

    def fold_closings(self, closed: Iterable[tuple[int, str]]) -> None:
        """Take over which actions vehicles ended at another gateway; the database may not know it yet."""
        for action_id, vin in closed:
            device = self.devices.get(vin)
            if device is not None and device.offer is not None and device.offer.action_id == action_id:
                device.close(action_id)

    def _waits(self, device: Device, offer: Offer) -> bool:
        """Tell whether a window may be in the way; whoever is told inside of it soon begins."""
        terms = self.terms.get(offer.campaign_id)
        own = device.schedule is not None
        return not offer.begun and terms is not None and (own or terms.window is not None)

    def _note(self, device: Device, need: Need) -> None:
        self.vehicles[device.stored_need] -= 1
        self.vehicles[need] += 1
        device.stored_need = need


def _is_about(offer: Offer | None, row: dict[str, Any]) -> bool:
    """Tell whether an assignment is the one that was offered; after a failure it goes on under another number."""
    if offer is None or offer.action_id == row["action_id"]:
        return True
    same = row["kind"] != "rollback" and offer.campaign_id == row["campaign_id"]
    same = same and offer.release_id == row["release_id"]  # else it is another step of the same way
    return same and bool(offer.action_id < row["action_id"])


def _window(document: Mapping[str, Any] | None) -> Window | None:
    if document is None:
        return None
    return Window(
        hours=tuple(document["hours"]), quiet=tuple(document["quiet"]), time_zone=document["time_zone"]
    )


def _own_hours(document: Mapping[str, Any] | None) -> OwnHours | None:
    return None if document is None else msgspec.convert(document, OwnHours)


def _take_credentials(device: Device, row: dict[str, Any]) -> None:
    device.credentials_seq = row["changed_seq"]
    device.token_sha256 = bytes(row["token_sha256"])
    device.certificates = tuple(bytes(each) for each in row["certificates"])
    device.certificates_after = row["certificates_after"]
    waiting = row["enrolment_sha256"]
    device.enrolment_sha256 = None if waiting is None else bytes(waiting)


def decide_offer(row: dict[str, Any]) -> Offer | None:
    """Decide what an assignment means for its vehicle; everything that is not open, or said to be done, is no offer."""
    if row["claimed"]:
        return None
    match row["state"]:
        case "offered" | "active":
            kind: Literal["update", "cancel"] = "update"
        case "cancelling":
            kind = "cancel"
        case _:
            return None
    return Offer(
        action_id=row["action_id"],
        kind=kind,
        release_id=row["release_id"],
        variant=row["variant"],
        packages=row["packages"] or "",
        campaign_id=intern(row["campaign_id"]) if kind == "update" and row["kind"] != "rollback" else "",
        begun=row["state"] == "active",
        consented=row["consented"],
        reason=intern(row["reason"][:REASON_CHARS_MAX])
        if kind == "cancel"
        else "",  # one for all of a campaign
    )
