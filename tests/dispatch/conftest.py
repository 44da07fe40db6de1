"""The town that agents act in, deployed once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.dispatch.town import Town, rolled_back, start


@pytest.fixture(scope="session")
def founded() -> Iterator[Town]:
    town = start()
    yield town
    town.chain.close()


@pytest.fixture
def town(founded: Town) -> Iterator[Town]:
    """On py-evm, a block a transaction; rolled back after each test."""
    with rolled_back(founded) as town:
        yield town
