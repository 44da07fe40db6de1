"""`energyshare up` with its terminals: energy that is bought and sold crosses a wire."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator

import pytest

from energyshare.deployment.ends import SiteRecord
from tests.cli.processes import Ran, Up

Run = Callable[..., Ran]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("network")
    settings = folder / "settings.toml"
    settings.write_text("[rights]\nEC = 1000\nClient1 = 30\n")
    up = Up(folder, "--chain", "py-evm", "--block-time", "0.2", "--sun", "0", "--settings", str(settings))
    up.wait_for("record in")
    yield up
    up.kill()


def test_users_buy_and_sell_by_their_terminals(run: Run, up: Up) -> None:
    at = ("--network", str(up.record), "--json", "-")

    bought = run("dispatch", "buy", "Client1", "2", *at)
    sold = run("dispatch", "sell", "Client1", "1", *at)

    assert (bought.status, sold.status) == (0, 0), bought.err + sold.err
    assert json.loads(bought.out)["stations"] == {"StationB": 2}
    assert json.loads(sold.out)["units"] == 1
    assert json.loads(run("query", "wallet", "Client1", *at).out)["Client1"]["schedule"] == "29"
    assert run("audit", "--network", str(up.record)).status == 0


def test_the_way_to_the_terminals_is_for_the_owner_alone_and_goes_with_the_network(up: Up) -> None:
    path = SiteRecord.beside(up.record)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    record = SiteRecord.read(path)
    assert record is not None
    assert set(record.users) == {"Client1", "Client2", "Client3"}
    status, said = up.stop()
    assert status == 0, said
    assert "accepted: 1 units of 1 users" in said
    assert not path.exists()
