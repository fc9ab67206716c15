"""Which addresses a webhook may lead to."""

import socket

import pytest

from vimfed.process.addresses import ForbiddenAddressError, PublicAddresses

FORBIDDEN = (
    "127.0.0.1",
    "127.8.9.10",
    "::1",
    "0.0.0.0",
    "::",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "fd00:ec2::254",
    "fe80::1%eth0",
    "fec0::1",
    "224.0.0.1",
    "ff02::1",
    "240.0.0.1",
    "255.255.255.255",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
    "2001:db8::1",
)


@pytest.mark.parametrize("address", FORBIDDEN)
def test_an_address_that_is_not_public_is_refused_however_it_is_written(address: str) -> None:
    with pytest.raises(ForbiddenAddressError, match="no public address: if it is meant, name"):
        PublicAddresses().check(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_public_addresses_are_let_through(address: str) -> None:
    PublicAddresses().check(address)


def test_networks_that_are_named_are_let_through_and_no_others() -> None:
    addresses = PublicAddresses(["10.1.0.0/16", "fd00:1::/32", "127.0.0.1"])
    for allowed in ("10.1.2.3", "::ffff:10.1.2.3", "fd00:1::5", "127.0.0.1", "1.1.1.1"):
        addresses.check(allowed)
    for forbidden in ("10.2.0.1", "fd00:2::5", "127.0.0.2", "::1"):
        with pytest.raises(ForbiddenAddressError):
            addresses.check(forbidden)


def test_a_socket_is_made_for_an_address_that_is_let_through_alone() -> None:
    stream = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
    with PublicAddresses().socket((*stream, ("1.1.1.1", 443))) as made:
        assert made.family == socket.AF_INET
    with pytest.raises(ForbiddenAddressError):
        PublicAddresses().socket((*stream, ("10.0.0.1", 443)))
