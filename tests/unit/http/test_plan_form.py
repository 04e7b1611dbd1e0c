"""What the form that plans again has in its fields."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

import ringroad.http
from ringroad.http.console.plan_form import ADVANCED, plan_fields
from ringroad.http.console.render import ENVIRONMENT
from ringroad.kernel.hours import Window
from ringroad.ship.gate import GatePolicy
from ringroad.ship.guard import Metric, MetricName, SequentialPolicy
from ringroad.ship.plan import PlanRequest, WaveSize
from ringroad.ship.ramp import HarmBudget
from ringroad.ship.retry import REASONS, RetryPolicy


def test_a_first_plan_begins_with_the_defaults() -> None:
    fields = plan_fields(None)
    assert fields
    assert (fields["waves"], fields["failed"], fields["deadline"]) == ("2%, 20%", "2", "168")
    assert (fields["control"], fields["harm"], fields["attempts"], fields["hours"]) == ("", "", "", "")
    assert fields["metrics"] == "install_failed=3 rolled_back=3 fault=1.25 silence=1.25"
    assert fields["alpha"] == "1"


def test_what_was_asked_for_stands_in_the_form_again() -> None:
    metrics = (Metric(name=MetricName.BOOT_TIME, margin_milli=1_100, path="Vehicle.BootTime"),)
    request = PlanRequest(
        query="variant = city",
        waves=(WaveSize(vehicles=10), WaveSize(permille=5)),
        gate=GatePolicy(soak_s=5_400, sequential=SequentialPolicy(alpha_ppm=500, metrics=metrics)),
        control=WaveSize(vehicles=20_000),
        window=Window(hours=("22:00-05:00", "sat 20:00-24:00"), quiet=(), time_zone="Europe/Oslo"),
        retry=RetryPolicy(attempts_max=4),
        priority=3,
        consent=True,
    )
    fields = plan_fields({"request": msgspec.to_builtins(request)})
    assert fields
    told = {
        "waves": "10, 0.5%", "soak": "1.5", "alpha": "0.05", "metrics": "boot_time=1.1@Vehicle.BootTime",
        "control": "20000", "harm": "", "hours": "22:00-05:00, sat 20:00-24:00", "quiet": "",
        "time_zone": "Europe/Oslo", "attempts": "4", "priority": "3", "consent": "true", "recall": "false",
    }  # fmt: skip
    assert {name: fields[name] for name in told} == told


def test_a_budget_of_harm_stands_in_the_form_again() -> None:
    request = PlanRequest(
        query="all",
        waves=(),
        gate=GatePolicy(sequential=SequentialPolicy()),
        control=WaveSize(permille=20),
        ramp=HarmBudget(harmed_first=5, harmed_last=50),
    )
    fields = plan_fields({"request": msgspec.to_builtins(request)})
    assert fields
    assert (fields["harm"], fields["control"]) == ("5-50", "2%")


@pytest.mark.parametrize("document", [{}, {"query": "all"}, {"request": {"query": 3}}])
def test_there_is_no_form_for_a_plan_that_cannot_be_read(document: dict[str, Any]) -> None:
    assert plan_fields(document) is None
    html = shown(document)
    assert 'action="/api/v1/campaigns/c/plan"' not in html
    assert "The plan before cannot be read" in html


COMPARED = SequentialPolicy(
    alpha_ppm=500, window_s=7_200, tick_s=60, late_s=61, gap_s=62, quiet_s=63,
    metrics=(
        Metric(name=MetricName.FAULT, margin_milli=1_250, weight=3),
        Metric(name=MetricName.BOOT_LOOP, margin_milli=1_500, path="Vehicle.Starts", at_least_milli=2_500),
    ),
)  # fmt: skip
NIGHT = Window(hours=("22:00-05:00",), quiet=("sun 00:00-24:00",), time_zone="Europe/Oslo")
RARE = PlanRequest(
    query="variant = city", waves=(WaveSize(vehicles=10),), seed="a seed", stratify_by=("gateway",),
    gate=GatePolicy(sequential=COMPARED), rollback_installed=True, consent=True, consent_phases=("activate",),
    retry=RetryPolicy(attempts_max=4, first_s=7, last_s=8, reasons=("network",)),
    ramp=HarmBudget(harmed_first=1, harmed_last=2, reaction_s=3, counts="whole_campaign"), window=NIGHT, priority=3,
)  # fmt: skip


@pytest.mark.parametrize(
    "request_before",
    [
        PlanRequest(query="all"),
        RARE,
        replace(RARE, control=WaveSize(permille=25), ramp=None, retry=None, consent=False, window=None),
        PlanRequest(query="all", waves=(), control=WaveSize(vehicles=7)),
        PlanRequest(query="all", urgency="download_only", late_joiners="included", recall=True),
    ],
)
def test_what_the_form_sends_is_what_was_asked_before(request_before: PlanRequest) -> None:
    html = shown({"request": msgspec.to_builtins(request_before)})
    assert msgspec.convert(sent(html), PlanRequest) == request_before


def test_each_field_of_the_fold_has_its_unit_a_sentence_and_its_default() -> None:
    html = shown({"request": msgspec.to_builtins(RARE)})
    fold = html[html.index('id="plan-advanced"') : html.index("</details>")]
    for name, label, default in (
        ("gate.sequential.tick_s", "Compared every, minutes", "15"), ("gate.sequential.late_s", "Read after, minutes", "60"),
        ("gate.sequential.quiet_s", "Silent after, hours", "12"), ("ramp.reaction_s", "A halt takes effect within, minutes", "135"),
        ("retry.first_s", "Second attempt within, minutes", "10"), ("retry.last_s", "Any attempt within, hours", "24"),
        ("consent_phases", "The driver is asked before", "download, install"),
    ):  # fmt: skip
        field = fold[fold.index(f'="{name}"') :]
        assert label in fold
        assert f"Default: {default}.</small>" in field
    assert all(each.says.endswith(".") and each.label in fold for each in ADVANCED)
    assert 'name="seed" data-type="text" data-optional value="a seed"' in fold  # left empty it is not sent
    assert (plan_fields(None) or {})["seed"] == ""
    (reasons,) = (each.choices for each in ADVANCED if each.key == "reasons")
    assert reasons is not None
    assert tuple(reasons) == REASONS


def shown(document: dict[str, Any]) -> str:
    """The part of a campaign's page that plans again."""
    source, _, _ = ENVIRONMENT.loader.get_source(ENVIRONMENT, "campaign.html")  # type: ignore[union-attr]
    part = (
        source[source.index("{% block still %}") :]
        .replace("{% block still %}", "")
        .replace("{% endblock %}", "")
    )
    template = ENVIRONMENT.from_string('{% import "parts.html" as p with context %}' + part)
    campaign = SimpleNamespace(id="c", state="planned")
    return template.render(
        c=campaign, form=plan_fields(document), first=plan_fields(None), advanced=ADVANCED, programme_id="p", may=lambda _: True
    )  # fmt: skip


def sent(html: str) -> dict[str, Any]:
    """What `read` of app.js makes of the form."""
    texts, marks, lists = texts_of(html)
    body: dict[str, Any] = {}
    for name, text in (*texts.items(), *lists.items()):
        mark = marks[name]
        if text == "" and "data-optional" in mark:
            continue
        if "data-with" in mark and not any(texts.get(each) for each in (mark["data-with"] or "").split()):
            continue
        assert mark.get("type") != "hidden", f"{name} is sent on without being shown"
        *path, last = name.split(".")
        at = body
        for step in path:
            at = at.setdefault(step, {})
        at[last] = READ.get(mark.get("data-type") or "", str)(text) if isinstance(text, str) else text
    return body


def texts_of(html: str) -> tuple[dict[str, str], dict[str, dict[str, str | None]], dict[str, list[str]]]:
    """Return what stands in each field, its attributes, and what is checked in each list, in the order of the page."""
    texts: dict[str, str] = {}
    marks: dict[str, dict[str, str | None]] = {}
    lists: dict[str, list[str]] = {}

    class Fields(HTMLParser):
        select = ""

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            mark = dict(attrs)
            if mark.get("data-list"):
                name = self.select = str(mark["data-list"])
                marks[name], lists[name] = mark, []
            elif mark.get("type") == "checkbox" and "checked" in mark:
                lists[self.select].append(str(mark["value"]))
            elif tag == "option" and "selected" in mark:
                texts[self.select] = mark["value"] or ""
            elif tag in ("input", "select") and mark.get("name"):
                name = self.select = str(mark["name"])
                marks[name] = mark
                texts[name] = mark.get("value") or ""

    Fields().feed(html)
    return texts, marks, lists


def size(text: str) -> dict[str, int]:
    if text.endswith("%"):
        return {"permille": round(float(text[:-1]) * 10)}
    return {"vehicles": int(text)}


def metric(word: str) -> dict[str, Any]:
    """As the pattern in app.js has it."""
    found = re.fullmatch(METRIC, word)
    assert found
    name, margin, weight, path, least = found.groups()
    given = {
        "weight": int(weight or 1), "path": path or "", "at_least_milli": round(float(least or 1) * 1_000)
    }  # fmt: skip
    return {"name": name, "margin_milli": round(float(margin) * 1_000), **given}


def parts(text: str, by: str) -> list[str]:
    return [part.strip() for part in text.split(by) if part.strip()]


def harm(text: str) -> dict[str, int]:
    first, _, last = text.partition("-")
    return {"harmed_first": int(first), "harmed_last": int(last)}


SCRIPT = (Path(ringroad.http.__file__).parent / "static" / "app.js").read_text()
METRIC = next(iter(re.findall(r"const form = /\^(.+)\$/;", SCRIPT)))
READ: dict[str, Callable[[str], Any]] = {
    "int": int, "json": json.loads, "size": size, "harm": harm, "spans": lambda text: parts(text, ","),
    "sizes": lambda text: [size(each) for each in parts(text, ",")],
    "metrics": lambda text: [metric(each) for each in parts(text, " ")],
    "minutes": lambda text: round(float(text) * 60),
    "hours": lambda text: round(float(text) * 3_600),
    "permille": lambda text: round(float(text) * 10),
    "ppm": lambda text: round(float(text) * 10_000),
}  # fmt: skip
