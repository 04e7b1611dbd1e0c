"""Where a webhook may go."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from ringroad.kernel.errors import InvalidInput
from ringroad.publish.address import check_url, may_connect

INSIDE = (ip_network("10.1.0.0/16"), ip_network("127.0.0.1/32"), ip_network("fd00::/8"))


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "::ffff:1.1.1.1"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert may_connect(address, allowed=())


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.5.4", "192.168.1.1", "169.254.169.254",  # noqa: S104
        "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1",
        "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::", "2001::1", "::7f00:1",
        "2001:db8::1", "", "localhost", "1.1.1", "0x7f000001",
    ],
)  # fmt: skip
def test_this_machine_its_network_and_metadata_services_are_not(address: str) -> None:
    assert not may_connect(address, allowed=())


@pytest.mark.parametrize(
    ("address", "expected"),
    [("10.1.2.3", True), ("10.2.0.1", False), ("127.0.0.1", True), ("127.0.0.2", False), ("::ffff:10.1.2.3", True),
     ("fd12::1", True), ("::1", False), ("1.1.1.1", True)],
)  # fmt: skip
def test_a_setting_allows_networks_and_no_more(address: str, expected: bool) -> None:  # noqa: FBT001 - a table
    assert may_connect(address, allowed=INSIDE) is expected


@pytest.mark.parametrize(
    ("url", "host"),
    [("https://hooks.example.com/a?b=c", "hooks.example.com"), ("https://1.1.1.1:8443/x", "1.1.1.1"),
     ("https://[2606:4700:4700::1111]/", "2606:4700:4700::1111"), ("HTTPS://h.example", "h.example")],
)  # fmt: skip
def test_an_address_is_read(url: str, host: str) -> None:
    assert check_url(url, allowed=()) == host


@pytest.mark.parametrize(
    "url",
    [
        "", "hooks.example.com", "http://hooks.example.com/", "ftp://hooks.example.com/", "https:///x", "https://",
        "https://me:secret@hooks.example.com/", "https://hooks.example.com/#x", "https://hooks.example.com:0/",
        "https://hooks.example.com:99999/", "https://127.0.0.1/", "https://[::1]/", "https://169.254.169.254/latest",
        "https://h\u00f6ks.example.com/", "https://hooks.example.com/a b", "https://hooks.example.com/\r\nX: y",
        "https://[::1", "https://hooks.example.com/" + "x" * 2_000,
    ],
)  # fmt: skip
def test_an_address_that_is_none_or_never_allowed_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        check_url(url, allowed=())


def test_plain_http_is_for_the_networks_of_the_setting() -> None:
    assert check_url("http://inside.example/x", allowed=INSIDE) == "inside.example"
    assert check_url("http://10.1.0.9:8080/x", allowed=INSIDE) == "10.1.0.9"
    with pytest.raises(InvalidInput):
        check_url("http://10.2.0.9/x", allowed=INSIDE)
