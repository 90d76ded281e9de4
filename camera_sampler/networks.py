"""Which addresses a camera may have: a name is looked up once, and only what was checked is connected to.

Whoever may say where the camera is (a job's author on a shared node, say) must not make the sampler fetch what is not
theirs, as a cloud's credentials from its metadata address. Cameras live in private networks, so those are allowed.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

from shared.errors import UserError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Metadata of clouds that does not lie at a link-local address.
_METADATA = frozenset(map(ipaddress.ip_address, ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254")))


@dataclass(frozen=True)
class Networks:
    """The networks that a camera may be in. Empty: any, but no link-local, metadata, multicast or reserved address."""

    allowed: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Networks:
        """Read networks with commas between them, as ``10.1.0.0/16,fd12::/64``. ``UserError`` where one is none."""
        words = [word.strip() for word in text.split(",") if word.strip()]
        try:
            return cls(tuple(map(ipaddress.ip_network, words)))
        except ValueError as error:
            raise UserError(f"PTZ_CAMERA_NETWORKS: {error}; give networks like 10.1.0.0/16,fd12::/64") from None

    def allows(self, address: Address) -> bool:
        """Tell whether a camera may have this address."""
        # ::ffff:169.254.169.254 is 169.254.169.254 for whoever connects to it.
        address = getattr(address, "ipv4_mapped", None) or address
        if self.allowed:
            return any(address in network for network in self.allowed)
        dubious = address.is_link_local or address.is_multicast or address.is_unspecified or address in _METADATA
        # All of 0.0.0.0/8 means this host, and IPv6's ::1 counts as reserved.
        reserved = address.is_reserved and not address.is_loopback
        return not (dubious or reserved or (address.version == 4 and int(address) >> 24 == 0))

    def check_host(self, host: str) -> None:
        """``UserError`` where a host that is an address, and no name, is not allowed."""
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return
        if not self.allows(address):
            raise UserError(_refusal(host))

    def addresses(self, host: str, port: int) -> list[str]:
        """Look a host up and return its addresses. ``ForbiddenAddress`` if any of them is not allowed.

        Blocks where the host is a name; ``OSError`` where nobody knows it.
        """
        found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        for address in found:
            if not self.allows(ipaddress.ip_address(address)):
                raise ForbiddenAddress(_refusal(host if host == address else f"{host} ({address})"))
        return list(dict.fromkeys(found))


class ForbiddenAddress(Exception):
    """A camera's name leads to an address that it must not have."""


def _refusal(host: str) -> str:
    return f"the camera's address {host} is not allowed; PTZ_CAMERA_NETWORKS says which are"
