"""How campaigns, plans and gate decisions read on a terminal. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ringroad.adapt.recovery import standing
from ringroad.adapt.verdict import measure_text
from ringroad.cli.campaign_guard import guard_policy
from ringroad.cli.tables import CELL_CHARS_MAX, details, exactly, size, table, tail, when
from ringroad.http.console.conduct import approval_lines, conduct_lines, waves_line
from ringroad.http.console.decided import counted, decision_lines
from ringroad.http.console.guard import gate_lines
from ringroad.kernel import plurals
from ringroad.kernel.hours import length_words
from ringroad.ship.reason_words import (
    UNKNOWN_FOR_GOOD,
    is_budget_spent,
    is_for_good,
    is_harm_elsewhere,
    reason_words,
)

Row = Mapping[str, Any]

BAR_CHARS: Final = 30
VINS_SHOWN: Final = 10
REASONS_SHOWN: Final = 20
# Of a wave's bar: what each mark stands for, by the first of its states; whoever is to come is a dot.
MARKS: Final[Mapping[str, tuple[str, ...]]] = {
    "#": ("installed", "downloaded"),
    "<": ("returned",),
    "x": ("failed", "rolled_back", "lost while installing"),
    "?": ("silent",),
}
_TOLD: Final = [state for of in MARKS.values() for state in of]  # before those that are to come
RECALL: Final = (
    " as an EMERGENCY RECALL\nfrom its start it goes before all other campaigns on its vehicles:"
    " what they only offered gives way to it, what was begun is not taken away"
)


def campaign_head(row: Row, plan: Row | None, recovery: Row | None = None) -> str:
    """Return what a campaign is and where it stands; of a stopped one, what became of its vehicles."""
    document = plan["document"] if plan else {}
    approved = f", approved by {plan['approved_by']}" if plan and plan["approved_by"] else ""
    planned = (
        f"generation {plan['generation']}, made by {plan['made_by']}{approved}"
        + (", not current" if row["plan_id"] != plan["id"] else "")
        if plan
        else "none"
        if row["state"] == "draft"
        else ""
    )
    return details(
        (
            ("campaign", row["id"]),
            ("name", row["name"]),
            ("release", f"{row['release_name']} {row['release_version']}"),
            ("state", row["state"] + (f": {reason_words(row['state_reason'])}" if row["state_reason"] else "")),
            ("harm", f"holds it: {reason_words(row['harm_holds'])}" if row.get("harm_holds") else ""),
            ("telemetry", _silent(row)),
            ("wave", f"{row['wave']} of {len(document.get('wave_vehicles', []))}" if row["wave"] and plan else ""),
            ("vehicles", _outcomes(row) if row["vehicles"] else ""),
            ("returns", _returns(row)),
            ("verdict", recovery_text(recovery) if recovery else ""),
            ("plan", planned),
            *(approval_lines(document, gate_lines(document)) if document.get("request") else ()),
            ("lap", row["lap_id"]),
            ("created", exactly(row["created_at"]) + (f" by {row['created_by']}" if row["created_by"] else "")),
            ("finished", exactly(row["finished_at"]) if row["finished_at"] else ""),
        )
    )  # fmt: skip


def _silent(row: Row) -> str:
    """Return that what the campaign compares does not arrive; nothing while it does."""
    since = row.get("telemetry_silent_since")
    if not since:
        return ""
    return f"silent since {exactly(since)}: what it compares is not known, and its gate holds; ringroad doctor says why"


def recovery_text(recovery: Row) -> str:
    """Return what became of a stopped campaign's vehicles, in a line."""
    because = f" ({recovery['reason'].replace('_', ' ')})" if recovery["reason"] else ""
    word = standing(recovery)
    said = "some still run the stopped release" if word == "kept" else word.replace("_", " ")
    return f"{said}{because}: {measure_text(recovery)}"


def next_text(row: Row, recovery: Row | None) -> str:
    """Return what a person may want to do next about a campaign that is under way or was stopped; nothing if that is clear."""
    short = tail(row["id"])
    if recovery and recovery["vehicles"].get("kept"):
        return f"next: ringroad campaign return {short} shows who of them can go back, and orders them"
    if row["state"] == "paused" and is_budget_spent(row["state_reason"]):
        return (
            f"next: ringroad campaign evidence {short} shows how many were harmed\n"
            f"      ringroad campaign resume {short} --beyond-budget lets it go on all the same, as an approver\n"
            f"      ringroad campaign abort {short} --reason WHY ends it; vehicles that installed it stay on it until they are ordered back"
        )
    if row.get("harm_holds"):
        return (
            f"next, as the gate holds it for harm: ringroad campaign evidence {short} shows what is compared\n"
            f"      ringroad campaign abort {short} --reason WHY ends it; vehicles that installed it stay on it until they are ordered back"
        )
    if row["state"] == "paused" and is_harm_elsewhere(row["state_reason"]):
        return (
            f"next: ringroad campaign abort {short} --reason WHY ends it\n"
            "      to go on all the same, plan another campaign: the checker names the harm, and whoever approves accepts it"
        )
    if row["state"] == "paused" and is_for_good(row["state_reason"]):
        shows = (
            f"evidence {short} shows what is compared; ringroad campaign resume {short} once that is known again"
            if row["state_reason"].startswith(UNKNOWN_FOR_GOOD)
            else f"vehicles {short} --state expired shows who is silent"
        )
        return (
            f"next: ringroad campaign resume {short} --without-reports lets it go on all the same, as an approver\n"
            f"      ringroad campaign {shows}; ringroad campaign abort {short} ends it"
        )
    if row["state"] in {"running", "paused"} and row["failed"] - row.get("silent", 0):
        return (
            f"next, if the release is to blame and the gate has not halted it: ringroad campaign abort {short} --reason WHY\n"
            "      (pause only stops offering; vehicles that installed it stay on it until they are ordered back)"
        )
    return ""


def cancelled_word(row: Row) -> str:
    """Return what it means that vehicles of a campaign are cancelled: let go one by one, or withdrawn by its stop as well."""
    return "cancelled" if row["state"] in {"halted", "aborted"} else "let go"


def failed_text(row: Row) -> str:
    """Return how many failed, and how many fell silent, which is told apart; older servers do not tell them apart."""
    silent = row.get("silent", 0)
    return f"{row['failed'] - silent} failed" + (f", {silent} silent" if silent else "")


def returned_of(row: Row) -> int:
    """Return how many of those that installed it went back, and are not on it; older servers tell returns alone."""
    return int(row.get("gone_back", min(row.get("returned", 0), row["installed"])))


def installed_text(row: Row, *, of: bool = False) -> str:
    """Return how many installed a campaign's release and are on it, and how many of them went back."""
    back, whole = returned_of(row), f" of {row['vehicles']}" * of
    return f"{row['installed'] - back}{whole} installed" + (f", {back} returned" if back else "")


def ends_text(row: Row) -> tuple[str, str]:
    """Return how many installed and how many failed, for a table: those that went back and fell silent beside them."""
    back, silent = returned_of(row), row.get("silent", 0)
    return (
        f"{row['installed'] - back}" + f", {back} returned" * bool(back),
        f"{row['failed'] - silent}" + f", {silent} silent" * bool(silent),
    )


def was_stopped(row: Row) -> bool:
    """Say if a campaign was stopped that had reached anybody."""
    return row["state"] in {"halted", "aborted"} and row["vehicles"] > 0


def _returns(row: Row) -> str:
    ordered = row.get("returns_ordered", 0)
    if not ordered:
        return ""
    back, failed = row["returned"], row["returns_failed"]
    return f"{ordered} ordered: {back} back, {ordered - back - failed} on their way, {failed} came to nothing"


def _outcomes(row: Row) -> str:
    stored = f"{row['downloaded']} downloaded, " if row["downloaded"] else ""
    stored += f"{row['claimed']} claimed, " if row["claimed"] else ""
    cancelled = row.get("cancelled", 0)
    known = row["installed"] + row["downloaded"] + row["claimed"] + row["failed"] + cancelled
    ended = f"{failed_text(row)}, {cancelled} {cancelled_word(row)}, {row['vehicles'] - known} to come"
    return f"{row['vehicles']}: {installed_text(row)}, {stored}{ended}"


def plan_text(document: Row, *, whole: bool = False) -> str:
    """Return whom a plan takes in, whom it leaves out, and its gate; patient with documents of older versions.

    Args:
        document: of the plan.
        whole: with all that whoever approves it signs for, also what is left at its default.
    """
    counts, request = document.get("counts", {}), document["request"]
    estimate_s = document.get("install_s_estimate")
    head = details(
        (
            ("query", request["query"]),
            ("release", document.get("release_version")),
            ("matches", _matches(counts)),
            ("up to date", counts.get("already_installed")),
            ("do not fit", counts.get("mismatch")),
            ("not known", counts.get("unknown")),
            ("may match", document.get("not_known") or ""),
            (
                "waves",
                waves_line(document) if not request.get("ramp") else "",
            ),
            *(_signed(document) if whole else _asked(document)),
            ("install", f"about {length_words(estimate_s)} per vehicle" if estimate_s else ""),
        )
    )
    reasons = _reasons(document.get("not_selected", {}))
    return f"{head}\n\n{reasons}" if reasons else head


def _asked(document: Row) -> list[tuple[str, str]]:
    request = document["request"]
    return [
        *guard_policy(request),
        ("gate", _policy(request["gate"])),
        *conduct_lines(document),
        ("deadline", length_words(request["vehicle_deadline_s"]) if "vehicle_deadline_s" in request else ""),
    ]


def _signed(document: Row) -> list[tuple[str, str]]:
    return [*gate_lines(document), *conduct_lines(document, whole=True)]


def plan_verdict(made: Row, *, stopped: bool, name: str, short: str) -> str:
    """Return which plan was shown, and what comes next."""
    plan = f"plan generation {made['generation']}" if "generation" in made else "this plan"
    if stopped:
        return f"{name}: {plan} is blocked; nothing can be approved or started until you plan again"
    return f"{plan}\nnext: ringroad campaign approve {short}"


def difference_text(found: Row) -> str:
    """Return what sets the newer of two plans apart."""
    fields = table(
        ("what", f"generation {found['older']}", f"generation {found['newer']}"),
        ((row["field"], row["before"], row["after"]) for row in found["fields"] if not _is_long(row)),
        empty="",
    )
    long = "\n\n".join(
        f"{row['field']}\n  generation {found['older']}  {row['before']}\n  generation {found['newer']}  {row['after']}"
        for row in found["fields"]
        if _is_long(row)
    )
    moves = table(
        ("vehicles", "", "before", "after", "for example"),
        (
            (row["vehicles"], row["kind"], row["before"], row["after"], row["examples"][:3])
            for row in found["moves"]
        ),
        empty="",
    )
    findings = "\n".join(
        [f"gone  {line}" for line in found["findings_gone"]]
        + [f"new   {line}" for line in found["findings_new"]]
    )
    parts = [part for part in (fields, long, moves, findings) if part]
    same = f"generations {found['older']} and {found['newer']} are the same"
    return "\n\n".join(parts) or same


def _is_long(field: Row) -> bool:
    """Say whether a table would cut what a plan changed."""
    return max(len(field["before"]), len(field["after"])) > CELL_CHARS_MAX


def preview_text(found: Row) -> str:
    """Return who matches a query and which terms leave others out."""
    lines = [f"{found['matches']} of {found['matches'] + found['not_selected']} vehicles match"]
    if found["unknown"]:
        lines[0] += f"; of {found['unknown']} too little is known to say"
    vins = found["vins"][:VINS_SHOWN]
    lines += [f"  {vin}" for vin in vins]
    if len(vins) < found["matches"]:
        lines.append(f"  and {found['matches'] - len(vins)} more")
    rows = found["left_out"][:REASONS_SHOWN]
    reasons = table(
        ("left out", "because not", "for example"),
        ((row["vehicles"], row["term"], ": ".join(row["examples"][0])) for row in rows),
        empty="",
    )
    parts = ["\n".join(lines), reasons, "\n".join(f"warning: {each}" for each in found["warnings"])]
    return "\n\n".join(part for part in parts if part)


def resolutions_text(rows: Sequence[Row]) -> str:
    """Return what a plan made of its vehicles, those alike together; sentences are never cut."""
    if not rows:
        return "nothing was resolved; ringroad campaign plan makes a plan"
    width = max(len(f"{row['vehicles']}") for row in rows)
    lines = []
    for row in rows:
        words = [
            ", then ".join(row["steps"])
            + (
                f", {size(row['install_bytes'])}, about {length_words(row['install_s'])}"
                if row["install_s"]
                else ""
            ),
            row["sentence"],
        ]
        said = ". ".join(word for word in words if word)
        verdict = row["verdict"].replace("_", " ")
        if row["verdict"] == "control":
            said = f"{said.rstrip('.')}. Held back, the others are compared with them"
        example = f"  (for example {row['example']})" if row["example"] else ""
        lines.append(f"{row['vehicles']:>{width}}  {verdict}: {said}{example}")
    return "\n".join(lines)


def let_go_text(rows: Sequence[Row]) -> str:
    """Return whom a campaign let go since its plan; nothing if nobody."""
    parts = []
    for control, head in (
        (False, "let go since the plan, for what they run by now; no failures:"),
        (True, "let go from the control group, for what they run by now; compared with until that was told:"),
    ):
        mine = [row for row in rows if bool(row.get("control")) is control]
        width = max((len(f"{row['vehicles']}") for row in mine), default=0)
        lines = [f"{row['vehicles']:>{width}}  {reason_words(row['verdict'])}" for row in mine]
        parts += ["\n".join([head, *lines])] if lines else []
    return "\n\n".join(parts)


def why_text(row: Row, *, vin: str, waits: str = "") -> str:
    """Return what a plan made of one vehicle, and what would be made of it today."""
    today = ": ".join(part for part in (row["today"].replace("_", " "), row["today_sentence"]) if part)
    ended, detail = row["state"].replace("_", " "), reason_words(row["state_detail"])
    state = detail if detail.startswith(ended) else ": ".join(part for part in (ended, detail) if part)
    is_control = row["verdict"] == "control" and not row.get("let_go_at")
    return details(
        (
            ("vehicle", vin),
            ("campaign", f"{row['campaign_name']}, {row['campaign_state']}"),
            ("release", row["release_version"]),
            ("verdict", row["verdict"].replace("_", " ")),
            ("why", row["sentence"] or ("held back, the others are compared with it" if is_control else "")),
            ("joined", when(row["joined_at"]) if row.get("joined_at") else ""),
            (
                "let go",
                f"{when(row['let_go_at'])}: {reason_words(row['let_go_reason'])}"
                if row.get("let_go_at")
                else "",
            ),
            ("today", today),
            ("its update", state),
            ("waits", waits),
            ("wave", row["wave"] or ""),
            ("steps", ", then ".join(row["steps"])),
            ("bytes", size(row["install_bytes"]) if row["install_s"] else ""),
            ("takes", f"about {length_words(row['install_s'])}" if row["install_s"] else ""),
        )
    )


def waves_text(rows: Sequence[Row]) -> str:
    """Return one line per wave, a bar and vehicles by state, and what its marks mean if any ended badly."""
    waves: dict[int, dict[str, int]] = {}
    for row in rows:
        back, lost = row.get("returned", 0), row.get("lost", 0)
        state = "silent" if row["state"] == "expired" else row["state"]
        counts = {state: row["vehicles"] - back - lost, "returned": back, "lost while installing": lost}
        waves.setdefault(row["wave"], {}).update({state: count for state, count in counts.items() if count})
    lines = []
    for wave, states in sorted(waves.items()):
        told = sorted(
            states.items(), key=lambda item: _TOLD.index(item[0]) if item[0] in _TOLD else len(_TOLD)
        )
        words = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in told)
        way = sum(row.get("on_the_way", 0) for row in rows if row["wave"] == wave)
        words += f" ({way} of those that wait are on a step of their way)" if way else ""
        lines.append(f"wave {wave}  {_bar(states)}  {words}")
    seen = {state for states in waves.values() for state in states}
    if not seen.isdisjoint(state for mark, of in MARKS.items() if mark in "<x?" for state in of):
        used = [f"{mark} {of[0].replace('_', ' ')}" for mark, of in MARKS.items() if not seen.isdisjoint(of)]
        lines.append(f"        {', '.join(used)}")
    return "\n".join(lines)


def replay_text(rows: Sequence[Row]) -> str:
    """Return gate decisions beside what comes out now of what they were made on."""
    return table(
        ("at", "wave", "decision", "reason", "again"),
        (
            (
                when(row["decided_at"]), row["wave"], row["decision"], reason_words(row["reason"]),
                "the same" if row["same"] else "not all was recorded" if row["same"] is None
                else f"{row['again']}: {reason_words(row['again_reason'])}",
            )
            for row in rows
        ),
        empty="no decision yet",
    )  # fmt: skip


def gate_text(rows: Sequence[Row], *, last: bool = False) -> str:
    """Return gate decisions with the counts that they saw, and what the first of them was compared by."""
    if last:
        return "\n".join(
            f"gate: {row['decision']} ({reason_words(row['reason'])}), wave {row['wave']}, {exactly(row['decided_at'])}"
            for row in rows[:1]
        )
    decided = table(
        ("at", "wave", "decision", "reason", "evidence"),
        (
            (when(row["decided_at"]), row["wave"], row["decision"], reason_words(row["reason"]), counted(row["facts"]))
            for row in rows
        ),
        empty="the gate has not decided yet",
    )  # fmt: skip
    rested = decision_lines(rows[0]["facts"], rows[0]["policy"], rows[0]["reason"]) if rows else []
    return (
        "\n".join((decided, "", "the first of these rests on", *(f"  {line}" for line in rested)))
        if rested
        else decided
    )


def _policy(gate: Row) -> str:
    reports = plurals.counted(gate["reports_min"], "report")
    if gate.get("sequential"):
        return f"at least {reports}" + (f", soak {length_words(gate['soak_s'])}" if gate["soak_s"] else "")
    failed = f"{gate['failed_permille_max'] / 10:g} %"
    soak = f", soak {length_words(gate['soak_s'])}" if gate["soak_s"] else ""
    return f"at most {failed} failed of at least {reports}{soak}"


def _matches(counts: Row) -> str:
    """Return who fits the release: those that are offered it, and those that are held back to compare with."""
    treated, held = counts.get("match") or 0, counts.get("control") or 0
    return (
        f"{treated + held}: {treated} get it, {held} are the control group"
        if held
        else str(treated or "none")
    )


def _reasons(left_out: Mapping[str, int]) -> str:
    rows = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    if not rows:
        return ""
    return table(("left out", "because not"), ((count, term) for term, count in rows[:REASONS_SHOWN]))


def _bar(states: Mapping[str, int]) -> str:
    total = sum(states.values())
    parts = {mark: BAR_CHARS * sum(states.get(state, 0) for state in of) for mark, of in MARKS.items()}
    bad = "".join(mark * -(-parts[mark] // total) for mark in "x?")  # of whom there is one, it is seen
    good = "".join(mark * (parts[mark] // total) for mark in "#<")[: max(0, BAR_CHARS - len(bad))]
    return f"[{(good + bad)[:BAR_CHARS]:.<{BAR_CHARS}}]"
