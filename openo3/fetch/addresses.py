"""Detect redirects that lead from the internet into a private network."""

from __future__ import annotations

import ipaddress
import socket
from typing import Literal

_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
"""Where gateways (NAT64) put the addresses of IPv4."""

Network = Literal["public", "loopback", "link-local", "private"]


def networks(host: str) -> set[Network]:
    """The network of each address of a host. The result is empty if its name does not resolve here."""
    try:
        found = socket.getaddrinfo(host.rstrip("."), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return set()
    return {network(str(address[0])) for *_, address in found}


def enters_private_network(first: str, then: str) -> bool:
    """Whether `then` has an address in a private network that `first` is not part of.

    A name that does not resolve here is allowed, since a proxy may resolve it.
    """
    return bool(networks(then) - networks(first) - {"public"})


def network(text: str) -> Network:
    """The network of one address."""
    address = ipaddress.ip_address(text.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None) or address
    if address in _TRANSLATED:
        address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.is_loopback or address.is_unspecified:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    return "public" if address.is_global and not address.is_multicast else "private"
