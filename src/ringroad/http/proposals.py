"""Build: what clones found, proposed to their parents: proved on the parent's twin, accepted by a second person, tried."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from litestar import Router
from litestar.params import JSONBody, Parameter

from ringroad.build.clone import store_proposals as store
from ringroad.build.clone.store import save_told
from ringroad.build.clone.store_proposals import Proposal
from ringroad.build.clone.sums import CloneSums, sums_from
from ringroad.build.plant.parameters import path_text
from ringroad.build.store_replanned import replanned
from ringroad.http.auth import Role
from ringroad.http.clones import LessonView, lesson_view
from ringroad.http.context import Ctx
from ringroad.http.routes import Approve, Command, Id, InState, Limit, Reason, Req, route
from ringroad.http.views import View

SUMS_BYTES_MAX = 4 << 20  # of a message: 5,000 parameters and rooms with long names
OfPlant = Annotated[
    str | None, Parameter(pattern=r"^[A-Za-z0-9_.:\-]{1,200}$", description="Only to this plant, or of it")
]


class Sums(Command, frozen=True, kw_only=True):
    """What a clone of another server says to its parents, as `GET /plants/{plant_id}/sums` gives it."""

    sums: dict[str, Any]


class ShiftView(View, frozen=True, kw_only=True):
    """One parameter that would be another one."""

    key: str
    percent: float  # of a time or a rate, by how much more; of a share, in percent of its odds
    low: float  # at the parent, between these with probability 0.9
    high: float
    better: float  # probability that it is better by 2 %, at the clone
    own_n: float  # observations of the clone that it rests on


class ProofView(View, frozen=True, kw_only=True):
    """What the parent's twin said."""

    proved: bool
    reason: str
    runs: int
    better_permille: int
    end_s: list[int]  # when the last vehicle leaves, as it is and as it would be
    gain_s: list[int]  # how much earlier: 5 % quantile, mean, 95 % quantile
    plant_generation: int = 0  # of the parent's document that it ran; 0: the line in the programme's file


class MeasuredView(View, frozen=True, kw_only=True):
    """One measure of a trial."""

    name: str
    before: float | None
    after: float | None
    n: float
    better: float  # probability
    before_n: float = 0.0  # observations that `before` rests on
    believed: bool = False  # `before` is what the document said, as too little was measured


class TrialView(View, frozen=True, kw_only=True):
    """What was measured at the parent since somebody accepted."""

    outcome: str
    reason: str
    looked_n: int
    measured: list[MeasuredView]


class ProposalView(View, frozen=True, kw_only=True):
    """What a clone found, and what became of it at a parent."""

    id: str
    parent_id: str
    clone_id: str
    what: str  # station, balance or buffer
    line: str
    state: str  # open, proved, refused, rejected, trial, kept or withdrawn
    generation: int
    shifts: list[ShiftView]
    rooms: dict[str, int]
    outdated: bool  # the parent's document is another one than the twin proved it on: it is asked again
    proof: ProofView | None
    trial: TrialView | None
    proposed_by: str
    proposed_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    ended_at: datetime | None


class ProposedView(View, frozen=True, kw_only=True):
    """What was proposed, to whom."""

    parents: list[str]
    proposals: list[ProposalView]  # new ones


@route("GET", "/plants/{plant_id:str}/sums", role=Role.VIEWER, tag="build", errors=[404, 422])
def show_sums(ctx: Ctx, *, plant_id: Id) -> dict[str, Any]:
    """Read all that travels from a clone to its parents: three numbers of each parameter, and room before stations."""
    with ctx.connection() as conn:
        return store.sums_of_plant(conn, plant_id).to_document()


@route("POST", "/plants/{plant_id:str}/propose", role=Role.OPERATOR, tag="build", errors=[404, 422])
def propose(ctx: Ctx, request: Req, plant_id: Id) -> ProposedView:
    """Propose what a clone found to its parents. What is on its way already is not proposed again."""
    with ctx.connection() as conn:
        sums = store.sums_of_plant(conn, plant_id)
    return _propose(ctx, request, sums)


@route(
    "POST", "/clone-sums", role=Role.OPERATOR, tag="build", errors=[413, 422], body_bytes_max=SUMS_BYTES_MAX
)
def take_sums(ctx: Ctx, request: Req, data: JSONBody[Sums]) -> ProposedView:
    """Propose what a clone of another server found, from what it says to its parents."""
    return _propose(ctx, request, sums_from(data.sums))


@route(
    "POST", "/clone-lessons", role=Role.OPERATOR, tag="build", errors=[404, 409, 413, 422],
    body_bytes_max=SUMS_BYTES_MAX,
)  # fmt: skip
def learn_from_sums(ctx: Ctx, request: Req, data: JSONBody[Sums]) -> LessonView:
    """Let the document of a clone that builds elsewhere learn from what that says to its parents."""
    sums = sums_from(data.sums)
    with ctx.transaction() as conn, replanned(conn, ctx.ids, ctx.clock, actor=request.user.name):
        return lesson_view(*save_told(conn, ctx.ids, sums=sums, actor=request.user.name, now=ctx.clock.now()))


@route("GET", "/proposals", role=Role.VIEWER, tag="build")
def list_proposals(
    ctx: Ctx, *, plant_id: OfPlant = None, in_state: InState = None, limit: Limit = 100
) -> list[ProposalView]:
    """List what clones proposed, newest first."""
    with ctx.connection() as conn:
        found = store.list_proposals(conn, plant_id=plant_id, state=in_state, limit=limit)
        return [proposal_view(each) for each in found]


@route("GET", "/proposals/{proposal_id:str}", role=Role.VIEWER, tag="build", errors=[404])
def get_proposal(ctx: Ctx, *, proposal_id: Id) -> ProposalView:
    """Read a proposal with what the twin said and what was measured."""
    with ctx.connection() as conn:
        return proposal_view(store.get_proposal(conn, proposal_id))


@route(
    "POST",
    "/proposals/{proposal_id:str}/accept",
    role=Role.APPROVER,
    tag="build",
    errors=[403, 404, 409, 422],
)
def accept_proposal(ctx: Ctx, request: Req, proposal_id: Id, data: JSONBody[Approve]) -> ProposalView:
    """Try at the parent what its twin proved; whoever proposed it cannot accept it, and the line replans."""
    with ctx.transaction() as conn, replanned(conn, ctx.ids, ctx.clock, actor=request.user.name):
        found = store.accept(
            conn, ctx.ids, proposal_id=proposal_id, generation=data.generation, actor=request.user.name,
            now=ctx.clock.now(),
        )  # fmt: skip
        return proposal_view(found)


@route("POST", "/proposals/{proposal_id:str}/reject", role=Role.APPROVER, tag="build", errors=[404, 409, 422])
def reject_proposal(ctx: Ctx, request: Req, proposal_id: Id, data: JSONBody[Reason]) -> ProposalView:
    """Leave the parent as it is."""
    with ctx.transaction() as conn:
        store.reject(
            conn, ctx.ids, proposal_id=proposal_id, generation=data.generation, reason=data.reason,
            actor=request.user.name, now=ctx.clock.now(),
        )  # fmt: skip
        return proposal_view(store.get_proposal(conn, proposal_id))


@route(
    "POST", "/proposals/{proposal_id:str}/withdraw", role=Role.APPROVER, tag="build", errors=[404, 409, 422]
)
def withdraw_proposal(ctx: Ctx, request: Req, proposal_id: Id, data: JSONBody[Reason]) -> ProposalView:
    """Take back what is on trial: the parent believes again what it did before."""
    with ctx.transaction() as conn, replanned(conn, ctx.ids, ctx.clock, actor=request.user.name):
        store.withdraw(
            conn, ctx.ids, proposal_id=proposal_id, generation=data.generation, reason=data.reason,
            actor=request.user.name, now=ctx.clock.now(),
        )  # fmt: skip
        return proposal_view(store.get_proposal(conn, proposal_id))


def proposal_view(proposal: Proposal) -> ProposalView:
    """Return a proposal as people read it."""
    found = proposal.improvement
    return ProposalView(
        what=found.what,
        line=path_text(found.line),
        shifts=[
            ShiftView(
                key=str(each.key), better=each.better, own_n=each.own_n,
                percent=each.percent(), low=each.percent(-1), high=each.percent(1),
            )
            for each in found.shifts
        ],
        rooms={path_text(path): room for path, room in found.rooms},
        proof=_proof_view(proposal.proof) if proposal.proof else None,
        trial=_trial_view(proposal.trial) if proposal.trial else None,
        **{name: getattr(proposal, name) for name in _SAME},
    )  # fmt: skip


_SAME = (
    "id", "parent_id", "clone_id", "state", "generation", "proposed_by", "proposed_at", "decided_by", "decided_at",
    "ended_at", "outdated",
)  # fmt: skip


def _proof_view(document: Mapping[str, Any]) -> ProofView:
    return ProofView(**{name: document[name] for name in ProofView.__struct_fields__ if name in document})


def _trial_view(document: Mapping[str, Any]) -> TrialView:
    measured = [MeasuredView(**each) for each in document["measured"]]
    return TrialView(
        outcome=document["outcome"], reason=document["reason"], looked_n=document["looked_n"], measured=measured
    )  # fmt: skip


def _propose(ctx: Ctx, request: Req, sums: CloneSums) -> ProposedView:
    with ctx.transaction() as conn:
        made, parents = store.propose(conn, ctx.ids, sums=sums, actor=request.user.name, now=ctx.clock.now())
        return ProposedView(parents=parents, proposals=[proposal_view(each) for each in made])


router = Router(
    "/",
    route_handlers=[
        show_sums, propose, take_sums, learn_from_sums, list_proposals, get_proposal, accept_proposal, reject_proposal, withdraw_proposal,
    ],
)  # fmt: skip
