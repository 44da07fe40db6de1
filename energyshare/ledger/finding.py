"""What an audit says of one law."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["AuditFinding"]


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """One law, what it demands and what is."""

    law: str
    expected: str
    actual: str
    ok: bool

    def to_json(self) -> dict[str, str | bool]:
        return {"law": self.law, "expected": self.expected, "actual": self.actual, "ok": self.ok}
