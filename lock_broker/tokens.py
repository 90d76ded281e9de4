"""Bearer tokens: from a header to a principal. The file of tokens holds their digests, and may change at any time."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import structlog

from lock_broker.principals import ANONYMOUS, DEFAULT, Principal, Role
from lock_broker.watched import Watched
from shared.errors import UserError

FILE_BYTES = 1024 * 1024
_LINE = re.compile(r"(?P<name>\S+)\s+(?P<role>\S+)\s+(?P<digest>[0-9a-f]{64})")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_NOBODY = bytes(32)


def digest_of(token: str) -> bytes:
    """Return what stands in the file for a token, as bytes."""
    return hashlib.sha256(token.encode()).digest()


def line(name: str, role: Role, token: str) -> str:
    """Return a token's line for the file."""
    return f"{name} {role} {digest_of(token).hex()}"


def parse(text: str) -> dict[bytes, Principal]:
    """Read the file's text: principals by digest. ``UserError`` names the first line that is wrong, not its digest."""
    found: dict[bytes, Principal] = {}
    roles: dict[str, Role] = {}
    for number, written in enumerate(text.splitlines(), start=1):
        if not (bare := written.partition("#")[0].strip()):
            continue
        match = _LINE.fullmatch(bare)
        if match is None:
            raise UserError(f"line {number}: not `NAME ROLE SHA256`; `ptzjepa broker token` prints such a line")
        try:
            named, digest = principal(match["name"], match["role"]), bytes.fromhex(match["digest"])
        except UserError as error:
            raise UserError(f"line {number}: {error}") from None
        if roles.setdefault(named.name, named.role) != named.role:
            raise UserError(f"line {number}: {named.name} has another role above; give it one")
        if digest in found:
            raise UserError(f"line {number}: this token stands above already; make one for each principal")
        found[digest] = named
    return found


def principal(name: str, role: str) -> Principal:
    """Return somebody who may have a token. ``UserError`` for a name or a role that can't be."""
    if not _NAME.fullmatch(name):
        # Not quoted: it may be the token itself, in the wrong place.
        raise UserError("that is no name; take up to 63 of a-z, 0-9, '.', '_', '-', a letter or digit first")
    if name in (ANONYMOUS.name, DEFAULT.name):
        raise UserError(f"the name {name} is the broker's own; take another")
    for known in get_args(Role):
        if role == known:
            return Principal(name, known)
    raise UserError(f"there is no role {role[:32]!r}; the roles are {', '.join(get_args(Role))}")


def read(path: Path) -> dict[bytes, Principal]:
    """Read the file. ``UserError`` where that is impossible."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES + 1)
        if len(content) > FILE_BYTES:
            raise UserError(f"PTZ_BROKER_TOKENS_FILE: {path} is larger than {FILE_BYTES} bytes")
        return parse(content.decode())
    except OSError as error:
        raise UserError(f"PTZ_BROKER_TOKENS_FILE: cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UserError(f"PTZ_BROKER_TOKENS_FILE: {path} is not a text file") from None
    except UserError as error:
        if str(path) in str(error):
            raise
        raise UserError(f"PTZ_BROKER_TOKENS_FILE: {path}, {error}") from None


class Tokens:
    """Who bears which token: those of the file, and the one that all may share. ``UserError`` for a bad file."""

    def __init__(self, *, shared: str | None = None, file: Path | None = None) -> None:
        self._file, self._shared = file, {} if shared is None else {digest_of(shared): DEFAULT}
        self.required = shared is not None or file is not None
        self._watched = Watched(*([file] if file else []))
        self._known = self._index({} if file is None else read(file))

    def bearer(self, authorization: bytes) -> Principal | None:
        """Return who sends this ``Authorization`` header, or None for nobody that is known."""
        scheme, _, token = authorization.partition(b" ")
        digest = hashlib.sha256(token.strip()).digest()
        # What may be guessed byte by byte from the time taken is the beginning of a digest, and that helps nobody.
        known, principal = self._known.get(digest[:8], (_NOBODY, ANONYMOUS))
        matches = hmac.compare_digest(digest, known)
        return principal if matches and scheme.lower() == b"bearer" else None

    def refresh(self) -> None:
        """Read the file again if it has changed. A bad one changes nothing, and is complained of once."""
        if self._file is None or not self._watched.changed():
            return
        try:
            self._known = self._index(read(self._file))
        except UserError as error:
            structlog.get_logger().error("tokens file not taken; the tokens known so far stay", reason=str(error))
        else:
            structlog.get_logger().info("tokens file taken", principals=self.principals)

    @property
    def principals(self) -> int:
        """How many principals the broker knows."""
        return len({principal.name for _, principal in self._known.values()})

    def _index(self, read: Mapping[bytes, Principal]) -> dict[bytes, tuple[bytes, Principal]]:
        return {digest[:8]: (digest, principal) for digest, principal in {**read, **self._shared}.items()}
