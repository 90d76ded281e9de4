"""HTTP to one camera: one client, one digest login for all requests, bounds on time and size, errors by kind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

import httpx

from camera_sampler.access import Access
from camera_sampler.cameras.base import CameraError, ErrorKind
from camera_sampler.cameras.http_client import camera_client, why_no_connection
from camera_sampler.networks import ForbiddenAddress

TEXT_BYTES = 1 << 20
"""The largest answer to anything but a snapshot."""
EXCERPT = 200
"""Characters of an unexpected answer that an error shows."""
_ACCOUNT_BLOCKED = 490
_FIRST_LOGIN_PAUSE = 5.0
_BAD_CHALLENGE = (KeyError, ValueError, NotImplementedError)
"""What the digest code raises over a challenge that it does not understand."""


@dataclass(frozen=True)
class Answer:
    """What came back: status, type without its parameters, and the whole body."""

    status: int
    content_type: str
    body: bytes = field(repr=False)
    signed: bool = False
    """Whether the request carried a login in its headers."""

    @property
    def text(self) -> str:
        """The body as text; bytes that are none become question marks."""
        return self.body.decode("utf-8", "replace")


class CameraHttp:
    """Asks one camera, one request at a time. Every failure is a ``CameraError`` with a kind.

    A wrong password is not sent again and again: cameras lock the account after a few. After a refused login, and
    after a lock-out, requests fail at once until a pause has passed.
    """

    def __init__(self, access: Access, clock: Callable[[], float] = time.monotonic) -> None:
        self._access, self._clock = access, clock
        password = access.password.get_secret_value()
        # Cameras put passwords into addresses of their own making, too.
        self._secrets = tuple(secret for secret in (password, quote(password, safe="")) if secret)
        # One object for all requests: it keeps the server's nonce and counts its uses, so only the first is refused.
        self._auth = httpx.DigestAuth(access.user, password) if access.user else None
        self._client = camera_client(access)
        # Cameras check that the count of a nonce's uses grows, so requests must arrive in the order they were signed.
        self._one_at_a_time = asyncio.Lock()
        self._barred_until, self._barred = 0.0, CameraError("")
        self._login_pause = _FIRST_LOGIN_PAUSE

    async def get(self, target: str, *, max_bytes: int = TEXT_BYTES) -> Answer:
        """GET a path with its query as it stands, commas unescaped. ``CameraError`` unless the status is 200 or 204."""
        async with self._one_at_a_time:
            answer = await self._ask(self._client.build_request("GET", target), self._auth, max_bytes)
            self.check(answer, target)
            self.login_accepted()
            return answer

    async def post(self, target: str, body: str, content_type: str, *, sign: bool) -> Answer:
        """POST a text, with the digest login if ``sign``; return any answer, whatever its status.

        For protocols with errors and logins of their own: ``check`` and ``login_…`` are the caller's.
        """
        async with self._one_at_a_time:
            headers = {"Content-Type": content_type}
            request = self._client.build_request("POST", target, content=body.encode(), headers=headers)
            return await self._ask(request, self._auth if sign else None, TEXT_BYTES)

    def login_accepted(self) -> None:
        """Note that the login was right: the next refusal counts as the first."""
        self._login_pause = _FIRST_LOGIN_PAUSE

    def login_refused(self) -> CameraError:
        """Send nothing for a while, longer after each refusal in a row; return what to raise."""
        self._bar(self._login_pause, "the camera refuses this user and password", "unauthorized")
        self._login_pause = min(2.0 * self._login_pause, self._access.lockout)
        return self._barred

    def locked_out(self) -> CameraError:
        """Send nothing until the camera may have unlocked the account; return what to raise."""
        self._bar(self._access.lockout, f"the camera locked the account; no login for {self._access.lockout:g} s")
        return self._barred

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def check(self, answer: Answer, target: str) -> None:
        """Raise the ``CameraError`` that an answer's status means; 200 and 204 mean none."""
        status = answer.status
        if status in (200, 204):
            return
        if status == _ACCOUNT_BLOCKED:
            raise self.locked_out()
        if status in (401, 403):
            raise self.login_refused()
        said = f"{self.excerpt(target.partition('?')[0])}: HTTP {status}: {self.excerpt(answer.text)}"
        raise CameraError(said, "initiating" if status == 503 else "refused")

    def excerpt(self, text: str) -> str:
        """Return the beginning of what a camera said, on one line, without the password should it have echoed it."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return " ".join(text.split())[:EXCERPT]

    async def _ask(self, request: httpx.Request, auth: httpx.Auth | None, max_bytes: int) -> Answer:
        if self._clock() < self._barred_until:
            raise CameraError(str(self._barred), self._barred.kind)
        path = self.excerpt(request.url.path)
        try:
            # httpx bounds each read; a body that drips would outlast that.
            async with asyncio.timeout(self._access.timeout):
                response = await self._client.send(request, auth=auth, stream=True)
                try:
                    body = await self._body(response, max_bytes, path)
                finally:
                    await response.aclose()
        except (TimeoutError, httpx.TimeoutException):
            raise CameraError(f"{path}: no whole answer within {self._access.timeout:g} s", "timeout") from None
        except ForbiddenAddress as error:
            raise CameraError(str(error), "unreachable") from None
        except httpx.ConnectError as error:
            raise CameraError(f"{path}: {why_no_connection(error)}", "unreachable") from None
        except httpx.DecodingError:
            raise CameraError(f"{path}: the answer's encoding is broken", "unparsable") from None
        except (httpx.TransportError, OSError) as error:
            raise CameraError(f"{path}: the connection broke: {type(error).__name__}", "reset") from None
        except _BAD_CHALLENGE:
            raise CameraError(f"{path}: the login challenge is not understood", "unparsable") from None
        content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        return Answer(response.status_code, content_type, body, "authorization" in response.request.headers)

    async def _body(self, response: httpx.Response, max_bytes: int, path: str) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > max_bytes:
                raise CameraError(f"{path}: the answer has more than {max_bytes} bytes", "too-large")
        return bytes(body)

    def _bar(self, seconds: float, reason: str, kind: ErrorKind = "locked-out") -> None:
        self._barred_until, self._barred = self._clock() + seconds, CameraError(reason, kind)


def key_values(text: str) -> dict[str, str]:
    """Read ``key=value`` lines in any order, with any line ends; lines without ``=`` are left out."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {key.strip().rpartition(".")[2].lower(): value.strip() for key, equals, value in pairs if equals}
