"""Addresses and interfaces of this host."""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

SIOCGIFADDR = 0x8915  # netdevice(7): an interface's IPv4 address
ANY_PORT = 9  # a datagram socket that is connected sends nothing


def is_own(address: str) -> bool:
    """Return whether an interface of this host has the address."""
    with socket.socket(_family_of(address), socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.bind((address, 0))
        return True
    return False


def own_address_towards(address: str) -> str:
    """Return the address of this host from which another is reached, and by which others reach this one.

    Debian lets a host's own name stand for 127.0.1.1; the first interface's address is then returned, where there is one.
    Raises OSError where no way leads there.
    """
    with socket.socket(_family_of(address), socket.SOCK_DGRAM) as probe:
        probe.connect((address, ANY_PORT))
        own = str(probe.getsockname()[0])
    return next(_addresses_of_interfaces(), own) if ipaddress.ip_address(own.partition("%")[0]).is_loopback else own


def interface_of(address: str) -> str:
    """Return the name of the interface that has an address of this host; empty where that cannot be found out."""
    with suppress(OSError):
        for _, name in socket.if_nameindex():
            if _address_of(name) == address:
                return name
        if ":" in address:
            wanted = socket.inet_pton(socket.AF_INET6, address.partition("%")[0]).hex()
            lines = Path("/proc/net/if_inet6").read_text().splitlines()
            return next((line.split()[-1] for line in lines if line.split()[0] == wanted), "")
    return ""


def _addresses_of_interfaces() -> Iterator[str]:
    """IPv4 addresses of this host's interfaces, without the loopback's."""
    for _, name in socket.if_nameindex():
        if (address := _address_of(name)) and not ipaddress.ip_address(address).is_loopback:
            yield address


def _address_of(interface: str) -> str:
    """The IPv4 address of an interface; empty where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        answer = fcntl.ioctl(probe, SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
        return socket.inet_ntoa(answer[20:24])
    return ""


def _family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
