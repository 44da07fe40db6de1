"""The topics of a terminal, after the lifecycle of the Homie convention 5.

All begin with `energyshare/1/{terminal}`; the number is the version of messages and topics.

| topic | from | QoS | retained | payload |
| --- | --- | --- | --- | --- |
| `$state` | terminal, or its last will | 1 | yes | a `State` |
| `meter` | terminal | 1 | yes | `Statement` of a `MeterReading` |
| `line/{user}` | station's terminal | 1 | yes | `Statement` of a `LineReading` |
| `command` | gateway | 1 | no | `Command`, which the broker drops when it expires |
| `acknowledgement` | terminal | 1 | no | `Statement` of an `Acknowledgement` |
| `result` | terminal | 1 | no | `Statement` of a `Result` |
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["ROOT", "State", "Topics"]

ROOT = "energyshare/1"


class State(StrEnum):
    """Where a terminal is in its life, as Homie names it."""

    INIT = "init"
    """Connected; its device has not answered yet."""
    READY = "ready"
    DISCONNECTED = "disconnected"
    """It left of its own accord."""
    SLEEPING = "sleeping"
    """Connected, but its device no longer answers."""
    LOST = "lost"
    """It vanished: its last will."""


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one terminal; of all with `+` for its id."""

    terminal: str

    @property
    def state(self) -> str:
        return f"{ROOT}/{self.terminal}/$state"

    @property
    def meter(self) -> str:
        return f"{ROOT}/{self.terminal}/meter"

    def line(self, user: str) -> str:
        """Of the meter on the line from `user`; of all with `+`."""
        return f"{ROOT}/{self.terminal}/line/{user}"

    @property
    def command(self) -> str:
        return f"{ROOT}/{self.terminal}/command"

    @property
    def acknowledgement(self) -> str:
        return f"{ROOT}/{self.terminal}/acknowledgement"

    @property
    def result(self) -> str:
        return f"{ROOT}/{self.terminal}/result"

    @property
    def told(self) -> tuple[str, ...]:
        """What the terminal publishes."""
        return (self.state, self.meter, self.acknowledgement, self.result, self.line("+"))

    @staticmethod
    def terminal_of(topic: str) -> str:
        """The terminal that a topic belongs to."""
        return topic.removeprefix(f"{ROOT}/").partition("/")[0]
