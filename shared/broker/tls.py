"""How the lock broker is reached: address, credentials, and whose certificate to believe."""

from __future__ import annotations

import ssl
from typing import TypedDict

import httpx

from shared.errors import UserError
from shared.settings import ServiceSettings


class Connection(TypedDict):
    """What ``httpx.Client`` and ``httpx.AsyncClient`` need to reach the broker."""

    base_url: str
    headers: dict[str, str]
    verify: ssl.SSLContext | bool


def broker_connection(settings: ServiceSettings) -> Connection:
    """Read how to reach the broker. ``UserError`` for an address or a file that can't be used."""
    try:
        url = httpx.URL(settings.broker_url)
    except httpx.InvalidURL as error:
        raise UserError(f"PTZ_BROKER_URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise UserError("PTZ_BROKER_URL: an address is http://HOST:PORT or https://HOST:PORT")
    token = "" if settings.broker_token is None else settings.broker_token.get_secret_value()
    if any(not 32 < ord(letter) < 127 for letter in token):
        raise UserError("PTZ_BROKER_TOKEN: a token has only visible ASCII characters; is there more in its file?")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return Connection(base_url=settings.broker_url, headers=headers, verify=_trust(settings, url.scheme))


def _trust(settings: ServiceSettings, scheme: str) -> ssl.SSLContext | bool:
    ca, certificate = settings.broker_ca_file, settings.broker_client_certificate_file
    key = settings.broker_client_key_file
    if key is not None and certificate is None:
        raise UserError("PTZ_BROKER_CLIENT_KEY_FILE is set without PTZ_BROKER_CLIENT_CERTIFICATE_FILE; set both")
    if scheme == "http":
        return True  # not used: a context would be made for nothing
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise UserError(f"PTZ_BROKER_CA_FILE: cannot take {ca}: {error.strerror or 'no certificates'}") from error
    if certificate is not None:
        try:
            context.load_cert_chain(certificate, key, password=lambda: b"")
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror or "not a certificate with its unencrypted key"
            raise UserError(f"PTZ_BROKER_CLIENT_CERTIFICATE_FILE: cannot take {certificate}: {reason}") from error
    return context
