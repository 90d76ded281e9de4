"""The HTTP client for cameras: asks addresses that were checked and no others, and no proxy of the environment."""

from __future__ import annotations

import asyncio
import ssl

import httpx

from camera_sampler.access import Access
from camera_sampler.networks import Networks


class _Checked(httpx.AsyncBaseTransport):
    """Connects to addresses that were checked; the host keeps its name in the request and in TLS."""

    def __init__(self, networks: Networks, inner: httpx.AsyncBaseTransport) -> None:
        self._networks, self._inner = networks, inner
        self._known: dict[str, list[str]] = {}
        """Addresses by host, the one that answered first; a host that does not answer is looked up again."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx. ``ForbiddenAddress`` where an address of the host is not allowed."""
        host = request.url.host
        addresses = self._known.pop(host, None) or await self._look_up(request)
        for place, address in enumerate(addresses):
            try:
                response = await self._inner.handle_async_request(_pinned(request, address))
            except httpx.ConnectError:
                if place == len(addresses) - 1:
                    raise
            else:
                self._known[host] = [address, *(other for other in addresses if other != address)]
                return response
        raise httpx.ConnectError("the host has no address that can be written in a URL", request=request)

    async def _look_up(self, request: httpx.Request) -> list[str]:
        host, port = request.url.host, request.url.port or 0
        try:
            found = await asyncio.to_thread(self._networks.addresses, host, port)
        except OSError as error:
            raise httpx.ConnectError(f"no address for {host}: {error.strerror}", request=request) from error
        # A link-local address of IPv6 goes with the name of an interface, which has no place in a URL.
        return [address for address in found if "%" not in address]

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


def _pinned(request: httpx.Request, address: str) -> httpx.Request:
    url = request.url.copy_with(host=address)
    extensions = {**request.extensions, "sni_hostname": request.url.host}
    # The header Host is among the others, as it was.
    return httpx.Request(request.method, url, headers=request.headers, stream=request.stream, extensions=extensions)


def camera_client(access: Access) -> httpx.AsyncClient:
    """Return a client for one camera, without a login. Redirects are not followed."""
    inner = httpx.AsyncHTTPTransport(
        verify=access.trust() if access.url.startswith("https:") else True,
        trust_env=False,
        limits=httpx.Limits(max_connections=2, max_keepalive_connections=1),
    )
    return httpx.AsyncClient(
        base_url=access.url,
        timeout=access.timeout,
        follow_redirects=False,
        trust_env=False,
        headers={"Accept-Encoding": "identity", "User-Agent": "ptzjepa"},
        transport=_Checked(access.networks, inner),
    )


def why_no_connection(error: httpx.ConnectError) -> str:
    """Say what kept a connection from being made."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "its certificate is not believed; PTZ_CAMERA_CA_FILE names those that are"
        cause = cause.__cause__ or cause.__context__
    return "nobody listens there"
