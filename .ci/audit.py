"""Look the installed packages up among known vulnerabilities; where that cannot be, say so loudly, and do not fail.

Exit code 1 where a vulnerability is known, with its packages and where it is fixed.
"""

from __future__ import annotations

import json
import subprocess
import sys

SECONDS = 300.0


def main() -> int:
    """Ask pip-audit, and read its answer."""
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--skip-editable"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        packages = json.loads(asked.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, json.JSONDecodeError, KeyError) as error:
        return _not_known(f"pip-audit gave no answer ({type(error).__name__})")
    known = [package for package in packages if "skip_reason" not in package]
    if not known:
        return _not_known("its data cannot be reached from here")
    found = [(package, vulnerability) for package in known for vulnerability in package["vulns"]]
    for package, vulnerability in found:
        fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
        print(
            f"error: {package['name']} {package['version']}: {vulnerability['id']}, fixed in {fixed}", file=sys.stderr
        )
    print(f"{len(known)} of {len(packages)} packages looked up, {len(found)} vulnerabilities known")
    return 1 if found else 0


def _not_known(reason: str) -> int:
    print(f"NOT CHECKED: whether vulnerabilities of the installed packages are known: {reason}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
