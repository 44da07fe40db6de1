"""`up` and what uses it: a network of one command, that other commands find, use and leave in order."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from energyshare.bridge.transfer import TransferState
from energyshare.chain.connection import Chain
from energyshare.deployment.record import NetworkRecord
from energyshare.errors import ChainError
from energyshare.ledger.transfers import transfers
from energyshare.network import Network
from energyshare.side import Side
from tests.cli.processes import Ran, Up

Run = Callable[..., Ran]
StartUp = Callable[..., Up]

BLOCK_TIME = "0.1"


@pytest.mark.parametrize("kind", ["py-evm", "anvil"])
def test_a_network_runs_until_stopped_and_leaves_nothing(kind: str, run: Run, start_up: StartUp) -> None:
    up = start_up("--chain", kind, "--block-time", BLOCK_TIME)
    up.wait_for("record in")
    at = ("--network", str(up.record))

    assert run("purchase", "Client1", "73", *at).status == 0
    up.wait_for("transaction → schedule: transfer 1")
    wallet = run("query", "wallet", "Client1", *at, "--json", "-")
    assert json.loads(wallet.out) == {"Client1": {"transaction": "927", "schedule": "73"}}

    assert run("convert", "Client1", "20", "--from", "schedule", *at).status == 0
    up.wait_for("schedule → transaction: transfer 1")
    records = json.loads(run("query", "records", *at, "--json", "-").out)
    assert [(entry["from"], entry["to"], entry["token"]) for entry in records["transaction"]] == [
        ("Client1", "EC", "73"),
        ("Client1", "Client1", "20"),
    ]
    states = {entry["state"] for entry in json.loads(run("query", "transfers", *at, "--json", "-").out)}
    assert states <= {TransferState.CREDITED, TransferState.FINAL}
    audit = run("audit", *at, "--json", "-")
    assert audit.status == 0
    assert json.loads(audit.out)["ok"] is True

    urls = [chain.url for chain in NetworkRecord.read(up.record).chains.values()]
    status, _ = up.stop()
    assert status == 0
    assert not up.record.exists()
    for url in urls:
        assert url is not None
        with pytest.raises(ChainError):
            Chain.connect(url)


def test_anvil_does_not_outlive_a_killed_up(start_up: StartUp) -> None:
    up = start_up("--chain", "anvil", "--block-time", BLOCK_TIME)
    up.wait_for("record in")
    url = NetworkRecord.read(up.record).chains[Side.TRANSACTION].url
    assert url is not None

    up.stop(signal.SIGKILL)

    _await_end(url)


def test_up_stops_in_order_on_sigterm(start_up: StartUp) -> None:
    up = start_up("--chain", "py-evm", "--block-time", BLOCK_TIME)
    up.wait_for("record in")

    status, _ = up.stop(signal.SIGTERM)

    assert status == 0
    assert not up.record.exists()


def test_a_second_relayer_from_the_record_serves_as_well(start_up: StartUp, tmp_path: Path) -> None:
    up = start_up("--chain", "py-evm", "--block-time", BLOCK_TIME)
    up.wait_for("record in")
    from energyshare.cli.settings import Settings

    with Network.connect(NetworkRecord.read(up.record), Settings().actors()) as network:
        network.purchase("Client1", 73_000)
        up.wait_for("transaction → schedule: transfer 1")
        (status,) = transfers(network)
        assert status.state in (TransferState.CREDITED, TransferState.FINAL)


def _await_end(url: str) -> None:
    """Return once nothing answers at `url`; the guardian needs a moment to notice."""
    for _ in range(200):
        try:
            chain = Chain.connect(url)
        except ChainError:
            return
        chain.close()
        os.sched_yield()
    pytest.fail(f"{url} still answers")
