"""`ringroad vehicle rehearse`: build a vehicle of a programme out of virtual ECUs, and update all of it before one's eyes."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from ringroad.kernel.clock import Clock, system_fraction
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.vehicle.memory import read_state
from ringroad.vehicle.states import CampaignState, EcuMoved, EcuState, Entry, Moved, Started, Tried, tried_ecu

if TYPE_CHECKING:
    from ringroad.cli.shell import Shell
    from ringroad.sim.rehearsal import Ending, Plan, Rehearsal

CELL: Final = 40  # columns for one ECU
BAR: Final = 8  # columns of its bar
DRAW_S: Final = 0.1  # s; between two pictures
_KIB: Final = click.IntRange(1, 16 * 1024)
_FULL: Final = frozenset({EcuState.ACTIVATED, EcuState.VERIFIED, EcuState.COMMITTED, EcuState.ROLLED_BACK})


@click.command("rehearse")
@click.argument("programme", type=click.Path(path_type=Path))
@click.option("--variant", help="Of the programme; default: its only one.")
@click.option(
    "--soc-kib", type=_KIB, default=256, show_default=True, help="KiB per image of a system on chip."
)
@click.option(
    "--mcu-kib", type=_KIB, default=16, show_default=True, help="KiB per image of a microcontroller."
)
@click.option("--fail", "failing", default="", help="An ECU whose new software fails its self-test.")
@click.option(
    "--bit-rates", is_flag=True, help="CAN frames take the time they take at 500 kbit/s and 2 Mbit/s."
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Keep the vehicle here; where a rehearsal was killed, it goes on.",
)
@click.pass_context
def rehearse(
    context: click.Context,
    programme: Path,
    *,
    variant: str | None,
    soc_kib: int,
    mcu_kib: int,
    failing: str,
    bit_rates: bool,
    folder: Path | None,
) -> None:
    """Build a vehicle of PROGRAMME out of virtual ECUs on this computer, and update all of it in one group.

    Needs no server: releases are made up, signed with keys of the moment, and verified as on the road.
    Its exit status is 0 where the update ends as it should: SUCCEEDED, or ROLLED_BACK if it was begun with --fail.
    With --folder it may be killed at any moment: said again it goes on, and once it is over it says how it ended.
    """
    shell: Shell = context.obj
    from ringroad.sim.rehearsal import Plan  # noqa: PLC0415 - no other command needs it

    chosen, ecus, programme_id = _read(programme, variant)
    if failing and failing not in ecus:
        raise NotFound(f"variant {chosen} has no ECU {failing}", hint=f"it has {', '.join(ecus)}")
    plan = Plan(
        programme_id=programme_id, variant=chosen, ecus=ecus, soc_bytes=soc_kib * 1024, mcu_bytes=mcu_kib * 1024,
        failing=failing, real_bit_rates=bit_rates,
    )  # fmt: skip
    kept = None
    if folder is not None and folder.exists():
        kept = _kept(context, plan, folder)
        plan = kept.plan
    place = folder or Path(tempfile.mkdtemp(prefix="ringroad-")) / "vehicle"
    try:
        ending, took_s = asyncio.run(_rehearse(shell, plan, place, kept))
    finally:
        if folder is None:
            shutil.rmtree(place.parent, ignore_errors=True)
    _show(shell, plan, ending, took_s)
    expected = "ROLLED_BACK" if plan.failing else "SUCCEEDED"
    if ending.state != expected:
        raise Conflict(f"the vehicle ended {ending.state}, not {expected}", hint=ending.detail)


def _read(path: Path, variant: str | None) -> tuple[str, dict[str, Mapping[str, Any]], str]:
    """Return a programme's variant, its ECUs' tables, and the programme's id."""
    from ringroad.build.programme import read_programme  # noqa: PLC0415 - no other command here needs it

    try:
        document = read_programme(path.read_text("utf-8"), filename=path.name).to_document()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from error
    variants = document["variants"]
    chosen = variant or next(iter(variants))
    if variant is None and len(variants) != 1:
        raise InvalidInput(
            f"{path.name} has {len(variants)} variants", hint=f"--variant {chosen}, for example"
        )
    if chosen not in variants:
        raise NotFound(f"{path.name} has no variant {chosen}", hint=f"it has {', '.join(variants)}")
    ecus = {name: document["ecus"][name] for name in variants[chosen]["ecus"]}
    if clients := [name for name, table in ecus.items() if table["agent"] == "ddi"]:
        raise InvalidInput(f"{clients[0]} updates itself over DDI", hint="rehearse another variant")
    return chosen, ecus, document["id"]


def _kept(context: click.Context, asked: Plan, folder: Path) -> Rehearsal:
    """Return the rehearsal of before in a folder, if it is the one that is asked for."""
    from ringroad.sim.rehearsed import reopen  # noqa: PLC0415 - no other command needs it

    rehearsal = reopen(folder, clock=context.obj.clock, secret=secrets.token_bytes)
    plan = rehearsal.plan
    of, wanted = (f"a {one.variant} of {one.programme_id}" for one in (plan, asked))
    if of != wanted:
        raise Conflict(f"{folder} has {of}, not {wanted}", hint="name a folder that does not exist")
    pairs = {
        "soc_kib": (plan.soc_bytes // 1024, asked.soc_bytes // 1024),
        "mcu_kib": (plan.mcu_bytes // 1024, asked.mcu_bytes // 1024),
        "failing": (plan.failing or "none", asked.failing or "none"),
        "bit_rates": (plan.real_bit_rates, asked.real_bit_rates),
    }
    for option in context.command.params:
        had, has = pairs.get(option.name or "", (None, None))
        if had != has and context.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE:
            raise Conflict(
                f"the update in {folder} was begun with another {option.opts[0]}: {str(had).lower()}",
                hint="leave the option out to go on with it, or name a folder that does not exist",
            )
    return rehearsal


async def _rehearse(
    shell: Shell, plan: Plan, folder: Path, kept: Rehearsal | None
) -> tuple[Ending, float | None]:
    """Return how the update ended, and how long that took in s; None where it had ended before."""
    from ringroad.sim.rehearsal import build, has_ended  # noqa: PLC0415 - no other command needs it
    from ringroad.sim.rehearsed import keep  # noqa: PLC0415

    vehicle = f"a {plan.variant} of {plan.programme_id}: {len(plan.ecus)} ECUs"
    shell.say(f"going on with {vehicle}" if kept else f"building {vehicle}")
    if (rehearsal := kept) is None:
        rehearsal = await build(plan, folder, clock=shell.clock, secret=secrets.token_bytes)
        rehearsal.order()
        keep(rehearsal)
    over = has_ended(read_state(folder))
    async with rehearsal.power(shell.clock):
        names = {ecu.serial: ecu.name for ecu in rehearsal.config.ecus}
        screen = Screen(shell, names)
        begun_s = shell.clock.monotonic_s()
        ending = await rehearsal.update(
            clock=shell.clock, ids=shell.ids, fraction=system_fraction, moved=screen.moved, sent=screen.sent
        )
        if over:
            return ending, None
        screen.end()
        return ending, shell.clock.monotonic_s() - begun_s


class Screen:
    """What a person sees: on a terminal a cell per ECU, drawn again and again; elsewhere a line per step."""

    def __init__(self, shell: Shell, names: Mapping[str, str]) -> None:
        self._shell = shell
        self._clock: Clock = shell.clock
        self._names = names
        self._live = sys.stdout.isatty() and not shell.json
        self._vehicle = "IDLE"
        self._states = dict.fromkeys(names, "IDLE")
        self._permille = dict.fromkeys(names, 0)
        self._drawn_lines = 0
        self._drawn_at_s = 0.0

    def moved(self, entry: Entry, state: CampaignState) -> None:
        """Show a journal entry."""
        match entry:
            case Started():
                self._states = {serial: str(state.told(serial)) for serial in self._names}
                self._permille = {
                    serial: 1_000 if ecu in _FULL else 0 for serial, ecu in self._states.items()
                }
                self._vehicle = state.state
                self._line(f"{state.state} goes on")
                for serial, ecu in self._states.items():
                    self._line(f"  {self._names[serial]:<18} {ecu}")
            case Moved():
                self._states = {serial: str(state.told(serial)) for serial in self._names}
                self._vehicle = state.state
                self._line(f"{state.state} {entry.code} {entry.detail}".rstrip())
            case Tried(code=code, detail=detail) if serial := tried_ecu(entry, state):
                self._states[serial] = str(state.told(serial))
                self._line(f"  {self._names[serial]:<18} {self._states[serial]} {code} {detail}".rstrip())
            case EcuMoved(serial=serial, state=now, code=code, detail=detail):
                self._states[serial] = str(now)
                if now in _FULL:
                    self._permille[serial] = 1_000
                elif now is EcuState.ROLLING_BACK:
                    self._permille[serial] = 0
                self._line(f"  {self._names[serial]:<18} {now} {code} {detail}".rstrip())
            case _:
                return
        self._draw(at_once=isinstance(entry, Moved))

    def sent(self, serial: str, done_bytes: int, total_bytes: int) -> None:
        """Show bytes on their way."""
        self._permille[serial] = done_bytes * 1_000 // max(1, total_bytes)
        self._draw()

    def end(self) -> None:
        """Leave the last picture."""
        self._draw(at_once=True)

    def _line(self, text: str) -> None:
        if not self._live:
            self._shell.say(text)

    def _draw(self, *, at_once: bool = False) -> None:
        now_s = self._clock.monotonic_s()
        if not self._live or (now_s - self._drawn_at_s < DRAW_S and not at_once):
            return
        self._drawn_at_s = now_s
        columns = max(1, shutil.get_terminal_size().columns // CELL)
        cells = [self._cell(serial) for serial in self._names]
        rows = -(-len(cells) // columns)
        lines = ["".join(cells[row::rows]).rstrip() for row in range(rows)]
        committed = sum(state == EcuState.COMMITTED for state in self._states.values())
        lines.append(f"{self._vehicle}: {committed} of {len(cells)} committed")
        up = f"\x1b[{self._drawn_lines}A" if self._drawn_lines else ""
        click.echo(up + "".join(f"\x1b[2K{line}\n" for line in lines), nl=False)
        self._drawn_lines = len(lines)

    def _cell(self, serial: str) -> str:
        full = self._permille[serial] * BAR // 1_000
        bar = "█" * full + "·" * (BAR - full)
        return f"{self._names[serial][:17]:<18}{bar} {self._states[serial]:<12} "


def _show(shell: Shell, plan: Plan, ending: Ending, took_s: float | None) -> None:
    value: dict[str, Any] = {
        "state": ending.state, "code": ending.code, "detail": ending.detail,
        "took_s": None if took_s is None else round(took_s, 1),
        "ecus": [
            {
                "name": ecu.name, "serial": ecu.serial, "format": ecu.format, "version": ecu.version,
                "for_good": ecu.for_good,
                **{key: plan.ecus[ecu.name][key] for key in ("bus", "os", "security", "supplier", "agent")},
            }
            for ecu in ending.ecus
        ],
    }  # fmt: skip
    lines = [
        f"  {ecu['name']:<18} {ecu['bus']:<7} {ecu['os']:<22} {ecu['security']:<19} {ecu['agent']:<10}"
        f" {ecu['format']:<8} {ecu['version'] or 'nothing'}{'' if ecu['for_good'] else ' on trial'}"
        for ecu in value["ecus"]
    ]
    versions = sorted({ecu.version or "nothing" for ecu in ending.ecus})
    runs = " and ".join(
        f"{sum((ecu.version or 'nothing') == version for ecu in ending.ecus)} run {version}"
        for version in versions
    )
    after = "as it had ended before" if took_s is None else f"after {took_s:.1f} s"
    reason = f" ({': '.join(part for part in (ending.code, ending.detail) if part)})" if ending.code else ""
    summary = f"{ending.state}{reason}: of {len(ending.ecus)} ECUs {runs}, {after}"
    shell.show(value, text="\n".join([*lines, summary]))
