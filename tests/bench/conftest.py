"""One small deployment, measured once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest

from energyshare.bench.dispatch import DispatchGas
from energyshare.bench.gas import Conditions, GasReport, PacketAnatomy, Sample, Spread, sample
from energyshare.bench.rig import Rig
from energyshare.bench.table import DISPATCH_TITLES

SEED = 77
ACCOUNTS = 50


@pytest.fixture(scope="session")
def measured() -> Iterator[tuple[Rig, Sample]]:
    """A rig after its measurement, and what was measured."""
    with Rig("py-evm", SEED, ACCOUNTS) as rig:
        yield rig, sample(rig)


@pytest.fixture
def report() -> Callable[[Mapping[str, int]], GasReport]:
    """Makes a report of given figures."""

    def make(figures: Mapping[str, int]) -> GasReport:
        some = Spread(1, 1, 1)
        operations = (
            "alias_registration",
            "bounce",
            "bounce_returned",
            "bounce_set_aside",
            "claim",
            "lock_checkpoint",
            "lock_with_permit",
            "packet_1",
            "purchase",
            "purchase_with_permit",
            "tail_500_unconfirmed",
        )
        return GasReport(
            Conditions("py-evm", accounts=50, deployments=1, sealers=4, seals=3, confirmations=6),
            {name: Spread(mean, mean, mean) for name, mean in figures.items()},
            PacketAnatomy(some, 1, 1, some, some, some, some, 1, 1, 1, 0.5, 1, 1),
            {50: 1},
            dict.fromkeys(operations, 1),
            DispatchGas(dict.fromkeys(DISPATCH_TITLES, 1), {100: 84_000, 1_000: 84_000}),
        )

    return make
