"""A storage at the grid: what its cells hold, what they let through, and what is lost on the way in and out."""

from __future__ import annotations

from dataclasses import dataclass

from energyshare.dispatch.rules import Service
from energyshare.simulation.grid.network import GridError

__all__ = ["Efficiency", "Storage"]

WHOLE_BP = 10_000


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Of conversion between grid and cells, in basis points each way. SimBench states 95 % for its storages."""

    charge_bp: int = 9_500
    discharge_bp: int = 9_500

    def __post_init__(self) -> None:
        if not (0 < self.charge_bp <= WHOLE_BP and 0 < self.discharge_bp <= WHOLE_BP):
            raise GridError(f"no storage is that efficient: state 1 to {WHOLE_BP} basis points each way")


class Storage:
    """Integer watt-hours. Within a time step supply and acquisition are set off: cells see what is left of both."""

    __slots__ = ("capacity_wh", "efficiency", "lost_wh", "net_wh", "power_wh", "stored_wh")

    def __init__(self, capacity_wh: int, power_wh: int, stored_wh: int, efficiency: Efficiency) -> None:
        """
        Args:
            capacity_wh: Of the cells.
            power_wh: The most that passes at the grid in a time step.
            stored_wh: In the cells.
        """
        if not 0 <= stored_wh <= capacity_wh:
            raise GridError(f"a storage of {capacity_wh} Wh cannot hold {stored_wh} Wh: state 0 to its capacity")
        self.capacity_wh = capacity_wh
        self.power_wh = power_wh
        self.stored_wh = stored_wh
        self.efficiency = efficiency
        self.net_wh = 0
        """Given to the grid in this time step, less what was taken from it."""
        self.lost_wh = 0
        """In conversion, so far."""

    def level(self, service: Service) -> int:
        """What the cells can still give or take, as the grid sees it."""
        if service is Service.SUPPLY:
            return self.stored_wh * self.efficiency.discharge_bp // WHOLE_BP - self.net_wh
        return (self.capacity_wh - self.stored_wh) * WHOLE_BP // self.efficiency.charge_bp + self.net_wh

    def power_left(self, service: Service) -> int:
        """What the converter still lets through in this time step."""
        return self.power_wh - (self.net_wh if service is Service.SUPPLY else -self.net_wh)

    def move(self, service: Service, energy_wh: int) -> None:
        """Give to or take from the grid. Raises GridError for more than cells and converter can."""
        most = min(self.level(service), self.power_left(service))
        if not 0 <= energy_wh <= most:
            raise GridError(f"{energy_wh} Wh cannot pass a storage: state 0 to {most}")
        self.net_wh += energy_wh if service is Service.SUPPLY else -energy_wh

    def end_step(self) -> None:
        """Let what was moved reach the cells."""
        net, self.net_wh = self.net_wh, 0
        before = self.stored_wh
        if net > 0:
            self.stored_wh += -net * WHOLE_BP // self.efficiency.discharge_bp
        else:
            self.stored_wh += -net * self.efficiency.charge_bp // WHOLE_BP
        self.lost_wh += before - self.stored_wh - net
