"""The committed table, and when it is stale."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import pytest

from energyshare.bench.baseline import Comparison, compare
from energyshare.bench.capacity import CapacityReport
from energyshare.bench.crowd import Tally
from energyshare.bench.gas import BOUNDS, GasReport, Sample
from energyshare.bench.latency import Conversion, LatencyReport
from energyshare.bench.rig import Rig
from energyshare.bench.table import CONTRACTS, Times, bytecode_digest, deployment_0, faults, render
from energyshare.bench.throughput import ThroughputReport
from energyshare.bench.users import UsersReport
from energyshare.contracts import Artifact, artifact
from energyshare.side import Side

FIRST = {"lock": 55_000, "packet_1": 148_000}


@pytest.fixture
def page(report: Callable[[Mapping[str, int]], GasReport]) -> str:
    return render(
        report(BOUNDS),
        FIRST,
        Times(
            LatencyReport("anvil", 1.0, 6, (Conversion(Side.TRANSACTION, 7, 8.0),)),
            ThroughputReport("anvil", 100, 10, 0.5, 0.25, 1),
            UsersReport("anvil", 200, 1.0, 6.0, 30.0, 30, Tally(1_000, Counter({1: 1_200}), Counter(), 0, 0, 12), True),
            CapacityReport("anvil", 1_000, 5_000, 10.0, 1.0, 400, 75_000, 30_000_000),
        ),
        Comparison(4, 2, 10_000, 100_000, 3_000, 30_000),
    )


def test_page_shows_the_figures_with_their_accounts_and_ratios(page: str) -> None:
    assert "50 accounts" in page
    assert "| lock | 60,000 | 60,000 | 60,000 |" in page
    assert "| header | 3,000 | 30,000 | 10.0 |" in page
    assert "7 blocks median, 7 at most; 8.0 s median" in page
    assert "| credits of them, in 1 packets | 400 a second |" in page
    assert "1,000 units, each transaction 1 block after it was sent at most; audit clean" in page
    assert "500 units a second: 30,000 users of a unit a minute (24,000 if gas alone were the limit)" in page
    assert "| report of energy and both flags | 1 | 38,000 |" in page
    assert "| connect for supply, 1,000 stations without a line to the user | 84,000 | 84,000 |" in page


def test_fresh_page_has_no_fault(page: str) -> None:
    assert faults(page) == []
    assert faults(page, FIRST) == []


def test_the_digest_covers_the_schedule() -> None:
    assert {"Dispatch", "EnergyRights", "TransactionLock"} <= set(CONTRACTS)
    code = artifact("Dispatch").bytecode
    assert all(artifact(part).bytecode.removeprefix("0x") in code for part in ("LineRegistry", "Settlement"))


def test_page_of_other_bytecode_is_stale(page: str) -> None:
    (fault,) = faults(page.replace(bytecode_digest(), "0" * 64))

    assert fault == "the contracts have changed since the table was measured"


def test_missing_page_is_stale() -> None:
    assert faults("")


def test_another_figure_is_stale(page: str) -> None:
    (fault,) = faults(page, {**FIRST, "lock": 55_001})

    assert fault == "lock costs 55,001 gas, and the table says 55,000"


def test_the_check_measures_single_transactions(measured: tuple[Rig, Sample]) -> None:
    _, one = measured
    first = deployment_0(one)

    assert first["lock"] == one.locks[0]
    assert first["packet_100_holder"] == one.packet_100_holder.gas


def test_own_readers_cost_a_fraction_of_openzeppelins(
    measured: tuple[Rig, Sample], mock_artifact: Callable[[str], Artifact]
) -> None:
    rig, _ = measured

    found = compare(rig, mock_artifact("ProofHarness"))

    assert found.proofs * 4 < found.peer_proofs
    assert found.header * 4 < found.peer_header
