"""The network of a host: a redirect must not lead from the internet into a private network."""

from __future__ import annotations

import ipaddress
import socket
from typing import Literal

Network = Literal["public", "loopback", "link-local", "private"]


def networks(host: str) -> set[Network]:
    """The networks of every address of a host; empty if its name does not resolve here."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return set()
    return {network(str(address[0])) for *_, address in found}


def leads_inside(first: str, then: str) -> bool:
    """Whether `then` has an address in a network that is not public and that `first` is not part of.

    A proxy resolves names itself: a name that does not resolve here is not refused.
    """
    return bool(networks(then) - networks(first) - {"public"})


def network(text: str) -> Network:
    """The network of one address."""
    address = ipaddress.ip_address(text.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None) or address
    if address.is_loopback or address.is_unspecified:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    return "public" if address.is_global and not address.is_multicast else "private"
