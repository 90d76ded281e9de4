"""A camera's side of WS-Security logins: a digest inside the message, dated by the camera's clock, good for once."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

from camera_sampler.safe_xml import local
from camera_sampler.simulation.emulators.digest import Verdict

_MOST_NONCES = 1024


class TokenGate:
    """Checks ``UsernameToken`` headers with ``PasswordDigest``. ``now`` is the camera's own clock."""

    def __init__(
        self, user: str, password: str, now: Callable[[], datetime], *, skew: timedelta = timedelta(seconds=5)
    ) -> None:
        self.user, self.password, self.skew = user, password, skew
        self._now = now
        self._used: OrderedDict[bytes, None] = OrderedDict()
        self.seen: dict[Verdict, int] = {"in": 0, "absent": 0, "stale": 0, "wrong": 0, "locked": 0}

    def check(self, header: ElementTree.Element | None) -> Verdict:
        """Judge the header of a message: ``stale`` is a token of another time, or one that was seen before."""
        verdict = self._judge(header)
        self.seen[verdict] += 1
        return verdict

    def _judge(self, header: ElementTree.Element | None) -> Verdict:
        token = None if header is None else next((e for e in header.iter() if local(e.tag) == "UsernameToken"), None)
        if token is None:
            return "absent"
        fields = {local(child.tag): child for child in token}
        texts = {name: (child.text or "").strip() for name, child in fields.items()}
        if not {"Username", "Password", "Nonce", "Created"} <= fields.keys():
            return "wrong"
        if not fields["Password"].get("Type", "").endswith("#PasswordDigest"):
            return "wrong"
        try:
            nonce = base64.b64decode(texts["Nonce"], validate=True)
            created = datetime.fromisoformat(texts["Created"])
        except ValueError:
            return "wrong"
        if not self._right(texts, nonce):
            return "wrong"
        if created.tzinfo is None or abs(created - self._now()) > self.skew or nonce in self._used:
            return "stale"
        self._used[nonce] = None
        while len(self._used) > _MOST_NONCES:
            self._used.popitem(last=False)
        return "in"

    def _right(self, texts: dict[str, str], nonce: bytes) -> bool:
        hashed = hashlib.sha1(
            nonce + texts["Created"].encode() + self.password.encode(), usedforsecurity=False
        ).digest()
        right = base64.b64encode(hashed)
        return texts["Username"] == self.user and hmac.compare_digest(texts["Password"].encode(), right)


def utc_clock(ahead: Callable[[], timedelta]) -> Callable[[], datetime]:
    """Return a clock that goes wrong by what ``ahead`` says."""
    return lambda: datetime.now(UTC) + ahead()
