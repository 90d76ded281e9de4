"""A camera's side of HTTP digest logins: nonces that expire, counts that must grow, a lock after wrong passwords."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from urllib.request import parse_http_list, parse_keqv_list

Verdict = Literal["in", "absent", "stale", "wrong", "locked"]
_MOST_NONCES = 256


@dataclass
class _Nonce:
    made: float
    count: int = 0


class DigestGate:
    """Checks ``Authorization`` headers (MD5 with qop ``auth``, as the cameras do)."""

    def __init__(
        self,
        user: str,
        password: str,
        realm: str,
        clock: Callable[[], float],
        *,
        nonce_seconds: float = 300.0,
        tries: int | None = None,
        lock_seconds: float = 30.0,
    ) -> None:
        self.user, self.password, self.realm = user, password, realm
        self.nonce_seconds, self.tries, self.lock_seconds = nonce_seconds, tries, lock_seconds
        self._clock = clock
        self._nonces: OrderedDict[str, _Nonce] = OrderedDict()
        self._wrong, self._locked_until = 0, float("-inf")
        self.seen: dict[Verdict, int] = {"in": 0, "absent": 0, "stale": 0, "wrong": 0, "locked": 0}

    def challenge(self, *, stale: bool) -> str:
        """Return the value of ``WWW-Authenticate`` with a new nonce."""
        nonce = secrets.token_hex(16)
        self._nonces[nonce] = _Nonce(self._clock())
        while len(self._nonces) > _MOST_NONCES:
            self._nonces.popitem(last=False)
        text = f'Digest realm="{self.realm}", nonce="{nonce}", algorithm=MD5, qop="auth"'
        return text + ", stale=TRUE" if stale else text

    def forget(self) -> None:
        """Forget every nonce, as a reboot does."""
        self._nonces.clear()

    def check(self, method: str, target: str, header: str | None) -> Verdict:
        """Judge a request."""
        verdict = self._judge(method, target, header)
        self.seen[verdict] += 1
        return verdict

    def _judge(self, method: str, target: str, header: str | None) -> Verdict:
        if self._clock() < self._locked_until:
            return "locked"
        scheme, _, rest = (header or "").partition(" ")
        if scheme.lower() != "digest":
            return "absent"
        try:
            fields = parse_keqv_list(parse_http_list(rest))
            count = int(fields["nc"], 16)
            right = self._right(method, target, fields)
        except (KeyError, ValueError, IndexError):
            return self._note_wrong()
        if not right:
            return self._note_wrong()
        self._wrong = 0
        nonce = self._nonces.get(fields["nonce"])
        if nonce is None or self._clock() - nonce.made >= self.nonce_seconds or count <= nonce.count:
            return "stale"
        nonce.count = count
        return "in"

    def _right(self, method: str, target: str, fields: dict[str, str]) -> bool:
        if (fields["username"], fields["realm"], fields["uri"]) != (self.user, self.realm, target):
            return False
        login = _md5(f"{self.user}:{self.realm}:{self.password}")
        asked = _md5(f"{method}:{target}")
        uses = f"{fields['nonce']}:{fields['nc']}:{fields['cnonce']}:{fields['qop']}"
        return fields["qop"] == "auth" and hmac.compare_digest(fields["response"], _md5(f"{login}:{uses}:{asked}"))

    def _note_wrong(self) -> Verdict:
        self._wrong += 1
        if self.tries is not None and self._wrong >= self.tries:
            self._wrong, self._locked_until = 0, self._clock() + self.lock_seconds
        return "wrong"


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
