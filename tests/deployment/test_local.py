"""A network on this machine says when a part of it has ended."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from energyshare.bridge.relayer import Relayer
from energyshare.chain.keys import Keyring
from energyshare.chain.sending import poll
from energyshare.deployment.actors import Actors
from energyshare.deployment.deploy import Terms
from energyshare.deployment.local import LocalNetwork
from energyshare.errors import ChainError
from energyshare.side import Side


@pytest.fixture
def local() -> Iterator[LocalNetwork]:
    with LocalNetwork("py-evm", Actors(Keyring()), Terms()) as local:
        yield local


def _check_for_a_while(local: LocalNetwork) -> None:
    for _ in poll(10):
        local.check()


def test_the_end_of_the_blocks_is_told(local: LocalNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> None:
        raise ChainError("the node is gone")

    local.check()
    monkeypatch.setattr(local.chains[Side.SCHEDULE], "mine", gone)
    local.run(0.01)

    with pytest.raises(ChainError, match="the node is gone"):
        _check_for_a_while(local)


def test_the_end_of_the_relayers_is_told(local: LocalNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(relayer: Relayer) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Relayer, "step", broken)
    local.run(0.01)

    with pytest.raises(ZeroDivisionError, match="a bug"):
        _check_for_a_while(local)
