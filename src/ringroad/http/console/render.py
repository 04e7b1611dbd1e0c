"""Templates: one environment, and the filters that turn values into words. Pure but for reading templates."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import ChainableUndefined, Environment, FileSystemLoader

from ringroad.http.auth import Account, Role
from ringroad.http.views import CampaignView, FactView
from ringroad.ship.reason_words import reason_words

if TYPE_CHECKING:
    from litestar import Response

TEMPLATES = Path(__file__).parents[1] / "templates"
ID_CHARS_SHOWN = 8  # random characters of an id in dense tables; the whole id is copyable
JSON_CHARS_SHOWN = 100_000  # characters of one document on a page

NAV = (
    ("", (("/", "Loop", ""),)),
    ("Signal and design", (("/findings", "Findings", "signal"), ("/demand", "Demand", "signal"))),
    (
        "Build",
        (
            ("/releases", "Releases", "build"),
            ("/plant", "Plant line", "build"),
            ("/logistics", "Logistics", "build"),
            ("/clones", "Clones", "build"),
            ("/quality", "Quality", "build"),
        ),
    ),
    ("Ship", (("/campaigns", "Campaigns", "ship"), ("/fleet", "Fleet", "ship"))),
    ("Ledger", (("/facts", "Facts", "adapt"),)),
)
FLEET_NAV = (("Ship", (("/fleet", "Fleet", "ship"), ("/campaigns", "Campaigns", "ship"))),)
ADMIN_NAV = ("Admin", (("/accounts", "Accounts", ""), ("/webhooks", "Webhooks", "")))

TONES: Mapping[str, str] = {
    **dict.fromkeys(
        ("signed", "installed", "downloaded", "finished", "advance", "grow", "finish", "better", "recovered", "approved", "done", "born", "current",
         "accepted", "ready", "delivered", "given", "released", "agrees", "answered", "completed", "Online", "proved"), "ok"),
    **dict.fromkeys(("running", "active", "offered", "building", "planned", "checked", "info", "proposed", "open", "trial", "queued", "searching", "proving"), "run"),
    **dict.fromkeys(("paused", "pause", "hold", "warning", "unknown", "cancelling", "expired", "rush", "held", "pending", "kept", "asked", "late", "claimed", "Updating"), "warn"),
    **dict.fromkeys(
        ("halted", "halt", "failed", "rolled_back", "aborted", "blocked", "blocking", "worse", "not_recovered", "withdrawn",
         "locked", "error", "disabled", "dead", "gone", "failing", "refused", "stopped", "slower",
         "faster", "wider", "declined", "lost", "overdue", "Offline"), "bad"),
}  # fmt: skip


def tone(word: str) -> str:
    """Return the colour family of a state; unknown words are quiet."""
    return TONES.get(word, "idle")


def words(text: object) -> str:
    """Return an identifier as words: ``"campaign.wave_started"`` becomes ``"campaign wave started"``."""
    return str(text).replace("_", " ").replace(".", " ")


def brief(identifier: str) -> str:
    """Shorten one of our ids to its kind and its last, random characters."""
    kind, _, rest = identifier.partition("_")
    return f"{kind} …{rest[-ID_CHARS_SHOWN:]}" if len(rest) == 26 else identifier


def who(actor: str) -> str:
    """Return an actor for a line in a list; a vehicle is named by the line's subject already."""
    return "the vehicle" if actor.startswith("vehicle:") else actor


def short(at: datetime) -> str:
    """Return a time for a table; the whole one, with seconds, is its title."""
    return at.astimezone(UTC).strftime("%d %b %H:%M:%S UTC")


def utc(at: datetime) -> str:
    """Return a time in full."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f UTC")


def span(length: timedelta) -> str:
    """Return a length of time in at most two units."""
    seconds = length.total_seconds()
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def pretty(value: Any) -> str:
    """Return JSON for a person, cut at a length that a page can bear."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return (
        text
        if len(text) <= JSON_CHARS_SHOWN
        else text[:JSON_CHARS_SHOWN] + "\n… cut here; the API has it all"
    )


def release_name(name: str, version: str) -> str:
    """Return a release's name with its version, once."""
    return name if version in name.split() else f"{name} {version}"


def gist(fact: FactView) -> str:
    """Return one line on a fact: its subject and the plain values of its body."""
    plain = [
        brief(str(value))
        if key.endswith("_id") and str(value) != brief(str(value))
        else f"{words(key)} {value}"
        for key, value in fact.body.items()
        if isinstance(value, str | int) and not isinstance(value, bool) and 0 < len(str(value)) <= 60
    ]
    return ", ".join((brief(fact.subject), *plain[:3]))


def runs(facts: Iterable[FactView]) -> list[dict[str, Any]]:
    """Put facts of one kind that follow one another into runs, so that a wave of vehicles is one line.

    Returns:
        for each run its facts in their order, and the first of them.
    """
    return [
        {"facts": together, "first": together[0]}
        for together in (list(group) for _, group in itertools.groupby(facts, key=lambda fact: fact.kind))
    ]


def segments(parts: Iterable[tuple[str, float, str]]) -> list[dict[str, Any]]:
    """Lay out bar segments over 1000 units: (classes, size, title) in order."""
    items = [part for part in parts if part[1] > 0]
    total = sum(size for _, size, _ in items)
    made, x = [], 0.0
    for classes, size, title in items:
        width = 1000 * size / total
        made.append({"x": round(x, 2), "width": round(width, 2), "classes": classes, "title": title})
        x += width
    return made


def shares(campaign: CampaignView) -> list[dict[str, Any]]:
    """Return the progress bar of a campaign."""
    ended = campaign.installed + campaign.downloaded + campaign.failed + campaign.cancelled
    rest = campaign.vehicles - ended - campaign.claimed
    back = campaign.gone_back
    return segments(
        (
            ("f-ship", campaign.installed - back, f"{campaign.installed - back} installed"),
            ("f-back", back, f"{back} returned"),
            ("f-ok", campaign.downloaded, f"{campaign.downloaded} downloaded"),
            (
                "f-run",
                campaign.claimed,
                f"{campaign.claimed} claimed, waiting for the device to say that it runs it",
            ),
            ("f-bad", campaign.failed - campaign.silent, f"{campaign.failed - campaign.silent} failed"),
            ("f-warn", campaign.silent, f"{campaign.silent} silent past deadline"),
            ("f-idle", rest, f"{rest} to come"),
            ("f-idle", campaign.cancelled, f"{campaign.cancelled} cancelled"),
        )
    )


def chart(
    categories: list[str],
    series: list[dict[str, Any]],
    *,
    kind: str = "bar",
    unit: str = "",
    stack: bool = False,
    horizontal: bool = False,
    integer: bool = False,
) -> str:
    """Return a chart's data for the page; colours and drawing are the browser's affair."""
    spec = {
        "kind": kind, "categories": categories, "series": series, "unit": unit, "stack": stack,
        "horizontal": horizontal, "integer": integer,
    }  # fmt: skip
    return json.dumps(spec, ensure_ascii=False)


def _environment() -> Environment:
    env = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for each in (
        tone,
        words,
        reason_words,
        brief,
        who,
        short,
        utc,
        span,
        pretty,
        gist,
        runs,
        shares,
        release_name,
    ):
        env.filters[each.__name__] = each
    return env


ENVIRONMENT = _environment()


def page(
    template: str, *, account: Account | None = None, url: str = "/", status: int = 200, **values: Any
) -> Response[str]:
    """Render one page."""
    from litestar import Response  # noqa: PLC0415 - the command line has the words above without a server

    nav = NAV + ((ADMIN_NAV,) if account and account.may(Role.ADMIN) else ())
    if account and account.fleet is not None:
        nav = FLEET_NAV
    here = "/" + url.partition("?")[0].split("/")[1]
    text = ENVIRONMENT.get_template(template).render(
        account=account,
        may=lambda role: bool(account and account.may(Role(role))),
        nav=nav,
        here={"/laps": "/", "/changes": "/findings"}.get(here, here),
        url=url,
        **values,
    )
    return Response(text, media_type="text/html", status_code=status)
