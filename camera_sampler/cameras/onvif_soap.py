"""SOAP to one ONVIF camera: the login that it wants, its clock's offset, its faults by kind."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from xml.etree import ElementTree

from onveef import envelopes, parsers

from camera_sampler.access import Access
from camera_sampler.cameras.base import CameraError
from camera_sampler.cameras.http import Answer, CameraHttp
from camera_sampler.safe_xml import local, parse_xml

DEVICE = "/onvif/device_service"
_SOAP = "application/soap+xml; charset=utf-8"
_DENIED = frozenset({"NotAuthorized", "FailedAuthentication", "InvalidSecurityToken"})
_LOCKED = re.compile(r"\block", re.IGNORECASE)
_CLOCK_SECONDS = 5.0
"""A camera's clock that went so far from where it was last seen explains a refused login."""


class OnvifSoap:
    """Asks one camera. Every failure is a ``CameraError`` with a kind.

    Cameras want HTTP's digest login or a token inside the message, many either, and refuse both at once. The first
    request carries none: a camera that answers with a digest challenge gets a digest, any other one the token, so the
    first password sent is sent where it is wanted. A token is dated by the camera's own clock.
    """

    def __init__(self, access: Access, http: CameraHttp) -> None:
        self._access, self._http = access, http
        self._token = False
        self._proven = False
        """Whether the camera has let us in the way that ``_token`` says."""
        self._offset: float | None = None

    async def ask(self, path: str, body: str) -> ElementTree.Element:
        """Send the content of a SOAP body to a service; return the response inside the answer's body."""
        answer = await self._attempt(path, body)
        if self._denied(answer):
            answer = await self._log_in(answer, path, body)
        self._proven = True
        self._http.login_accepted()
        return self._response(answer, path)

    async def _attempt(self, path: str, body: str) -> Answer:
        if not self._token:
            return await self._http.post(path, envelopes.build_envelope(body), _SOAP, sign=True)
        if self._offset is None:
            self._offset = await self._read_offset()
        envelope = envelopes.build_envelope(
            body,
            username=self._access.user,
            password=self._access.password.get_secret_value(),
            clock_offset_s=self._offset,
        )
        return await self._http.post(path, envelope, _SOAP, sign=False)

    async def _log_in(self, answer: Answer, path: str, body: str) -> Answer:
        """Return the answer to a request that was denied once, made again as the camera wants it; or raise."""
        if not self._access.user:
            raise self._http.login_refused()
        if self._token and await self._clock_moved():
            answer = await self._attempt(path, body)
        elif not self._token and not answer.signed:
            self._token, self._proven = True, False
            answer = await self._attempt(path, body)
        if not self._denied(answer):
            return answer
        if _LOCKED.search(self._http.excerpt(_fault_text(answer))):
            raise self._http.locked_out()
        if not self._proven:
            # Once the pause has passed the other login has its turn: some cameras offer one and mean the other.
            self._token = not self._token
        raise self._http.login_refused()

    async def _clock_moved(self) -> bool:
        before, self._offset = self._offset, await self._read_offset()
        return before is not None and abs(self._offset - before) > _CLOCK_SECONDS

    async def _read_offset(self) -> float:
        """Return how many seconds the camera's clock is ahead of ours; 0 where it does not tell everybody."""
        request = envelopes.build_envelope(envelopes.device_get_system_date_time())
        answer = await self._http.post(DEVICE, request, _SOAP, sign=False)
        if answer.status == 503:
            self._http.check(answer, DEVICE)
        told = parsers.parse_system_datetime(answer.text).get("UTCDateTime")
        try:
            return (datetime(**told, tzinfo=UTC) - datetime.now(UTC)).total_seconds() if told else 0.0
        except (ValueError, TypeError, OverflowError):
            return 0.0

    def _denied(self, answer: Answer) -> bool:
        if answer.status in (401, 403):
            return True
        codes, reason = _fault(answer)
        return bool(codes & _DENIED) or (bool(codes) and "not authorized" in reason.lower())

    def _response(self, answer: Answer, path: str) -> ElementTree.Element:
        codes, reason = _fault(answer)
        if codes:
            said = self._http.excerpt(f"{reason} ({', '.join(sorted(codes))})")
            # A fault of the receiver's own making is one that may pass, unless it is that it cannot do this.
            passes = "Receiver" in codes and not any("NotSupported" in code for code in codes)
            raise CameraError(f"the camera refused: {said}", "initiating" if passes else "refused")
        self._http.check(answer, path)
        body = _body(answer)
        if body is None or not len(body):
            raise CameraError(f"{path}: no SOAP in: {self._http.excerpt(answer.text)}", "unparsable")
        return body[0]


def _body(answer: Answer) -> ElementTree.Element | None:
    try:
        envelope = parse_xml(answer.text)
    except ValueError:
        return None
    return next((child for child in envelope if local(child.tag) == "Body"), None)


def _fault(answer: Answer) -> tuple[set[str], str]:
    """Return the codes of a fault without their prefixes, and its reason; no codes mean no fault."""
    body = _body(answer)
    fault = None if body is None else next((child for child in body if local(child.tag) == "Fault"), None)
    if fault is None:
        return set(), ""
    texts = [(local(element.tag), (element.text or "").strip()) for element in fault.iter()]
    # The second names are SOAP 1.1's, which old cameras answer in.
    codes = {local(text) for tag, text in texts if tag in ("Value", "faultcode") and text}
    reason = next((text for tag, text in texts if tag in ("Text", "faultstring") and text), "no reason given")
    return codes or {"Fault"}, reason


def _fault_text(answer: Answer) -> str:
    codes, reason = _fault(answer)
    return f"{reason} {' '.join(codes)}" if codes else answer.text
