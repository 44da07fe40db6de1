"""A storage as arithmetic: what is in it follows from what its meter counted, to the watt-hour.

The meter is at the bus: it counts what contracts count. Between it and the cells is a converter that loses something
each way. Losses are rounded over all that ever passed, never unit by unit, so that they do not drift.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from energyshare.errors import EnergyShareError

__all__ = ["InsufficientEnergy", "InsufficientRoom", "InvalidStorage", "Storage"]

WHOLE_BP = 10_000


class InvalidStorage(EnergyShareError):
    """A storage that cannot be."""


class InsufficientEnergy(EnergyShareError):
    """A storage has not what it should give."""


class InsufficientRoom(EnergyShareError):
    """A storage cannot hold what it should take."""


@dataclass(frozen=True, slots=True)
class Storage:
    """A storage: `initial + taken in − given out − losses = stored`, exactly, always."""

    capacity_wh: int
    initial_wh: int
    """Stored at first."""
    max_power_w: int
    """At the meter, either way."""
    charge_efficiency_bp: int = WHOLE_BP
    discharge_efficiency_bp: int = WHOLE_BP
    taken_in_wh: int = 0
    """Ever, at the meter."""
    given_out_wh: int = 0
    """Ever, at the meter."""

    def __post_init__(self) -> None:
        for name in ("charge_efficiency_bp", "discharge_efficiency_bp"):
            if not 0 < getattr(self, name) <= WHOLE_BP:
                raise InvalidStorage(f"{name} must be 1 to {WHOLE_BP}, not {getattr(self, name)}")
        if self.capacity_wh < 1 or self.max_power_w < 1 or self.taken_in_wh < 0 or self.given_out_wh < 0:
            raise InvalidStorage("capacity and power must be positive and meters not negative")
        if not 0 <= self.stored_wh <= self.capacity_wh:
            raise InvalidStorage(f"{self.stored_wh} Wh stored in a storage for 0 to {self.capacity_wh} Wh")

    @property
    def charge_loss_wh(self) -> int:
        """Lost on the way in."""
        return self.taken_in_wh - self.taken_in_wh * self.charge_efficiency_bp // WHOLE_BP

    @property
    def discharge_loss_wh(self) -> int:
        """Lost on the way out."""
        return -(-self.given_out_wh * WHOLE_BP // self.discharge_efficiency_bp) - self.given_out_wh

    @property
    def stored_wh(self) -> int:
        """In the cells."""
        return self.initial_wh + self.taken_in_wh - self.charge_loss_wh - self.given_out_wh - self.discharge_loss_wh

    @property
    def deliverable_wh(self) -> int:
        """The most that it can give, at the meter."""
        ever = self.initial_wh + self.taken_in_wh - self.charge_loss_wh
        return ever * self.discharge_efficiency_bp // WHOLE_BP - self.given_out_wh

    @property
    def acceptable_wh(self) -> int:
        """The most that it can take, at the meter."""
        room_ever = self.capacity_wh - self.initial_wh + self.given_out_wh + self.discharge_loss_wh
        return ((room_ever + 1) * WHOLE_BP - 1) // self.charge_efficiency_bp - self.taken_in_wh

    def discharged(self, energy_wh: int) -> Storage:
        """After giving `energy_wh` at the meter. Raises InsufficientEnergy."""
        if energy_wh > self.deliverable_wh:
            raise InsufficientEnergy(
                f"{energy_wh} Wh asked of a storage that can give {self.deliverable_wh}: charge it"
            )
        return replace(self, given_out_wh=self.given_out_wh + energy_wh)

    def charged(self, energy_wh: int) -> Storage:
        """After taking `energy_wh` at the meter. Raises InsufficientRoom."""
        if energy_wh > self.acceptable_wh:
            raise InsufficientRoom(f"{energy_wh} Wh for a storage that can take {self.acceptable_wh}: discharge it")
        return replace(self, taken_in_wh=self.taken_in_wh + energy_wh)
