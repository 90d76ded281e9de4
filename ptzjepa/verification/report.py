"""The result of a trial: as JSON for machines, in some lines for people."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ptzjepa.verification.history import History, Violation
from ptzjepa.verification.planting import Planted
from shared.errors import UserError

_SHOWN = 50


@dataclass(frozen=True)
class Report:
    """What was done, what was harmed, what was found."""

    history: History
    violations: Sequence[Violation]
    planted: Sequence[Planted]
    faults: Mapping[str, int]
    asked: int
    seconds: float
    seed: int
    interrupted: bool
    system: Mapping[str, int]

    @property
    def planted_caught(self) -> bool:
        """Whether every kind of violation could be planted, and each was seen every time."""
        return all(item.planted and item.caught == item.planted for item in self.planted)

    @property
    def good(self) -> bool:
        """Whether the trial found nothing, by a checker that would have."""
        return not self.violations and self.planted_caught

    def document(self) -> dict[str, Any]:
        """Return the result as JSON."""
        operations = self.history.operations
        outcomes: dict[str, Counter[str]] = defaultdict(Counter)
        for item in operations:
            outcomes[item.kind][item.outcome] += 1
        return {
            "operations": len(operations),
            "faults": sum(self.faults.values()),
            "violations": [self._explained(item) for item in self.violations[:_SHOWN]],
            "violation_count": len(self.violations),
            "planted_caught": self.planted_caught,
            "planted": {item.kind: {"planted": item.planted, "caught": item.caught} for item in self.planted},
            "fault_kinds": dict(sorted(self.faults.items())),
            "outcomes": {kind: dict(sorted(counts.items())) for kind, counts in sorted(outcomes.items())},
            "attempts_without_answer": sum(item.lost for item in operations),
            "operations_asked": self.asked,
            "interrupted": self.interrupted,
            "minutes": round(self.seconds / 60.0, 2),
            "seed": self.seed,
            **self.system,
        }

    def summary(self) -> str:
        """Return the result in some lines."""
        lines = [f"{len(self.history.operations):,} operations, {sum(self.faults.values()):,} faults"]
        lines += [f"BROKEN {item.promise}: {item.resource} {item.detail}" for item in self.violations[:10]]
        blind = [item for item in self.planted if item.caught < item.planted]
        missed = [f"{item.kind} ({item.caught} of {item.planted})" for item in blind]
        unplanted = [item.kind for item in self.planted if not item.planted]
        lines.append(f"{len(self.violations)} violations")
        if missed:
            lines.append(f"planted and not seen: {', '.join(missed)}")
        if unplanted:
            lines.append(f"no place to plant: {', '.join(unplanted)}; ask for more operations")
        if self.planted_caught:
            lines.append(f"all {sum(item.planted for item in self.planted)} planted violations were seen")
        return "\n".join(lines)

    def _explained(self, violation: Violation) -> dict[str, Any]:
        involved = set(violation.operations)
        shown = [_plain(asdict(item)) for item in self.history.operations if item.number in involved]
        return {
            "promise": violation.promise,
            "resource": violation.resource,
            "detail": violation.detail,
            "operations": shown,
        }


def _plain(operation: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: an operation that never returned has no end."""
    return {key: value for key, value in operation.items() if value != float("inf")}


def write(path: Path, report: Report) -> None:
    """Write the result. ``UserError`` where that is impossible."""
    try:
        path.write_text(json.dumps(report.document(), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"--json {path}: {error.strerror}; give a writable file") from error
