"""What a fault's status says, alike for whoever tells of faults and for whoever counts them. Pure.

Source: ISO 14229-1, annex D.2, for the status bits.
"""

from __future__ import annotations

from typing import Final

TEST_FAILED: Final = 0x01
ACTIVE: Final = 0x0D  # failing, pending or confirmed: what a fault memory lists
# In the snapshot of a fault's change: how often it began to fail between the change before and this one, in changes
# that were left out. In an overlay of VSS, so that servers from before keep it as any other value.
FOLDED_PATH: Final = "Vehicle.Ringroad.Fault.Folded"
# Likewise: seconds for which a change waited before it was told, where it had none of its own seconds around it.
WAITED_PATH: Final = "Vehicle.Ringroad.Fault.WaitedS"


def began(before: int, now: int) -> bool:
    """Say whether a fault began to fail: its test fails and did not, or it is back after it was cleared."""
    if now & TEST_FAILED:
        return not before & TEST_FAILED
    return bool(now & ACTIVE) and not before & ACTIVE
