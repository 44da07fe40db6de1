"""Deployment as on real chains: nodes, sealers and relayer each a process of its own, joined by URLs alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import pytest

from energyshare.chain import devnet
from energyshare.chain.block_maker import BlockMaker
from energyshare.chain.connection import Chain
from energyshare.cli.settings import Settings, SettingsError
from energyshare.deployment.local import CHAIN_IDS
from energyshare.side import Side
from tests.cli.processes import Process, Ran

Run = Callable[..., Ran]


@pytest.fixture
def nodes() -> Iterator[dict[Side, Chain]]:
    """Two nodes that nobody has deployed to, a block every tenth of a second."""
    with ExitStack() as stack:
        chains = {
            side: stack.enter_context(devnet.start("anvil", side.value, CHAIN_IDS[side], port=0)) for side in Side
        }
        maker = BlockMaker(list(chains.values()), 0.1)
        maker.start()
        stack.callback(maker.stop)
        yield chains


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Start a command that stays, and make sure that it ends with the test."""
    started: list[Process] = []

    def start(*args: str) -> Process:
        started.append(Process(*args))
        return started[-1]

    yield start
    for process in started:
        process.kill()


def _sealer(start: Callable[..., Process], chain: Chain, side: Side, index: int, folder: Path) -> str:
    """Start a sealer; its URL."""
    journal = folder / f"{side}-{index}.sqlite"
    process = start(
        "seal", "--url", str(chain.url), "--chain", side.value, "--index", str(index), "--journal", str(journal)
    )
    return process.wait_for(" at ").split(" at ")[1].split(";")[0]


def test_a_network_of_separate_processes_carries_a_purchase(
    run: Run, start: Callable[..., Process], nodes: dict[Side, Chain], tmp_path: Path
) -> None:
    record = tmp_path / "network.json"
    at = ("--network", str(record))
    sealers = {side: [_sealer(start, nodes[side], side, index, tmp_path) for index in range(2)] for side in Side}

    deployed = run(
        "deploy",
        *("--transaction", str(nodes[Side.TRANSACTION].url), "--schedule", str(nodes[Side.SCHEDULE].url)),
        *(word for side in Side for url in sealers[side] for word in (f"--{side}-sealer", url)),
        *at,
    )
    assert deployed.status == 0, deployed.err
    relayer = start("relay", *at)
    relayer.wait_for("relaying")

    assert run("purchase", "Client1", "73", *at).status == 0
    relayer.wait_for("transaction → schedule: transfer 1")

    wallet = json.loads(run("query", "wallet", "Client1", *at, "--json", "-").out)
    assert wallet == {"Client1": {"transaction": "927", "schedule": "73"}}
    status, _ = relayer.stop()
    assert status == 0


def test_deploy_refuses_a_sealer_of_another_chain(
    run: Run, start: Callable[..., Process], nodes: dict[Side, Chain], tmp_path: Path
) -> None:
    stranger = _sealer(start, nodes[Side.SCHEDULE], Side.SCHEDULE, 0, tmp_path)
    record = tmp_path / "network.json"

    ran = run(
        "deploy",
        *("--transaction", str(nodes[Side.TRANSACTION].url), "--schedule", str(nodes[Side.SCHEDULE].url)),
        *("--transaction-sealer", stranger, "--network", str(record)),
    )

    assert ran.status == 1
    assert stranger in ran.err
    assert not record.exists()


def test_deploy_refuses_one_chain_for_both(run: Run, nodes: dict[Side, Chain], tmp_path: Path) -> None:
    url = str(nodes[Side.SCHEDULE].url)

    ran = run("deploy", "--transaction", url, "--schedule", url, "--network", str(tmp_path / "network.json"))

    assert ran.status == 1
    assert str(CHAIN_IDS[Side.SCHEDULE]) in ran.err


def test_sealers_named_for_one_chain_alone_leave_the_other_to_the_mnemonic(
    run: Run, start: Callable[..., Process], nodes: dict[Side, Chain], tmp_path: Path
) -> None:
    sealer = _sealer(start, nodes[Side.TRANSACTION], Side.TRANSACTION, 0, tmp_path)

    ran = run(
        "deploy",
        *("--transaction", str(nodes[Side.TRANSACTION].url), "--schedule", str(nodes[Side.SCHEDULE].url)),
        *("--transaction-sealer", sealer, "--network", str(tmp_path / "network.json")),
    )

    assert ran.status == 0, ran.err


def test_deploy_refuses_keys_that_everybody_knows_on_a_real_chain() -> None:
    class Real:
        name, automine = "transaction", None

    with pytest.raises(SettingsError, match="ENERGYSHARE_MNEMONIC"):
        Settings().actors_on(cast(Chain, Real()))
