"""Clone a plant, and let the clone learn: documents in, documents out.

Pure. Invariants: a clone has its parent's structure, hash for hash, and none of its bindings; what it observed is never
mixed with what it inherited before, so that learning twice from the same observations changes nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from ringroad.build.clone.inherit import inherit
from ringroad.build.clone.learn import Clone, Learned, belief_of, learn
from ringroad.build.clone.remember import remember_all
from ringroad.build.model import Line
from ringroad.build.plant.model import Identity, Plant
from ringroad.build.plant.parameters import Key
from ringroad.build.plant.posterior import Origin, Posterior, observed_times
from ringroad.build.twin.drift import WorkTime
from ringroad.kernel.errors import Conflict, InvalidInput
from ringroad.kernel.hours import find_zone

DECIDED: Final = frozenset({"inspects", "inspects_all"})  # by people: copied as it is, never learned
KEYS_AT_ONCE: Final = 1_000  # parameters of one kind that are weighed together; some 200 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What a plant made of its observations.

    Attributes:
        plant: with its new beliefs.
        parents: ids of the plants it inherited from; none: it is nobody's clone.
        kinds: what was found of the parameters of one kind, for example of all ``cycle_s``.
    """

    plant: Plant
    parents: tuple[str, ...]
    kinds: tuple[tuple[str, Clone], ...]

    @property
    def different(self) -> tuple[Learned, ...]:
        """Parameters that are locally different: this is not what was copied."""
        return tuple(each for _, clone in self.kinds for each in clone.learned if each.is_different)


def clone_plant(parent: Plant, mature: Iterable[Plant], *, identity: Identity, now: datetime) -> Lesson:
    """Return a plant with another one's structure, which believes what it may before it built anything.

    Args:
        parent: whose structure is copied.
        mature: other plants of the same structure that are nobody's clones.
        identity: who the clone is; its parent is set.
        now: when.

    Raises:
        Conflict: the clone would be its own parent.
        InvalidInput: there is no such time zone.
    """
    if identity.time_zone and find_zone(identity.time_zone) is None:
        raise InvalidInput(
            f"there is no time zone {identity.time_zone!r}", hint="an IANA name, for example Europe/Oslo"
        )
    if identity.id == parent.id:
        raise Conflict(f"{parent.id} cannot be its own clone")
    empty = Plant(
        identity=replace(identity, parent=parent.id), structure=parent.structure, parameters=parent.parameters
    )
    return learn_plant(empty, parents_of(empty, [parent, *mature]), {}, now=now)


def parents_of(plant: Plant, known: Iterable[Plant]) -> tuple[Plant, ...]:
    """Return those that a plant inherits from: its parent, and others of the same structure that are nobody's clones.

    A clone's beliefs hold what it inherited; beside its parent it would count that twice.
    """
    found = {
        each.id: each
        for each in known
        if each.id != plant.id
        and (
            each.id == plant.identity.parent
            or (not each.identity.parent and each.structure_sha256 == plant.structure_sha256)
        )
    }
    return tuple(found[name] for name in sorted(found))


def learn_plant(
    plant: Plant,
    parents: Sequence[Plant],
    own: Mapping[Key, Posterior],
    *,
    now: datetime,
    taken: Mapping[Key, tuple[Posterior, Posterior | None]] | None = None,
) -> Lesson:
    """Return a clone's beliefs, from its parents' and its own observations; what people decided stays as it is.

    Args:
        plant: as it is now.
        parents: that it inherits from.
        own: what it observed itself.
        now: when.
        taken: what it took over from a clone of its own: the belief that it was moved to, and what it observed since.
            Its parents say nothing of that any more, so it adds up by itself.

    Raises:
        InvalidInput: it has no parent here, or observed something that it does not have.
    """
    if not parents:
        raise InvalidInput(
            f"plant {plant.id} has no parent here",
            hint=f"import the document of {plant.identity.parent or 'the plant it was cloned from'}: ringroad plant import FILE",
        )
    if unknown := sorted(own.keys() - plant.parameters.keys()):
        raise InvalidInput(f"plant {plant.id} has no parameter {unknown[0]}")
    beliefs = dict(plant.parameters)
    taken = {key: each for key, each in (taken or {}).items() if key in beliefs}
    kinds: list[tuple[str, Clone]] = []
    inherited = [
        key
        for key in sorted(plant.parameters)
        if key.kind not in DECIDED and key not in taken and any(key in each.parameters for each in parents)
    ]
    for kind, keys in itertools.groupby(sorted(inherited, key=_kind), key=_kind):
        for some in _parts(keys):
            found = inherit({each.id: each.parameters for each in parents}, some)
            clone = learn(found, {key: own[key] for key in some if key in own})
            kinds.append((kind, clone))
            for learned, noise in zip(clone.learned, found.noise, strict=True):
                like = own.get(learned.key, plant.parameters[learned.key])
                origin = Origin(plant=plant.id if learned.own_n else plant.identity.parent, learned_at=now)
                belief = belief_of(
                    learned, like=like, noise=float(noise), parents=found.parents, origin=origin
                )
                if not _same(belief, plant.parameters[learned.key]):
                    beliefs[learned.key] = belief
    moved = {key: before for key, (before, _) in taken.items()}
    since = {key: each for key, (_, each) in taken.items() if each is not None}
    new, _ = remember_all(moved, since, origin=Origin(plant=plant.id, learned_at=now))
    beliefs |= {key: each for key, each in {**moved, **new}.items() if not _same(each, plant.parameters[key])}
    return Lesson(
        plant=replace(plant, parameters=beliefs),
        parents=tuple(each.id for each in parents),
        kinds=tuple(kinds),
    )


def remember_plant(plant: Plant, imported: Plant, own: Mapping[Key, Posterior], *, now: datetime) -> Lesson:
    """Return the beliefs of a plant that is nobody's clone, from its own observations.

    Args:
        plant: as it is now.
        imported: as somebody imported it last, before it learned anything.
        own: what it observed since then.
        now: when.

    Raises:
        InvalidInput: it observed something that it does not have.
    """
    new, kinds = remember_all(imported.parameters, own, origin=Origin(plant=plant.id, learned_at=now))
    beliefs = dict(plant.parameters)
    for key, belief in new.items():
        if not _same(belief, beliefs[key]):
            beliefs[key] = belief
    return Lesson(plant=replace(plant, parameters=beliefs), parents=(), kinds=kinds)


def observed(plant: Plant, line: Line, programme_id: str, times: Iterable[WorkTime]) -> dict[Key, Posterior]:
    """Return the sums of a line's measured station times: of the work itself, without what options add."""
    built = next(each for each in plant.structure.lines if each.programme == programme_id)
    stations = {station.name: station for station in line.stations}
    seconds: dict[str, list[float]] = {}
    for time in times:
        station = stations.get(time.station)
        if station is None:
            continue
        work = time.worked_s - sum(s for option, s in station.extra_s.items() if option in time.features)
        if work > 0:
            seconds.setdefault(time.station, []).append(work)
    origin = Origin(plant=plant.id)
    return {
        Key((built.area, built.name, name), "cycle_s"): observed_times(each, origin=origin)
        for name, each in seconds.items()
    }


def observed_passes(
    plant: Plant, programme_id: str, passes: Mapping[str, tuple[int, int]]
) -> dict[Key, Posterior]:
    """Return the sums of what a line's checks found, of stations whose first pass the document believes something of.

    Args:
        plant: its document.
        programme_id: whose line.
        passes: by station, vehicles that were checked, and of these right at once.
    """
    built = next(each for each in plant.structure.lines if each.programme == programme_id)
    keys = {
        name: Key((built.area, built.name, name), "first_pass")
        for name, (vehicles, _) in passes.items()
        if vehicles
    }
    return {
        key: Posterior(
            family="share", n=passes[name][0], total=passes[name][1], origin=Origin(plant=plant.id)
        )
        for name, key in keys.items()
        if key in plant.parameters
    }


def _same(one: Posterior, other: Posterior) -> bool:
    """Whether two beliefs rest on the same sums: then nothing was learned."""
    return (one.n, one.total, one.squares) == (other.n, other.total, other.squares)


def _kind(key: Key) -> str:
    return key.kind


def _parts(keys: Iterable[Key]) -> Iterable[tuple[Key, ...]]:
    every = tuple(keys)
    return (every[at : at + KEYS_AT_ONCE] for at in range(0, len(every), KEYS_AT_ONCE))
