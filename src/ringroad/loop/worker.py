"""The worker process: reconciler and metadata renewal, telemetry ingest, events of plants' stations, detection and verdicts, plans of lines, demand, evidence.

Each is a thread. Every thread survives a restart of the database or the broker: it reports once, waits with growing pauses and
goes on; all end within seconds of the stop event.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import date
from typing import Any

import structlog

from ringroad.adapt.model import VerdictPolicy
from ringroad.build.deltas.choose import Later
from ringroad.build.repository.store import OnlineSigners, refresh_expiring
from ringroad.build.shop.store import PLACING, SEEKING, Stage
from ringroad.design.model import AcceptRule
from ringroad.kernel.clock import Clock, Ids, SystemClock, SystemIds, system_fraction
from ringroad.kernel.errors import NotFound
from ringroad.kernel.facts import FactKind
from ringroad.kernel.steady import HINT as CLOCK_HINT
from ringroad.kernel.steady import Steady
from ringroad.loop.acceptance import accept_findings
from ringroad.loop.balancing import LookedAt, look_at_balances
from ringroad.loop.bundles import signing_with
from ringroad.loop.deltas import make_wanted
from ringroad.loop.demand import forecast_asked
from ringroad.loop.duties import JOIN_S_MAX, Duty, LoadSigners, Tools, keep_going, load, read_stream
from ringroad.loop.evidence import read_due
from ringroad.loop.improvements import look_at_trials, prove_open
from ringroad.loop.inspections import run_inspections
from ringroad.loop.joining import Seen, join_running
from ringroad.loop.logistics import Remembered, look_at_shipments
from ringroad.loop.lookout import Lookout
from ringroad.loop.mes import run_mes
from ringroad.loop.milestones import run_milestones
from ringroad.loop.outcomes import measure_due
from ringroad.loop.planning import answer_questions, improve_changed, warm_up_if_planned
from ringroad.loop.quality import look_at_results
from ringroad.loop.reconciler import tick
from ringroad.loop.shops import plan_shops
from ringroad.loop.telemetry_watch import TelemetryWatch
from ringroad.loop.usage import tell_usage
from ringroad.loop.webhooks import deliver_until, key_of
from ringroad.loop.worker_sites import site_duties
from ringroad.publish.deliver import Means
from ringroad.signal.detect import DetectPolicy
from ringroad.signal.store import detect_now, run_ingest
from ringroad.signal.store_setbacks import answer_setbacks
from ringroad.storage.blobs import Blobs
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.lake import Lake
from ringroad.storage.measures import TICKS_MAX
from ringroad.storage.settings import Settings

LOG = structlog.get_logger(__name__)

ACCEPT_LOG_E_MICRONATS = 9_210_341  # an e-value of 10,000: one finding in so many would be chance
RENEW_S = 60.0  # seconds between two looks for metadata that nears its end
SIGNERS_S = 5.0  # seconds between two looks for online keys that are not there yet
EVIDENCE_LOOK_S = 1.0  # seconds between two looks for campaigns whose next tick is over
SHARE_MAX = 4  # looking in vain may take a fifth of the time: wait four times what it took
CLOCK_LOOK_S = 1.0  # seconds between two looks at a clock that was set
JOIN_LOOK_S = 10.0  # seconds between two looks for vehicles that join campaigns late
DELTA_LOOK_S = (
    15.0  # seconds between two looks for deltas that vehicles would need; the look reads 20,000 vehicles
)
QUALITY_LOOK_S = 2.0  # seconds between two looks for results of checks; vehicles come once a minute
DEMAND_LOOK_S = 1.0  # seconds between two looks for forecasts that are asked for
BALANCE_LOOK_S = 5.0  # seconds between two looks for lines whose balance is due
SHOPS_AT_ONCE = 50  # steps without a pause: one that conflicts each time may not turn hot
PLAN_S = 0.5  # seconds between two looks for new schedules, unless one is told
TRIAL_LOOK_S = 60.0  # seconds between two looks at what plants try that their clones found
FACTS = "ringroad_fact"
CHANNELS = (FACTS, "ringroad_report", "ringroad_assignment")


def run(
    settings: Settings,
    stop: threading.Event,
    *,
    load_signers: LoadSigners | None = None,
    clock: Clock | None = None,
    ids: Ids | None = None,
) -> None:
    """Work until `stop` is set.

    Args:
        settings: with every engine's address filled in.
        stop: set it to end.
        load_signers: reads the online keys; tried again until it succeeds. Without keys native vehicles wait.
        clock: the machine's, unless given.
        ids: the machine's, unless given.
    """
    tools = Tools(
        settings=settings,
        stop=stop,
        clock=clock or SystemClock(),
        ids=ids or SystemIds(),
        load_signers=load_signers,
    )
    lake = Lake(settings.lake)
    duties: list[Duty] = [
        ("reconciler", _reconcile, ()),
        ("ingest", _ingest, (lake,)),
        ("telemetry", _telemetry, ()),
        ("stations", _stations, ()),
        ("detect", _detect, (lake,)),
        ("plan", _plan, ()),
        ("shops", _shops, (PLACING,)),
        ("shop-search", _shops, (SEEKING,)),
        ("balance", _balance, ()),
        ("milestones", _milestones, ()),
        ("logistics", _logistics, ()),
        ("quality", _quality, ()),
        ("inspections", _inspections, ()),
        ("demand", _demand, (lake,)),
        ("evidence", _evidence, (lake,)),
        ("joiners", _join, (lake,)),
        ("webhooks", _webhooks, ()),
        ("deltas", _deltas, ()),
        *site_duties(settings),
    ]
    threads = [
        threading.Thread(target=target, args=(tools, *more), name=name, daemon=True)
        for name, target, more in duties
    ]
    for thread in threads:
        thread.start()
    LOG.info("worker started", threads=[thread.name for thread in threads])
    stop.wait()
    for thread in threads:
        thread.join(JOIN_S_MAX)
    LOG.info("worker stopped", late=[thread.name for thread in threads if thread.is_alive()])


def _reconcile(tools: Tools) -> None:
    signers: list[OnlineSigners] = []  # filled once; the keys of a running worker do not change
    steady = Steady(tools.clock)

    def body() -> None:
        with closing(_open(tools)) as conn, closing(_open(tools)) as listener:
            for channel in CHANNELS:
                listener.execute(f"LISTEN {channel}")
            _rounds(tools, conn, listener, signers, steady)

    keep_going(tools, "reconciler", body)


def _rounds(
    tools: Tools, conn: Connection, listener: Connection, signers: list[OnlineSigners], steady: Steady
) -> None:
    interval_s, told = tools.settings.worker_interval_ms / 1000, ""
    next_keys_s = next_renewal_s = 0.0
    lookout = Lookout(tools.clock)  # of this connection
    while not tools.stop.is_set():
        started_s, look = tools.clock.monotonic_s(), steady.look()
        if look.step_s:  # no deadline is held against a vehicle, and nothing decided, by a clock that was set
            if look.text != told:
                LOG.warning("the clock was set, the round passes", clock=look.text, hint=CLOCK_HINT)
            told = look.text
            tools.stop.wait(CLOCK_LOOK_S)
            continue
        told = ""
        if not signers and next_keys_s <= started_s:
            next_keys_s = started_s + SIGNERS_S
            signers += load(tools)
        issue = signing_with(signers[0]) if signers else None
        done = tick(conn, tools.ids, now=look.now, issue=issue, lookout=lookout)
        if signers and next_renewal_s <= started_s:
            next_renewal_s = started_s + RENEW_S
            _renew(tools, conn, signers[0])
        took_s = tools.clock.monotonic_s() - started_s
        if not done.idle:
            LOG.info("round", took_ms=round(took_s * 1000), **_counts(done))
        if done.idle:
            tools.stop.wait(min(1.0, took_s * SHARE_MAX))
        _wait_for_news(tools, listener, interval_s)


def _wait_for_news(tools: Tools, listener: Connection, seconds: float) -> None:
    """Sleep until something is notified or the interval is over; drop what queued up, once is enough."""
    for _ in listener.notifies(timeout=seconds, stop_after=1):
        break
    for _ in listener.notifies(timeout=0):
        if tools.stop.is_set():
            return


def _counts(done: Any) -> dict[str, object]:
    return {
        "reports": done.reports_applied,
        "refused": done.reports_refused,
        "expired": done.expired,
        "offered": done.offered,
        "bundles": done.bundles,
        "withdrawn": done.withdrawn,
        "decisions": [type(decision).__name__.lower() for _, decision in done.decisions],
    }


def _renew(tools: Tools, conn: Connection, signers: OnlineSigners) -> None:
    try:
        for _ in range(10):
            with transaction(conn):
                if not refresh_expiring(conn, signers, now=tools.clock.now()):
                    return
    except NotFound as error:  # no root is published yet
        LOG.debug("nothing to renew", detail=error.message)


def _ingest(tools: Tools, lake: Lake) -> None:
    def work(stop: asyncio.Event) -> Coroutine[Any, Any, None]:
        given = tools.settings
        return run_ingest(given.nats_url, lake, lambda: connect(given.database_url), stop, tools.clock)

    read_stream(tools, "ingest", work)


def _telemetry(tools: Tools) -> None:
    """Look whether it arrives: the gates of this process go by what is told of it."""

    @contextmanager
    def borrow() -> Iterator[Connection]:
        with closing(_open(tools)) as conn, transaction(conn):
            yield conn

    def work(stop: asyncio.Event) -> Coroutine[Any, Any, None]:
        url = tools.settings.nats_url
        return TelemetryWatch(url, borrow, clock=tools.clock, ids=tools.ids).look_until(stop)

    read_stream(tools, "telemetry", work)


def _stations(tools: Tools) -> None:
    def work(stop: asyncio.Event) -> Coroutine[Any, Any, None]:
        given = tools.settings
        return run_mes(
            given.nats_url, lambda: connect(given.database_url), stop, clock=tools.clock, ids=tools.ids
        )

    read_stream(tools, "stations", work)


def _milestones(tools: Tools) -> None:
    def work(stop: asyncio.Event) -> Coroutine[Any, Any, None]:
        given = tools.settings
        return run_milestones(
            given.nats_url, lambda: connect(given.database_url), stop, clock=tools.clock, ids=tools.ids
        )

    read_stream(tools, "milestones", work)


def _inspections(tools: Tools) -> None:
    def work(stop: asyncio.Event) -> Coroutine[Any, Any, None]:
        given = tools.settings
        return run_inspections(given.nats_url, lambda: connect(given.database_url), stop, clock=tools.clock)

    read_stream(tools, "inspections", work)


def _detect(tools: Tools, lake: Lake) -> None:
    given, steady = tools.settings, Steady(tools.clock)
    window_s = min(DetectPolicy().window_s, given.measure_tick_s * TICKS_MAX // 2)
    rising = DetectPolicy(
        tick_s=given.measure_tick_s,
        gap_s=given.measure_gap_s,
        exposure_s_min=given.measure_exposure_s_min,
        window_s=window_s,
        recent_s=max(given.measure_tick_s, min(DetectPolicy().recent_s, window_s // 14)),
    )
    verdict = VerdictPolicy(
        tick_s=given.measure_tick_s, gap_s=given.measure_gap_s, exposure_s_min=given.measure_exposure_s_min
    )

    rule = None
    if given.accept_ratio_milli_min:
        rule = AcceptRule(
            name="rising-faults",
            log_e_micronats_min=ACCEPT_LOG_E_MICRONATS,
            vehicles_with_fault_min=rising.faulty_vehicles_min,
            ratio_low_milli_min=given.accept_ratio_milli_min,
        )

    def body() -> None:
        with closing(_open(tools)) as conn:
            while not tools.stop.wait(given.detect_every_s):
                if steady.look().step_s:  # else findings and verdicts would be of hours that were not
                    continue
                for finding in detect_now(conn, lake, tools.ids, tools.clock, policy=rising):
                    LOG.info("finding opened", finding_id=finding.id)
                if rule is not None:
                    for change_id in accept_findings(conn, tools.ids, rule, now=tools.clock.now()):
                        LOG.info("accepted by rule", rule=rule.name, change_id=change_id)
                measure_due(conn, lake, tools.ids, tools.clock, policy=verdict)
                answer_setbacks(conn, tools.ids, now=tools.clock.now())

    keep_going(tools, "detect", body)


def _plan(tools: Tools) -> None:
    seen: dict[str, int] = {}
    is_warm = False

    def body() -> None:
        nonlocal is_warm
        next_trials_s = 0.0
        with closing(_open(tools)) as conn, closing(_open(tools)) as listener:
            listener.execute(f"LISTEN {FACTS}")
            while not tools.stop.is_set():
                if not is_warm:
                    started_s, is_warm = tools.clock.monotonic_s(), warm_up_if_planned(conn)
                    if is_warm:
                        LOG.info(
                            "ready to plan lines",
                            took_ms=round(1000 * (tools.clock.monotonic_s() - started_s)),
                        )
                wait_for_schedule(listener, PLAN_S)
                answer_questions(conn, tools.clock)
                prove_open(conn, tools.ids, tools.clock)
                if next_trials_s <= tools.clock.monotonic_s():
                    next_trials_s = tools.clock.monotonic_s() + TRIAL_LOOK_S
                    look_at_trials(conn, tools.ids, tools.clock)
                for made in improve_changed(conn, tools.ids, tools.clock, seen):
                    LOG.info("schedule improved", programme_id=made.programme_id, generation=made.generation)

    keep_going(tools, "plan", body)


def wait_for_schedule(listener: Connection, seconds: float) -> bool:
    """Sleep until a schedule is made, or so long; say whether one was.

    Args:
        listener: a connection that listens for facts. Those of other kinds wake nobody.
        seconds: at most.
    """
    told = f"{FactKind.SCHEDULE_REPLANNED.value} "
    heard = any(each.payload.startswith(told) for each in listener.notifies(timeout=seconds))
    deque(listener.notifies(timeout=0), maxlen=0)  # what queued up; one look is enough
    return heard


def _shops(tools: Tools, stages: Sequence[Stage]) -> None:
    """Place what was asked for, or search and prove: a repair of one shop never waits for the search of another."""

    def body() -> None:
        with closing(_open(tools)) as conn:
            while not tools.stop.wait(PLAN_S):
                for _ in range(SHOPS_AT_ONCE):
                    work = plan_shops(conn, tools.ids, tools.clock, stages=stages)
                    if work is None or tools.stop.is_set():
                        break
                    LOG.info("shop planned", plant_id=work.plant_id, shop=work.shop, stage=work.stage)

    keep_going(tools, "shops" if stages == PLACING else "shop-search", body)


def _balance(tools: Tools) -> None:
    seen: dict[str, LookedAt] = {}

    def body() -> None:
        every_s = tools.settings.balance_every_s
        with closing(_open(tools)) as conn:
            while not tools.stop.wait(BALANCE_LOOK_S):
                for programme_id in look_at_balances(conn, tools.ids, tools.clock, seen, every_s=every_s):
                    LOG.info("looked at the balance", programme_id=programme_id)

    keep_going(tools, "balance", body)


def _logistics(tools: Tools) -> None:
    seen: dict[str, Remembered] = {}

    def body() -> None:
        with closing(_open(tools)) as conn:
            while not tools.stop.wait(PLAN_S):
                for programme_id in look_at_shipments(conn, tools.ids, tools.clock, seen):
                    LOG.info("line replanned by what is on its way", programme_id=programme_id)

    keep_going(tools, "logistics", body)


def _quality(tools: Tools) -> None:
    seen: dict[str, dict[str, int]] = {}

    def body() -> None:
        with closing(_open(tools)) as conn:
            while not tools.stop.wait(QUALITY_LOOK_S):
                for alarm in look_at_results(conn, tools.ids, tools.clock, seen):
                    LOG.info("quality alarm", alarm_id=alarm.id, station=alarm.station, of=alarm.value)

    keep_going(tools, "quality", body)


def _demand(tools: Tools, lake: Lake) -> None:
    seen: dict[str, tuple[int, date]] = {}

    def body() -> None:
        with closing(_open(tools)) as conn:
            while not tools.stop.wait(DEMAND_LOOK_S):
                tell_usage(conn, tools.ids, tools.clock, lake, seen)
                made = forecast_asked(conn, tools.ids, tools.clock, engine=tools.settings.demand_engine)
                if made is not None:
                    LOG.info("demand forecast", run_id=made.run_id, shifts=made.shifts, error=made.error)

    keep_going(tools, "demand", body)


def _evidence(tools: Tools, lake: Lake) -> None:
    steady = Steady(tools.clock)

    def body() -> None:
        with closing(_open(tools)) as conn:
            while not tools.stop.wait(EVIDENCE_LOOK_S):
                look = steady.look()
                if not look.step_s:  # else what is read would be of hours that were not, or that were read
                    read_due(conn, tools.ids, lake, now=look.now)

    keep_going(tools, "evidence", body)


def _webhooks(tools: Tools) -> None:
    means = Means(
        clock=tools.clock,
        ids=tools.ids,
        key=lambda: key_of(tools.settings.webhook_key),
        source=tools.settings.events_source,
        allowed=tools.settings.webhook_allowed,
        fraction=system_fraction,
    )
    keep_going(tools, "webhooks", lambda: deliver_until(tools.stop, lambda: _open(tools), means))


def _deltas(tools: Tools) -> None:
    later = Later()

    def body() -> None:
        blobs = Blobs(tools.settings.blob_url or tools.settings.blobs.absolute().as_uri())
        with closing(_open(tools)) as conn:
            while not tools.stop.wait(DELTA_LOOK_S):
                make_wanted(conn, blobs, tools.ids, tools.clock, stop=tools.stop, later=later)

    keep_going(tools, "deltas", body)


def _join(tools: Tools, lake: Lake) -> None:
    seen: dict[str, Seen] = {}

    def body() -> None:
        with closing(_open(tools)) as conn:
            while not tools.stop.wait(JOIN_LOOK_S):
                for campaign_id, vehicles in join_running(
                    conn, tools.ids, lake, seen, now=tools.clock.now()
                ).items():
                    LOG.info("late joiners", campaign_id=campaign_id, vehicles=vehicles)

    keep_going(tools, "joiners", body)


def _open(tools: Tools) -> Connection:
    return connect(tools.settings.database_url)
