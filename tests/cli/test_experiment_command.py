"""`experiment 1 --json`: the keys and figures that others rely on."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.cli.processes import Ran


def test_experiment_1_reports_every_figure_of_the_paper(run: Callable[..., Ran]) -> None:
    ran = run("experiment", "1", "--json", "-")

    assert ran.status == 0
    report = json.loads(ran.out)  # standard output carries the JSON alone
    assert report["ok"] is True
    assert all(observation["ok"] for observation in report["observations"])
    assert set(report["observations"][0]) == {"step", "expected", "actual", "ok"}
    assert report["wallets"] == {
        "Client1": {"transaction": "947", "schedule": "53"},
        "EC": {"transaction": "1300", "schedule": "700"},
    }
    assert [
        [(record["from"], record["to"], record["token"]) for record in report["records"][side]]
        for side in ("transaction", "schedule")
    ] == [
        [("Client1", "EC", "73"), ("Client1", "Client1", "20"), ("EC", "EC", "300")],
        [("EC", "Client1", "73"), ("Client1", "Client1", "20"), ("EC", "EC", "300")],
    ]
    assert all(isinstance(record["block"], int) for record in report["records"]["transaction"])
    assert report["privacy"] == {
        "transaction_addresses_on_schedule_chain": 0,
        "schedule_addresses_on_transaction_chain": 0,
    }
    assert report["readable"]["StationA"]["sister"]["money"] == 0
    assert report["readable"]["StationA"]["single"]["money"] > 0
