"""Update agents of others: found only where the vehicle's own configuration allows it, and refused before any import."""

from __future__ import annotations

import asyncio
import sys
from importlib.metadata import DistributionFinder, PathDistribution
from pathlib import Path

import pytest

from ringroad.kernel.errors import InvalidInput
from ringroad.vehicle.agents.ab import AbAgent
from ringroad.vehicle.agents.base import Failed, Reason, UpdateAgent
from ringroad.vehicle.agents.disk import RealDisk
from ringroad.vehicle.agents.folders import ContainerAgent, FilesAgent
from ringroad.vehicle.agents.plugins import AgentSite, factory_of
from ringroad.vehicle.config import EcuConfig, VehicleConfig, read_config, write_config
from ringroad.vehicle.connect import connect_agents

MODULE = "acme_agent_for_the_test"
CODE = """
class Agent:
    def __init__(self, site):
        self.site = site
refusal = "no agent"
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A supplier's module on the path, and a distribution that declares it."""
    folder = tmp_path / "site"
    metadata = folder / "acme_agents-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / f"{MODULE}.py").write_text(CODE)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-agents\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[ringroad.update_agents]\ndoor = {MODULE}:Agent\n")
    assert PathDistribution(metadata).version == "1.0"
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    DistributionFinder.invalidate_caches  # noqa: B018 - the path finder looks again since the path changed
    return folder


@pytest.mark.parametrize("where", [f"{MODULE}:Agent", "entry-point:acme-agents"])
def test_an_allowed_agent_is_loaded_by_path_and_by_entry_point(installed: Path, where: str) -> None:
    assert factory_of("door", {"door": where}).__name__ == "Agent"


def test_what_is_installed_but_not_allowed_is_never_imported(installed: Path) -> None:
    with pytest.raises(InvalidInput, match="no update agent 'door'"):
        factory_of("door", {})
    with pytest.raises(InvalidInput, match="no update agent"):
        factory_of(f"{MODULE}:Agent", {"door": f"{MODULE}:Agent"})
    assert MODULE not in sys.modules


@pytest.mark.parametrize(
    ("allowed", "message"),
    [
        ({"uds": f"{MODULE}:Agent"}, "the name of an agent that comes with"),
        ({"door": "missing_module_of_nobody:Agent"}, "cannot be imported"),
        ({"door": f"{MODULE}:Nothing"}, "has no Nothing"),
        ({"door": f"{MODULE}:refusal"}, "cannot be called"),
        ({"door": MODULE}, "no way to code"),
        ({"door": f"{MODULE}:Agent.method"}, "no way to code"),
        ({"door": "../door.py:Agent"}, "no way to code"),
        ({"door": "entry-point:not-installed-at-all"}, "is not installed"),
        ({"door": "entry-point:"}, "names no distribution"),
        ({"window": "entry-point:acme-agents"}, "declares 0 such entry points"),
    ],
)
def test_what_leads_nowhere_is_refused_with_a_reason(
    installed: Path, allowed: dict[str, str], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        factory_of(next(iter(allowed)), allowed)


def ecu(name: str, **fields: object) -> EcuConfig:
    given = {"hardware_id": "hw", "mode": "ab", "key_file": "key.pem", "serial": f"{name}-1", **fields}
    return EcuConfig(name=name, **given)  # type: ignore[arg-type]


def test_a_vehicle_takes_each_ecu_to_the_agent_that_its_configuration_names(
    installed: Path, tmp_path: Path
) -> None:
    config = VehicleConfig(
        vin="WRRDEM12XTA000001",
        server_url="https://localhost",
        plugins={"door": f"{MODULE}:Agent"},
        ecus=(
            ecu("central", host="127.0.0.1", primary=True),
            ecu("maps", agent="files", settings={"file": "maps.db"}),
            ecu("apps", agent="container", settings={"restart": "systemctl restart apps"}),
            ecu("door", serial="no/../name for a folder", agent="door", settings={"side": 2, "slow": True}),
        ),
    )
    write_config(tmp_path, config, durability="buffered")
    assert read_config(tmp_path) == config
    agents = connect_agents(tmp_path, config)
    kinds = [type(agents[one.serial]).__name__ for one in config.ecus]
    assert kinds == [AbAgent.__name__, FilesAgent.__name__, ContainerAgent.__name__, "Agent"]
    site: AgentSite = agents["no/../name for a folder"].site  # type: ignore[attr-defined]
    assert (dict(site.settings), site.channel) == ({"side": 2, "slow": True}, None)
    assert site.folder.is_dir()
    assert site.folder.parent == tmp_path / "agents"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"agent": "uds"}, "needs one way"),
        ({"agent": "files", "settings": {"fiel": "x"}}, "unknown setting 'fiel'"),
        ({"agent": "files", "settings": {"file": "a/b"}}, "a name, not a path"),
        ({"agent": "files", "settings": {"file": 3}}, "needs the setting file"),
        ({"agent": "container", "mode": "inplace"}, 'its mode is "ab"'),
        ({"agent": "uds", "host": "h", "settings": {"x": 1}}, "unknown setting 'x'"),
    ],
)
def test_an_ecu_that_its_agent_cannot_serve_stops_the_start(
    tmp_path: Path, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        connect_agents(
            tmp_path,
            VehicleConfig(
                vin="WRRDEM12XTA000001",
                server_url="https://localhost",
                ecus=(ecu("one", primary=True, **fields),),
            ),
        )


def test_an_agent_that_cannot_be_had_is_stood_in_for_and_one_that_hides_ours_stops_the_start(
    tmp_path: Path,
) -> None:
    def agents(plugins: dict[str, str]) -> dict[str, UpdateAgent]:
        ecus = (ecu("one", primary=True, host="h"), ecu("door", agent="door"))
        config = VehicleConfig(vin="WRRDEM12XTA000001", server_url="https://x", ecus=ecus, plugins=plugins)
        return connect_agents(tmp_path, config)

    for plugins in ({}, {"door": "missing_module_of_nobody:Agent"}):
        found = agents(plugins)
        assert isinstance(found["one-1"], AbAgent)
        answer = asyncio.run(found["door-1"].inventory())
        assert isinstance(answer, Failed)
        assert (answer.reason, answer.retryable) == (Reason.NO_AGENT, False)
        assert "door" in answer.detail
    with pytest.raises(InvalidInput, match="comes with Ringroad"):
        agents({"uds": "missing_module_of_nobody:Agent"})


def test_an_agent_cannot_have_room_outside_of_the_vehicles_folder(tmp_path: Path) -> None:
    site = AgentSite(
        name="n",
        serial="s",
        hardware_id="h",
        mode="ab",
        folder=tmp_path,
        disk=RealDisk("buffered"),
        settings={},
    )
    with pytest.raises(InvalidInput, match="needs the setting url"):
        site.setting("url")
