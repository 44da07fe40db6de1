"""Where the energy of a grid came from and went to, in integer watt-hours, and the law that both are the same."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from energyshare.simulation.grid.network import GridError

__all__ = ["Balance", "BalanceBroken"]


class BalanceBroken(GridError):
    """Energy came from nowhere or vanished: the simulation is wrong."""


@dataclass(frozen=True, slots=True)
class Balance:
    """Accounts of a run, in watt-hours. Imports follow from the others and are held to what the source gave."""

    pv_wh: int
    imported_wh: int
    """From the grid above."""
    stored_start_wh: int
    """In the cells of all stations."""
    load_wh: int
    exported_wh: int
    stored_end_wh: int
    line_loss_wh: int
    transformer_loss_wh: int
    """In the windings, by the current."""
    iron_loss_wh: int
    """In the transformer's core, with or without a current."""
    conversion_loss_wh: int
    """Between grid and cells."""

    @property
    def sources_wh(self) -> int:
        return self.pv_wh + self.imported_wh + self.stored_start_wh

    @property
    def sinks_wh(self) -> int:
        return self.load_wh + self.exported_wh + self.stored_end_wh + self.losses_wh

    @property
    def grid_loss_wh(self) -> int:
        """What the flow loses: all that a policy has any say in."""
        return self.line_loss_wh + self.transformer_loss_wh

    @property
    def losses_wh(self) -> int:
        return self.grid_loss_wh + self.iron_loss_wh + self.conversion_loss_wh

    @property
    def closes(self) -> bool:
        return self.sources_wh == self.sinks_wh

    def to_json(self) -> dict[str, int | bool]:
        return {**asdict(self), "sources_wh": self.sources_wh, "sinks_wh": self.sinks_wh, "closes": self.closes}
