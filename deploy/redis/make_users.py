"""Print the ACL file that Redis reads: the template beside this file with the digests of the passwords in a folder.

``python3 deploy/redis/make_users.py secrets > secrets/redis_users`` (``make secrets`` does it). Lines of the folder's
``redis_more_users``, if there is one, are added as they stand. Needs nothing but Python, so that it works before
anything is installed. Exit code 2 with one line on what is wrong.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

TEMPLATE = Path(__file__).with_name("users.acl.template")
MORE = "redis_more_users"


def names(template: str) -> list[str]:
    """Return what the template asks passwords for, in its order."""
    return re.findall(r"\{(\w+)\} ", _joined(template))


def users(template: str, digests: dict[str, str]) -> str:
    """Return the template as Redis reads it. ``KeyError`` where a digest is missing."""
    return re.sub(r"\{(\w+)\} ", lambda found: f"#{digests[found[1]]} ", _joined(template))


def digest(path: Path) -> str:
    """Return the SHA-256 of the password in a file. ``ValueError`` where there is none in it."""
    password = path.read_text(encoding="utf-8").strip()
    if not password:
        raise ValueError(f"{path} is empty; remove it and run `make secrets`")
    return hashlib.sha256(password.encode()).hexdigest()


def _joined(template: str) -> str:
    """Return one user a line: Redis knows neither comments nor lines that go on."""
    lines = [line for line in template.splitlines() if line.strip() and not line.startswith("#")]
    return re.sub(r"\n\s+", " ", "\n".join(lines)) + "\n"


def main(folder: Path) -> int:
    """Print the file."""
    template = TEMPLATE.read_text(encoding="utf-8")
    try:
        digests = {name: digest(folder / f"redis_{name}_password") for name in names(template)}
        more = folder / MORE
        added = more.read_text(encoding="utf-8") if more.exists() else ""
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    sys.stdout.write(users(template, digests) + (added.rstrip("\n") + "\n" if added.strip() else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "secrets")))
