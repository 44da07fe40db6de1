"""Every free parameter of the paper's model (section 4.4, Experiment 3), named, with its default and why.

The paper gives distributions by name and mean alone, and neither the rate of arrivals nor what stations take in. What
it leaves open is chosen once, for all networks.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from energyshare.dispatch.rules import MAX_LOSS_BP, Rules
from energyshare.errors import EnergyShareError

__all__ = ["InvalidParameters", "Normal", "Parameters"]


class InvalidParameters(EnergyShareError):
    """Parameters that no network can have."""


@dataclass(frozen=True, slots=True)
class Normal:
    """A normal distribution, cut off at 0 and at twice its mean, so that the mean stays what it says."""

    mean: float
    sd: float

    def __post_init__(self) -> None:
        if not (self.mean > 0 and self.sd >= 0):
            raise InvalidParameters(f"N({self.mean}, {self.sd}): state a mean above 0 and a deviation of 0 or more")


@dataclass(frozen=True, slots=True)
class Parameters:
    """A network and the traffic on it. Raises InvalidParameters for those that none can have."""

    users: int
    stations: int
    min_loss_bp: int = 1_340
    """Of any line, in basis points; the mean of table 8."""
    max_loss_bp: int = 2_840
    """Of any line, in basis points; the mean of table 8."""
    loss_sd: float = 0.5
    """Deviation of a line's loss as a share of maximum - minimum, about the middle and cut off at both. The paper says
    normal without a deviation; its scheduled losses near the minimum need a wide one."""
    lines_per_user: int | None = None
    """To stations drawn at random; None for a line to each, as the paper's lists seem to have."""

    stored_units: Normal = Normal(40, 10)
    """A station's energy at the start; mean from the paper."""
    capacity_units: int = 80
    """Of a station: as much room as energy in the mean. The paper gives none."""
    charge_units: float = 40.0
    """What a station takes in from sources of its own during a run, in the mean, a unit at a time (Poisson). The
    paper's two stations of 40 units deliver 114.6, and station a of Experiment 2 charges meanwhile."""

    horizon_s: int = 3_600
    """Over which users arrive (Poisson). The paper gives no rate; an hour leaves some 3 of 200 users connected at a
    time, and requests of one user seldom overlap."""
    requests_per_user: float = 1.0
    """In the mean of the Poisson arrivals: table 8 delivers about 11 units a user, sales among them."""
    request_units: Normal = Normal(10, 2.5)
    """Of a request for supply; mean from the paper."""
    request_s: Normal = Normal(60, 15)
    """Over which a request's units pass; mean from the paper."""
    sales_per_user: float = 0.2
    """In the mean: with 5 units each they make up the 11 units of table 8."""
    sale_units: Normal = Normal(5, 1.25)
    """Of a sale; mean from the paper."""
    sale_s: Normal = Normal(30, 7.5)
    """Over which a sale's units pass; mean from the paper."""

    rules: Rules = field(default_factory=Rules)
    """Of dispatch: k = 10 and a reserve of two units, as in Experiment 2."""

    def __post_init__(self) -> None:
        for name, least in (("users", 1), ("stations", 1), ("capacity_units", 1), ("horizon_s", 1)):
            if getattr(self, name) < least:
                raise InvalidParameters(f"{name} must be at least {least}, not {getattr(self, name)}")
        for name in ("requests_per_user", "sales_per_user", "charge_units"):
            if getattr(self, name) < 0:
                raise InvalidParameters(f"{name} must be 0 or more, not {getattr(self, name)}")
        if not 0 <= self.min_loss_bp <= self.max_loss_bp <= MAX_LOSS_BP:
            raise InvalidParameters(
                f"losses of {self.min_loss_bp} to {self.max_loss_bp} basis points: state 0 to {MAX_LOSS_BP}, ascending"
            )
        if not self.loss_sd > 0:
            raise InvalidParameters(f"loss_sd must be above 0, not {self.loss_sd}")
        if self.lines_per_user is not None and not 1 <= self.lines_per_user <= self.stations:
            raise InvalidParameters(
                f"lines_per_user must be 1 to the {self.stations} stations, not {self.lines_per_user}"
            )
