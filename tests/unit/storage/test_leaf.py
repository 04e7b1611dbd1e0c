"""What a hub gives a site: read back whole, or refused with what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ringroad.kernel.clock import SystemClock
from ringroad.kernel.errors import Corrupt, InvalidInput
from ringroad.storage.endpoints import embedded_broker
from ringroad.storage.leaf import (
    Credentials,
    Listening,
    leaf_config,
    read_credentials,
    store_credentials,
    stored_credentials,
)
from ringroad.storage.pki import pki_in
from ringroad.storage.settings import Settings

GIVEN = Credentials(
    site="wren", hub="hub.example.com:7422", token="t" * 43, ca="-----BEGIN CERTIFICATE-----\n"
)


def test_credentials_read_back(tmp_path: Path) -> None:
    assert read_credentials(GIVEN.to_text(), what="wren.json") == GIVEN
    assert stored_credentials(tmp_path / "site") is None
    store_credentials(tmp_path / "site", GIVEN)
    assert stored_credentials(tmp_path / "site") == GIVEN
    assert (tmp_path / "site" / "credentials.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "another version"),
        ({"site": "Wren"}, "cannot be a site's name"),
        ({"site": "a.b"}, "cannot be a site's name"),
        ({"site": ""}, "cannot be a site's name"),
        ({"hub": "hub.example.com"}, "no address"),
        ({"hub": "hub example:7422"}, "no address"),
        ({"hub": 'x" } evil: "y:7422'}, "no address"),
        ({"hub": ":7422"}, "no address"),
        ({"token": "short"}, "no token"),
        ({"token": "t" * 42 + '"'}, "no token"),
    ],
)
def test_what_could_not_work_is_refused_with_the_file_s_name(
    changes: dict[str, object], message: str
) -> None:
    text = json.dumps({**json.loads(GIVEN.to_text()), **changes})
    with pytest.raises(InvalidInput, match=message):
        read_credentials(text, what="wren.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"format": 1}'])
def test_another_file_is_no_credentials(text: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"wren\.json is no site's credentials"):
        read_credentials(text, what="wren.json")
    (tmp_path / "credentials.json").write_text(text)
    with pytest.raises(Corrupt, match="does not read back"):
        stored_credentials(tmp_path)


def test_only_a_hub_listens_and_only_a_site_dials() -> None:
    folder = Path("/var/site")
    hub = leaf_config(Listening(host="127.0.0.1", port=7422, pki=pki_in(Path("/var/pki"))), folder=folder)
    site = leaf_config(GIVEN, folder=folder)
    assert leaf_config(None, folder=folder) == ""
    assert "listen:" in hub
    assert "remotes" not in hub
    assert "remotes" in site
    assert "tls://site-wren:" in site
    assert "listen" not in site


def test_an_installation_becomes_a_hub_by_a_setting_and_a_site_by_joining(tmp_path: Path) -> None:
    plain = embedded_broker(Settings(var=tmp_path), SystemClock())
    assert (plain.name, plain.domain, plain.leaf) == ("ringroad", "hub", "")
    hub = embedded_broker(Settings(var=tmp_path, leaf_port=7422), SystemClock())
    assert "7422" in hub.leaf
    store_credentials(tmp_path / "site", GIVEN)
    site = embedded_broker(Settings(var=tmp_path), SystemClock())
    assert (site.name, site.domain) == ("site-wren", "site-wren")
    assert "remotes" in site.leaf
