"""A campaign's control group on the command line: what to ask for, and how its evidence reads. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import click
import msgspec

from ringroad.cli.names import read_duration_s, read_size
from ringroad.cli.tables import table, when
from ringroad.http.console.conduct import harmed_words
from ringroad.http.console.guard import AGAINST, control_line, harm_line
from ringroad.http.views import ComparedView
from ringroad.kernel.errors import InvalidInput
from ringroad.ship.reason_words import reason_words

Row = Mapping[str, Any]
F = TypeVar("F", bound=Callable[..., Any])

LOG_E_SHOWN_MAX: Final = 20.0  # nats; larger e-values are told as "more than"
_METRIC = re.compile(r"(?P<name>[a-z_]+)(?:=(?P<margin>[0-9]+(?:\.[0-9]{1,3})?))?(?:@(?P<path>[\w.]+))?")
_HARM = re.compile(r"([0-9]{1,7})-([0-9]{1,7})")
_ALPHA = re.compile(r"([0-9]{1,2})(?:\.([0-9]{1,4}))?\s*%")

_OPTIONS = (
    click.option(
        "--control",
        help="Hold back so many, 20000 or 2%, and halt when the others fare worse than they do.",
    ),
    click.option(
        "--metric",
        multiple=True,
        help="What must not get worse, with its margin: fault=1.25; default: install_failed, rolled_back, fault, "
        "silence. boot_loop, boot_time and energy name a VSS path: boot_time=1.1@Vehicle.BootTime",
    ),
    click.option("--alpha", help="Chance that a good update is halted.  [default: 1%]"),
    click.option("--window", help="How long an updated vehicle is watched.  [default: 1d]"),
    click.option("--tick", help="How often both are compared.  [default: 15m]"),
    click.option("--late", help="How long vehicles have to send.  [default: 1h]"),
    click.option("--gap", help="Between two messages of a vehicle that is still seen.  [default: 1h]"),
    click.option("--quiet", help="Without a message a vehicle is silent after this.  [default: 12h]"),
    click.option(
        "--harm",
        help="Instead of waves, grow so that no more than so many are expected to be harmed: first and last, 35-400.",
    ),
    click.option(
        "--harm-counts",
        type=click.Choice(["in-flight", "whole-campaign"]),
        help="Of whom, for --harm: while they are watched, or of all that began.  [default: in-flight]",
    ),
    click.option(
        "--reaction", help="From a failure until a halt takes effect, for --harm.  [default: 2h 15m]"
    ),
)
_DURATIONS = {"window": "window_s", "tick": "tick_s", "late": "late_s", "gap": "gap_s", "quiet": "quiet_s"}


def guarded(command: F) -> F:
    """Add the options of a control group to a command; they arrive as keywords for `guard_body`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def guard_body(given: Mapping[str, Any], *, waves: bool = False) -> dict[str, Any]:
    """Return what the options ask of a plan: ``control``, ``ramp`` and, for the gate, ``sequential``.

    Args:
        given: the options.
        waves: whether waves are asked for too.

    Raises:
        InvalidInput: an option cannot be read, needs `--control`, or sets the pace beside waves.
    """
    asked = {name for name, value in given.items() if value}
    if not asked:
        return {}
    if "control" not in asked:
        raise InvalidInput(
            f"--{min(asked).replace('_', '-')} needs a control group",
            hint="--control 20000, or --control 20%",
        )
    if waves and "harm" in asked:
        raise InvalidInput(
            "a budget of harm sets the pace: it has no waves", hint="leave --wave out, or --harm"
        )
    for option in ("reaction", "harm_counts"):
        if option in asked and "harm" not in asked:
            raise InvalidInput(
                f"--{option.replace('_', '-')} is part of a budget of harm", hint="--harm 35-400"
            )
    sequential: dict[str, Any] = {
        name: read_duration_s(given[option]) for option, name in _DURATIONS.items() if given[option]
    }
    if given["alpha"]:
        sequential["alpha_ppm"] = _alpha_ppm(given["alpha"])
    if given["metric"]:
        sequential["metrics"] = [read_metric(text) for text in given["metric"]]
    body: dict[str, Any] = {"control": read_size(given["control"]), "sequential": sequential}
    if given["harm"]:
        body["ramp"] = _ramp(given["harm"])
        if given["reaction"]:
            body["ramp"]["reaction_s"] = read_duration_s(given["reaction"])
        if given["harm_counts"]:
            body["ramp"]["counts"] = given["harm_counts"].replace("-", "_")
    return body


def read_metric(text: str) -> dict[str, Any]:
    """Return a metric of the API for ``fault``, ``fault=1.25`` or ``boot_time=1.1@Vehicle.BootTime``.

    Raises:
        InvalidInput: it cannot be read.
    """
    match = _METRIC.fullmatch(text.strip())
    if match is None:
        raise InvalidInput(
            f"{text[:60]!r} is no metric", hint="for example fault=1.25 or energy@Vehicle.Energy"
        )
    metric: dict[str, Any] = {"name": match["name"]}
    if match["margin"]:
        metric["margin_milli"] = round(float(match["margin"]) * 1_000)
    if match["path"]:
        metric["path"] = match["path"]
    return metric


def guard_policy(request: Row) -> list[tuple[str, str]]:
    """Return the lines of a plan about its control group and its budget; none without."""
    sequential, ramp = request.get("gate", {}).get("sequential"), request.get("ramp")
    lines = []
    if sequential:
        metrics = ", ".join(
            f"{each['name'].replace('_', ' ')} x {each['margin_milli'] / 1_000:g}"
            for each in sequential["metrics"]
        )
        lines.append(
            ("compared", f"{metrics}; a good update halts with {sequential['alpha_ppm'] / 10_000:g} %")
        )
    if ramp:
        at_most = f"at most {ramp['harmed_first']}, later {ramp['harmed_last']} vehicles harmed"
        lines.append(("pace", f"{at_most} {harmed_words(ramp)}"))
    return lines


def unread_text() -> str:
    """Return why nothing is compared where the gate has rules only."""
    return (
        "there is no control group, so nothing is compared: the gate counts failed installations alone, and sees neither"
        " new faults nor silence of vehicles that installed\n"
        "ringroad campaign gate shows what it counts; ringroad campaign plan --control holds vehicles back to compare with"
    )


def compared_text(rows: Sequence[Row], campaign: Row) -> str:
    """Return every metric that the gate compares, with what, and what halted the campaign."""
    head = table(
        (
            "metric",
            "compared with",
            "updated",
            "the others",
            "ratio",
            "between",
            "accepted",
            "e-value",
            "halts at",
            "",
        ),
        (
            (
                each["metric"].replace("_", " "),
                AGAINST[each["against"]],
                _count(each["updated"], each["updated_of"]),
                _count(each["other"], each["other_of"]),
                _ratio(each["point_milli"]),
                f"{_ratio(each['low_milli'])} and {_ratio(each['high_milli'])}",
                _ratio(each["margin_milli"]),
                "?" if each["log_e_micronats"] is None else _e_value(each["log_e_micronats"]),
                _e_value(each["limit_micronats"]),
                "halted" if each["halted"] else "refuses" if each["refused"] else "",
            )
            for each in rows
        ),
        empty="nothing is compared",
    )
    compared = [msgspec.convert(each, ComparedView) for each in rows]
    control, harm = control_line(compared), harm_line(compared)
    halted = f"halted: {reason_words(campaign['state_reason'])}" if campaign["state"] == "halted" else ""
    return "\n\n".join(part for part in (head, control, harm, halted) if part)


def readings_text(rows: Sequence[Row]) -> str:
    """Return the strata of the newest reading against the control group, and the ratio of those before."""
    if not rows:
        return "the control group was not read yet; the first tick has to be over, and what vehicles send late to arrive"
    newest = rows[0]
    strata = table(
        ("metric", "stratum", "updated", "control", "ratio", "between", "e-value"),
        (
            (
                metric["metric"].replace("_", " "), each["stratum"].replace("/", ", "), each["treated"], each["control"],
                _ratio(each["point_milli"]), f"{_ratio(each['low_milli'])} and {_ratio(each['high_milli'])}",
                _e_value(each["log_e_micronats"]),
            )
            for metric in newest["readings"]
            for each in metric.get("strata") or ()
        ),
        empty="",
    )  # fmt: skip
    before = table(
        ("read", *(each["metric"].replace("_", " ") for each in newest["readings"])),
        (
            (
                when(row["read_at"]),
                *(
                    f"{_ratio(each['point_milli'])} ({_ratio(each['low_milli'])} to {_ratio(each['high_milli'])})"
                    for each in row["readings"]
                ),
            )
            for row in rows
        ),
        empty="",
    )
    refused = f"refused by {newest['refused'].replace('_', ' ')}" if newest["refused"] else ""
    return "\n\n".join(part for part in (refused, strata, before) if part)


def _count(events: int | None, out_of: int | None) -> str:
    if events is None:
        return "?"
    if out_of == 0:
        return "none yet"
    return f"{events}" if out_of is None else f"{events} of {out_of}"


def _ratio(milli: int | None) -> str:
    return "?" if milli is None else f"{milli / 1_000:.2f}"


def _e_value(micronats: int) -> str:
    nats = micronats / 1_000_000
    return f"> {math.exp(LOG_E_SHOWN_MAX):.0e}" if nats > LOG_E_SHOWN_MAX else f"{math.exp(nats):.3g}"


def _alpha_ppm(text: str) -> int:
    match = _ALPHA.fullmatch(text.strip())
    if match is None:
        raise InvalidInput(f"{text[:40]!r} is no share", hint="for example 1% or 0.5%")
    return int(match[1]) * 10_000 + int((match[2] or "").ljust(4, "0"))


def _ramp(text: str) -> dict[str, int | str]:
    match = _HARM.fullmatch(text.strip())
    if match is None:
        raise InvalidInput(f"{text[:40]!r} is no budget of harm", hint="first and last vehicles, 35-400")
    return {"harmed_first": int(match[1]), "harmed_last": int(match[2])}
