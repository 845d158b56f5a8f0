"""The guard of webhooks: which URL may be reached, and at which address.

A URL is read once; what was read is what is connected to, so no second reader can understand it otherwise.
Its name is resolved once, every address that comes back is judged, and only these may be connected to: a
name server that answers differently a moment later changes nothing.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import httpx2

from registry.alerts.sending import Refused, Rules

__all__ = ["Address", "Place", "Resolve", "judge", "locate", "read", "system_resolve"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Sequence[str]]
"""Turns a host name and a port into addresses. Raises `OSError` as `socket.getaddrinfo` does."""

LONGEST_URL: Final = 2048
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_UNICAST: Final = ipaddress.ip_network("2000::/3")
_TRANSLATED: Final = ipaddress.ip_network("64:ff9b::/96")
# Globally routed by the letter, yet they lead somewhere else: tunnels, relays, protocol assignments.
_DETOURS: Final = tuple(
    ipaddress.ip_network(block)
    for block in (
        "192.0.0.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "2001::/23",  # Teredo, ORCHID, benchmarks
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a URL leads: exactly what is connected to and sent."""

    scheme: str
    host: str
    port: int
    target: bytes
    """Path and query, as they stand in the request's first line. Secret."""

    @property
    def authority(self) -> str:
        """The value of the `Host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        standard = {"https": 443, "http": 80}[self.scheme] == self.port
        return host if standard else f"{host}:{self.port}"


def read(url: str, rules: Rules) -> Place:
    """Read a webhook's URL. Raises `Refused` with what to do, never with the URL's secret parts."""
    parsed = _parsed(url)
    if parsed.scheme not in ("http", "https"):
        raise _wrong("The URL of a webhook begins with https://.")
    if parsed.scheme == "http" and not rules.allow_private:
        raise _wrong("The URL of a webhook begins with https://; plain http is a setting.")
    if parsed.userinfo:
        raise _wrong("The URL holds a user or password before the @; leave it out.")
    port = parsed.port if parsed.port is not None else {"https": 443, "http": 80}[parsed.scheme]
    if not 0 < port < 65536:
        raise _wrong(f"The URL's port {port} does not exist; write one from 1 to 65535.")
    host = _host(parsed.raw_host.decode("ascii"), rules)
    return Place(scheme=parsed.scheme, host=host, port=port, target=parsed.raw_path)


def _parsed(url: str) -> httpx2.URL:
    if len(url) > LONGEST_URL:
        raise _wrong(f"The URL is longer than {LONGEST_URL} characters; shorten it.")
    if "\\" in url or any(char.isspace() or not char.isprintable() for char in url):
        raise _wrong("The URL holds a space, a backslash or an unseen character; take it out.")
    try:
        return httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError):
        raise _wrong("This is no URL; write it like https://hooks.example.com/path.") from None


def _host(host: str, rules: Rules) -> str:
    """Accept a host name or an address in its one plain spelling, so that nothing is left to guess."""
    if not host:
        raise _wrong("The URL names no host; write it like https://hooks.example.com/path.")
    if host.endswith("."):
        raise _wrong("The URL's host ends with a dot; leave the dot out.")
    if ":" in host:
        return _literal(host)
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _literal(host)
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise _wrong("The URL's host is not a host name; write it like hooks.example.com.")
    if len(labels) == 1 and not rules.allow_private:
        raise _wrong("The URL's host is a local name; write the full one, as in hooks.example.com.")
    return host


def _literal(host: str) -> str:
    try:
        if "%" in host:
            raise ValueError(host)
        return str(ipaddress.ip_address(host))
    except ValueError:
        raise _wrong(
            "The URL's address is written oddly; write it as 192.0.2.1 or [2001:db8::1]."
        ) from None


def _wrong(sentence: str) -> Refused:
    return Refused(sentence, "permanent")


def judge(address: Address, rules: Rules) -> str | None:
    """Say why an address must not be reached, or None when it may: global unicast only, unless allowed."""
    address = _embedded(address)
    if address.is_multicast or address.is_unspecified or str(address) == "255.255.255.255":
        return "is no address of one machine"
    if rules.allow_private:
        return None
    if address.is_loopback:
        return "is this machine itself"
    if address.is_link_local:
        return "is link-local, where clouds keep their metadata"
    if not address.is_global or any(address in block for block in _DETOURS):
        return "is not a public address"
    if address.version == 6 and address not in _UNICAST:
        return "is not a public address"
    return None


def _embedded(address: Address) -> Address:
    """Look through the two forms of IPv6 that name an IPv4 address and are routed to it."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _TRANSLATED:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def locate(place: Place, rules: Rules, resolve: Resolve, seconds: float) -> tuple[str, ...]:
    """Resolve a place's host and judge every address. Raises `Refused`."""
    addresses = [_plain(found) for found in _resolved(place, resolve, seconds)]
    for address in addresses:
        reason = judge(address, rules)
        if reason is not None:
            leads = "" if place.host == str(address) else f"{place.host} leads to "
            raise _wrong(
                f"{leads}{address}, which {reason}; only public addresses are allowed "
                "unless the administrator allows private ones."
            )
    return tuple(dict.fromkeys(str(address) for address in addresses))


def _plain(found: str) -> Address:
    try:
        return ipaddress.ip_address(found)
    except ValueError:
        raise _wrong("The host resolves to something that is no address.") from None


def _resolved(place: Place, resolve: Resolve, seconds: float) -> Sequence[str]:
    """Resolve in a thread of its own: the system's resolver knows no deadline."""
    try:
        ipaddress.ip_address(place.host)
    except ValueError:
        pass
    else:
        return (place.host,)
    answers: list[Sequence[str]] = []

    def ask() -> None:
        try:
            answers.append(resolve(place.host, place.port))
        except (OSError, UnicodeError):
            answers.append(())

    thread = threading.Thread(target=ask, name="alerts-resolve", daemon=True)
    thread.start()
    thread.join(max(seconds, 0))
    if not answers:
        raise Refused(f"The name {place.host} was not resolved in time.", "transient")
    if not answers[0]:
        raise Refused(f"The name {place.host} does not resolve; check it.", "transient")
    return answers[0]


def system_resolve(host: str, port: int) -> Sequence[str]:
    """Ask the machine's resolver, in its order of preference."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(item[4][0]) for item in found]
