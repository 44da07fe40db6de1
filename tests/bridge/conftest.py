"""More networks for the bridge's tests: deployed once a session, rolled back after every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from energyshare.amount import BASE_UNITS
from energyshare.deployment.deploy import Terms
from tests.bridge.world import World, rolled_back

ODD_TERMS = Terms(
    token_lot=2,
    rights_lot=3,
    rights_supply=1_200 * BASE_UNITS,
    rights={"EC": 300 * BASE_UNITS, "Client1": 600 * BASE_UNITS},
)
"""Three rights for two tokens, and so few rights that the pool runs short."""


@pytest.fixture(scope="session")
def odd_deployed() -> Iterator[World]:
    world = World.make(terms=ODD_TERMS)
    yield world
    world.close()


@pytest.fixture
def odd_world(odd_deployed: World) -> Iterator[World]:
    """A network with the ratio 3:2 and few rights, on py-evm."""
    with rolled_back(odd_deployed) as world:
        yield world


@pytest.fixture(scope="session")
def anvil_deployed() -> Iterator[World]:
    world = World.make("anvil")
    yield world
    world.close()


@pytest.fixture
def anvil_world(anvil_deployed: World) -> Iterator[World]:
    """The network of experiment 1 on anvil, which mines a block for every transaction."""
    with rolled_back(anvil_deployed) as world:
        yield world
