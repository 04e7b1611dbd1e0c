"""The agents that speak UDS to their ECU, by how it keeps its software."""

from __future__ import annotations

from ringroad.kernel.errors import InvalidInput
from ringroad.vehicle.agents.ab import AbAgent
from ringroad.vehicle.agents.base import UpdateAgent
from ringroad.vehicle.agents.inplace import UdsInplaceAgent
from ringroad.vehicle.agents.plugins import AgentSite
from ringroad.vehicle.agents.session import EcuAccess
from ringroad.vehicle.uds import UdsChannel


def make_agent(site: AgentSite) -> UpdateAgent:
    """Return the agent of an ECU behind UDS. Raises: InvalidInput, if there is no way to it."""
    channel, access = way(site)
    site.known()
    return AbAgent(channel, access) if site.mode == "ab" else UdsInplaceAgent(channel, access)


def way(site: AgentSite) -> tuple[UdsChannel, EcuAccess]:
    """Return an ECU's channel and access. Raises: InvalidInput, if it has none."""
    if site.channel is None or site.access is None:
        raise InvalidInput(
            f"{site.name} needs one way to it", hint="host of its DoIP entity, or a table [ecus.can]"
        )
    return site.channel, site.access
