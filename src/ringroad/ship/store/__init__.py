"""The ship stage's I/O: campaigns, reports, manifests and bundles in PostgreSQL.

Functions take the caller's connection and return frozen values; the caller opens the transaction, except
where a docstring says that a function does.
"""

from ringroad.ship.model import Campaign
from ringroad.ship.store.bundles import (
    PendingBundle,
    Withdrawal,
    bundles_to_issue,
    bundles_to_withdraw,
    mark_issued,
    mark_refused,
    mark_withdrawn,
)
from ringroad.ship.store.campaigns import (
    abort,
    apply_decision,
    approve,
    create_campaign,
    halt,
    save_plan,
    start,
)
from ringroad.ship.store.decisions import record_gate_decision, tell_harm
from ringroad.ship.store.halts import read_halted_before, read_harmed_elsewhere
from ringroad.ship.store.judging import judge_again
from ringroad.ship.store.locks import hold_as_read, try_hold
from ringroad.ship.store.manifests import apply_manifest, lock_vehicle
from ringroad.ship.store.pausing import is_silence_accepted, is_unknown_accepted, is_withdrawn, pause, resume
from ringroad.ship.store.planning import usual_seed
from ringroad.ship.store.reading import (
    SavedPlan,
    count_busy,
    count_certificates_ending,
    count_skip_unknown,
    list_assignments,
    list_campaigns,
    list_gate_decisions,
    list_targets,
    read_campaign,
    read_expiries,
    read_images,
    read_inventory,
    read_known,
    read_levels,
    read_plan,
    read_release,
    read_signed_releases,
    read_vehicle,
    read_vehicles,
    read_vocabulary,
    read_wave_progress,
    read_waves,
)
from ringroad.ship.store.reports import expire_deadlines, fold_reports
from ringroad.ship.store.returns import (
    halted_unswept,
    order_back_missed,
    order_returns,
    read_before,
    read_return_plan,
)
from ringroad.ship.store.selecting import preview_query, select_vins
from ringroad.ship.store.steps import settle_steps
from ringroad.ship.store.waves import offer_waiting, release_wave
from ringroad.ship.store.zones import set_time_zone

__all__ = [
    "Campaign",
    "PendingBundle",
    "SavedPlan",
    "Withdrawal",
    "abort",
    "apply_decision",
    "apply_manifest",
    "approve",
    "bundles_to_issue",
    "bundles_to_withdraw",
    "count_busy",
    "count_certificates_ending",
    "count_skip_unknown",
    "create_campaign",
    "expire_deadlines",
    "fold_reports",
    "halt",
    "halted_unswept",
    "hold_as_read",
    "is_silence_accepted",
    "is_unknown_accepted",
    "is_withdrawn",
    "judge_again",
    "list_assignments",
    "list_campaigns",
    "list_gate_decisions",
    "list_targets",
    "lock_vehicle",
    "mark_issued",
    "mark_refused",
    "mark_withdrawn",
    "offer_waiting",
    "order_back_missed",
    "order_returns",
    "pause",
    "preview_query",
    "read_before",
    "read_campaign",
    "read_expiries",
    "read_halted_before",
    "read_harmed_elsewhere",
    "read_images",
    "read_inventory",
    "read_known",
    "read_levels",
    "read_plan",
    "read_release",
    "read_return_plan",
    "read_signed_releases",
    "read_vehicle",
    "read_vehicles",
    "read_vocabulary",
    "read_wave_progress",
    "read_waves",
    "record_gate_decision",
    "release_wave",
    "resume",
    "save_plan",
    "select_vins",
    "set_time_zone",
    "settle_steps",
    "start",
    "tell_harm",
    "try_hold",
    "usual_seed",
]
