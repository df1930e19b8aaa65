"""Ask pip-audit for known vulnerabilities of the installed packages: `python scripts/audit.py`.

The exit code is 1 if there are any. If no vulnerability service answers, a line says so and the exit code is 0: without
an answer, a build must neither fail nor look as if it had been audited.
"""

import json
import subprocess
import sys
from typing import Any

SECONDS = 300
SERVICES = ("pypi", "osv")


def main() -> int:
    """Audit with the first service that answers; the exit code."""
    for service in SERVICES:
        lines, code = report(asked(service))
        if lines:
            print("\n".join(lines))
            return code
    print("No vulnerability service could be reached: nothing is known about the installed packages.")
    return 0


def asked(service: str) -> dict[str, Any]:
    """The answer of pip-audit; empty where it gives none."""
    options = [
        "--vulnerability-service",
        service,
        "--skip-editable",
        "--progress-spinner",
        "off",
        "--format",
        "json",
    ]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip_audit", *options],
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        answer = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return {}
    return answer if isinstance(answer, dict) else {}


def report(answer: dict[str, Any]) -> tuple[list[str], int]:
    """Lines to print, and the exit code; no lines where the service knew none of the packages."""
    packages = answer.get("dependencies", [])
    audited = [package for package in packages if "vulns" in package and "skip_reason" not in package]
    if not audited:
        return [], 0
    found = [
        f"{package['name']} {package['version']}: {vulnerability['id']}"
        f" (fixed in {', '.join(vulnerability.get('fix_versions', [])) or 'no version'})"
        for package in audited
        for vulnerability in package["vulns"]
    ]
    skipped = len(packages) - len(audited)
    more = f"; {skipped} are unknown to the service" if skipped else ""
    return [*found, f"{len(audited)} packages audited, {len(found)} vulnerabilities{more}."], int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
