"""Whom failed logins slow down, when there are proxies between."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.http.auth import PROXIES_MAX, caller_address, came_over_tls
from ringroad.kernel.errors import InvalidInput
from ringroad.storage.settings import Settings

PROXIES = (ip_network("10.0.0.0/24"), ip_network("fd00::/64"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "caller"),
    [
        ("198.51.100.7", [], "198.51.100.7"),
        ("198.51.100.7", ["203.0.113.9"], "198.51.100.7"),  # forged: it is no proxy of ours
        ("10.0.0.5", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.5", ["198.51.100.1, 203.0.113.9"], "203.0.113.9"),  # the left one is the caller's own word
        ("10.0.0.5", ["198.51.100.1", "203.0.113.9"], "203.0.113.9"),  # a header each
        ("10.0.0.5", ["10.0.0.77, 203.0.113.9"], "203.0.113.9"),  # nor can it pass for a proxy
        ("10.0.0.5", ["203.0.113.9, 10.0.0.8, fd00::2"], "203.0.113.9"),
        ("fd00::1", ["2001:db8::9"], "2001:db8::9"),
        ("::ffff:10.0.0.5", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.5", ["::ffff:203.0.113.9"], "203.0.113.9"),
        ("10.0.0.5", ["203.0.113.9:4711"], "203.0.113.9"),
        ("10.0.0.5", ["[2001:db8::9]:4711"], "2001:db8::9"),
        ("10.0.0.5", ["nonsense, 203.0.113.9"], "203.0.113.9"),
        # What names nobody slows down no address: it would be everybody's.
        ("10.0.0.5", [], ""),
        ("10.0.0.5", [""], ""),
        ("10.0.0.5", ["unknown"], ""),
        ("10.0.0.5", ["203.0.113.9, unknown"], ""),
        ("10.0.0.5", ["203.0.113.9,"], ""),
        ("10.0.0.5", ["10.0.0.6"], ""),
        ("10.0.0.5", [", ".join(["203.0.113.9", *["10.0.0.6"] * PROXIES_MAX])], ""),
        ("", ["203.0.113.9"], ""),  # a socket file
    ],
)
def test_the_caller_is_whom_our_own_proxies_heard(peer: str, forwarded: list[str], caller: str) -> None:
    assert caller_address(peer, forwarded, PROXIES) == caller


@given(st.lists(st.text(max_size=40), max_size=4))
def test_nothing_that_a_caller_writes_makes_it_another(written: list[str]) -> None:
    assert caller_address("198.51.100.7", written, PROXIES) == "198.51.100.7"
    assert caller_address("10.0.0.5", [*written, "203.0.113.9"], PROXIES) == "203.0.113.9"
    assert caller_address("198.51.100.7", written, ()) == "198.51.100.7"


@pytest.mark.parametrize(
    ("scheme", "peer", "forwarded", "tls"),
    [
        ("https", "198.51.100.7", [], True),
        ("https", "198.51.100.7", ["http"], True),  # what we see ourselves is not talked away
        ("http", "198.51.100.7", [], False),
        ("http", "198.51.100.7", ["https"], False),  # forged: it is no proxy of ours
        ("http", "10.0.0.5", ["https"], True),
        ("http", "::ffff:10.0.0.5", ["HTTPS"], True),
        ("http", "10.0.0.5", ["https, http"], True),  # TLS ends at the outer proxy
        ("http", "10.0.0.5", ["https", "http"], True),
        ("http", "10.0.0.5", ["http, https"], False),
        ("http", "10.0.0.5", [], False),
        ("http", "10.0.0.5", [""], False),
        ("http", "10.0.0.5", ["httpss"], False),
        ("http", "", ["https"], False),
    ],
)
def test_only_our_own_proxies_say_that_a_caller_came_over_tls(
    scheme: str, peer: str, forwarded: list[str], *, tls: bool
) -> None:
    assert came_over_tls(scheme, peer, forwarded, PROXIES) is tls
    assert came_over_tls(scheme, peer, forwarded, ()) is (scheme == "https")


def test_the_setting_takes_addresses_and_networks() -> None:
    assert Settings(trusted_proxies=" 127.0.0.1, 10.0.0.0/24,::1 ").proxies == (
        ip_network("127.0.0.1/32"), ip_network("10.0.0.0/24"), ip_network("::1/128"),
    )  # fmt: skip
    assert Settings().proxies == ()


@pytest.mark.parametrize("wrong", ["proxy.example", "10.0.0.1/24", "0.0.0.0/0", "::/0", "10.0.0.1 10.0.0.2"])
def test_the_setting_refuses_names_and_everybody(wrong: str) -> None:
    with pytest.raises(InvalidInput, match="trusted_proxies"):
        Settings(trusted_proxies=wrong)
