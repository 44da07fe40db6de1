"""Latency and throughput, at the pace of tests."""

from __future__ import annotations

import dataclasses

from energyshare.bench import latency, throughput
from energyshare.bench.latency import BOUND_BLOCKS, Conversion, LatencyReport
from energyshare.side import Side


def test_conversions_arrive_both_ways_after_their_confirmations() -> None:
    found = latency.measure("py-evm", conversions=1, block_time_s=0.1)

    assert sorted(one.side for one in found.conversions) == sorted(Side)
    for one in found.conversions:
        assert one.blocks >= found.confirmations + 1
        assert one.seconds > 0


def test_a_conversion_over_the_bound_is_a_violation() -> None:
    late = LatencyReport("anvil", 1.0, 6, (Conversion(Side.TRANSACTION, BOUND_BLOCKS, 8.0),))
    assert late.violations == []

    late = dataclasses.replace(late, conversions=(Conversion(Side.SCHEDULE, BOUND_BLOCKS + 1, 9.0),))

    (violation,) = late.violations
    assert violation.startswith("from the schedule chain: 9 blocks")
    assert late.to_json()["violations"] == [violation]


def test_throughput_counts_every_credit_once() -> None:
    found = throughput.measure("py-evm", transfers=12, recipients=5)

    assert found.packets == 1
    body = found.to_json()
    assert body["transfers"] == 12
    assert body["locks_per_second"] > 0
    assert body["credits_per_second"] > 0
