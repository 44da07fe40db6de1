"""When a station's state deserves a report to the chain: often enough to be true, and no more often.

A flag falls where the contracts would reject it, and rises only once a newcomer has room with a margin to spare, so
that a level which trembles at the threshold raises no flag twice. Stored energy is reported once it is off by more than
a margin, from which it must move as much again for the next report. A level as good as it gets always raises the flag.
"""

from __future__ import annotations

from dataclasses import dataclass

from energyshare.dispatch.dispatcher import Report, StationState
from energyshare.dispatch.rules import Rules, Service, admits, contradicts, level
from energyshare.errors import EnergyShareError

__all__ = ["InvalidMargins", "Margins", "report_due"]


class InvalidMargins(EnergyShareError):
    """Margins that cannot be reported by."""


@dataclass(frozen=True, slots=True)
class Margins:
    """How far a level must move to be worth a transaction."""

    hysteresis_wh: int = 1_000
    """Beyond the threshold, before a flag rises."""
    drift_wh: int = 1_000
    """Between what is stored and what the chain believes, before that is set right."""

    def __post_init__(self) -> None:
        if self.hysteresis_wh < 0 or self.drift_wh < 1:
            raise InvalidMargins("hysteresis must not be negative and drift be 1 Wh at least")


def report_due(
    chain_says: StationState,
    measured_wh: int,
    rules: Rules,
    margins: Margins,
    *,
    outstanding_wh: int = 0,
    serving: bool = True,
    acquires: bool = True,
) -> Report | None:
    """What a station should report, None where the chain knows well enough.

    Args:
        chain_says: The station as the list has it.
        measured_wh: Stored, by the terminal.
        outstanding_wh: What the chain has counted and the terminal has yet to move: units paid for and not supplied,
            less units agreed on and not received. It is no drift.
        serving: Whether the terminal and its device answer; if not, no flag stays up.
        acquires: Whether the station can accept what is sold to it, which it cannot without meters on its lines; if
            not, its flag to buy neither rises nor stays up.
    """
    stored = min(max(measured_wh - outstanding_wh, 0), chain_says.capacity)
    may = {Service.SUPPLY: serving, Service.ACQUIRE: serving and acquires}
    supply, acquire = (may[service] and _flag(chain_says, service, stored, rules, margins) for service in Service)
    if (supply, acquire) == (chain_says.can_supply, chain_says.can_acquire) and abs(
        stored - chain_says.stored
    ) < margins.drift_wh:
        return None
    return Report(chain_says.transfers, stored, supply, acquire)


def _flag(chain_says: StationState, service: Service, stored: int, rules: Rules, margins: Margins) -> bool:
    """Whether the flag of a side should be up."""
    available, connected = level(service, stored, chain_says.capacity), chain_says.connected(service)
    if chain_says.available(service):
        return not contradicts(True, available, connected, rules.reserve_wh)
    if available == chain_says.capacity:
        return admits(available, connected, rules.reserve_wh, rules.unit_wh)
    return admits(available - margins.hysteresis_wh, connected, rules.reserve_wh, rules.unit_wh)
