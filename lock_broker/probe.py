"""``python -m lock_broker.probe [/readyz]``: ask the broker of this container how it is. Exit code 0 for well.

Knows the broker's settings from the environment as the broker does, TLS included. It runs every few seconds beside the
broker, so it imports nothing that takes long.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys

SECONDS = 4.0
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # nosec B104 - where it listens, not this
_DEFAULT_HOST, _DEFAULT_PORT = "127.0.0.1", 8700


def main(path: str) -> int:
    """Ask, and say in one line what is wrong if something is."""
    host = os.environ.get("PTZ_BROKER_HOST") or _DEFAULT_HOST
    port = int(os.environ.get("PTZ_BROKER_PORT") or _DEFAULT_PORT)
    connection = _connect(_ANY.get(host, host), port)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        said = answer.read(1024).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        print(f"the lock broker does not answer: {error or type(error).__name__}")
        return 1
    finally:
        connection.close()
    print(said)
    return 0 if answer.status == http.HTTPStatus.OK else 1


def _connect(host: str, port: int) -> http.client.HTTPConnection:
    if not os.environ.get("PTZ_BROKER_CERTIFICATE_FILE"):
        return http.client.HTTPConnection(host, port, timeout=SECONDS)
    # It asks inside the broker's own container, and the certificate is made out to another name.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=SECONDS, context=context)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2] or ["/healthz"]))
