"""What an experiment says while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Event", "Observation", "Progress", "Stage", "silent"]


class Stage(StrEnum):
    """What an event is about."""

    SETUP = "setup"
    TRAFFIC = "traffic"
    """One act of many that are not looked at one by one."""
    STEP = "step"
    """One of the paper's, by its name."""
    LOCKED = "locked"
    CONFIRMATION = "confirmation"
    DELIVERED = "delivered"
    DISPATCHED = "dispatched"
    OBSERVED = "observed"
    SEARCH = "search"


@dataclass(frozen=True, slots=True)
class Event:
    """One line of progress."""

    stage: Stage
    text: str
    ok: bool = True
    """False where an observation failed."""

    def __str__(self) -> str:
        return self.text


Progress = Callable[[Event], None]
"""Told each event as it happens, in the thread that runs the experiment."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One figure that an experiment must show."""

    step: str
    expected: str
    actual: str
    ok: bool

    def to_json(self) -> dict[str, str | bool]:
        return {"step": self.step, "expected": self.expected, "actual": self.actual, "ok": self.ok}


def silent(event: Event) -> None:
    """Progress for nobody."""
