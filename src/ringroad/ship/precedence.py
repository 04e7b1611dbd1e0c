"""Which of several campaigns goes first where they share vehicles. Pure.

A campaign with a higher priority is served first; an emergency recall goes before every priority, and what only
waits at its vehicles gives way to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby


def in_order(levels: Mapping[str, int]) -> list[list[str]]:
    """Return campaigns in tiers of one level each, the first to be served first."""
    ordered = sorted(levels, key=lambda campaign: (-levels[campaign], campaign))
    return [list(tier) for _, tier in groupby(ordered, key=levels.__getitem__)]


def higher_than(levels: Mapping[str, int], campaign: str) -> list[str]:
    """Return the campaigns that are served before this one."""
    return sorted(other for other, level in levels.items() if levels.get(campaign, 0) < level)


def lower_than(levels: Mapping[str, int], campaign: str) -> list[str]:
    """Return the campaigns that are served after this one."""
    return sorted(other for other, level in levels.items() if level < levels.get(campaign, 0))
