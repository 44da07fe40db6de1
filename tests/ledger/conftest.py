"""One more network for the ledger's tests: deployed once a session, rolled back after every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from energyshare.amount import BASE_UNITS
from energyshare.deployment.deploy import Terms
from tests.bridge.world import World, rolled_back
from tests.ledger.town import Town

SCARCE = Terms(
    token_lot=2,
    rights_lot=3,
    rights_supply=900 * BASE_UNITS,
    rights={"EC": 300 * BASE_UNITS, "Client1": 600 * BASE_UNITS},
)
"""Three rights for two tokens, and every right in somebody's hands: the pool of rights is empty."""


@pytest.fixture(scope="session")
def scarce_deployed() -> Iterator[World]:
    world = World.make(terms=SCARCE)
    yield world
    world.close()


@pytest.fixture
def scarce_world(scarce_deployed: World) -> Iterator[World]:
    """A network at the ratio 3:2 without a right to spare."""
    with rolled_back(scarce_deployed) as world:
        yield world


@pytest.fixture(scope="session")
def town_deployed() -> Iterator[Town]:
    town = Town.make()
    yield town
    town.world.close()


@pytest.fixture
def town(town_deployed: Town) -> Iterator[Town]:
    """A network with the paper's stations and lines."""
    with rolled_back(town_deployed.world) as world:
        yield Town.of(world)
