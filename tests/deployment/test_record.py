"""The deployment record: read back as written, whole or not at all, and without a secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from energyshare.chain.keys import DEVELOPMENT_MNEMONIC, Keyring
from energyshare.deployment.actors import Actors
from energyshare.deployment.record import ChainRecord, NetworkRecord, RecordError
from energyshare.side import Side


@pytest.fixture
def record() -> NetworkRecord:
    def chain(side: Side) -> ChainRecord:
        return ChainRecord(
            url="http://127.0.0.1:8545" if side is Side.TRANSACTION else None,
            chain_id=31_337 + side.branch,
            genesis_hash="0x" + "ab" * 32,
            deployed_at=1,
            manager="0x" + "01" * 20,
            asset="0x" + "02" * 20,
            aliases="0x" + "03" * 20,
            lock="0x" + "04" * 20,
            light_client="0x" + "05" * 20,
            market="0x" + "06" * 20 if side is Side.TRANSACTION else None,
            dispatch="0x" + "07" * 20 if side is Side.SCHEDULE else None,
            sealers=("http://127.0.0.1:1", "http://127.0.0.1:2"),
        )

    actors = Actors(Keyring())
    parties = tuple(actors.party(name) for name in ("EC", "Client1", "StationA"))
    return NetworkRecord({side: chain(side) for side in Side}, parties)


def test_a_record_reads_back_as_written(record: NetworkRecord, tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "network.json"

    record.write(path)

    assert NetworkRecord.read(path) == record
    assert [entry.name for entry in path.parent.iterdir()] == ["network.json"]


def test_a_record_holds_no_key(record: NetworkRecord, tmp_path: Path) -> None:
    path = tmp_path / "network.json"
    record.write(path)
    text = path.read_text().lower()
    actors = Actors(Keyring())

    assert DEVELOPMENT_MNEMONIC not in text
    for side in Side:
        for account in (actors.account("EC", side), actors.operator(side), *actors.sealers(side, 2)):
            assert bytes(account.key).hex() not in text


def test_a_record_is_replaced_whole(record: NetworkRecord, tmp_path: Path) -> None:
    path = tmp_path / "network.json"
    path.write_text("x" * 100_000)

    record.write(path)

    assert NetworkRecord.read(path) == record


def test_a_missing_record_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="energyshare up"):
        NetworkRecord.read(tmp_path / "network.json")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"version": 2}', '{"version": 1, "chains": {"moon": {}}, "parties": []}']
)
def test_what_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "network.json"
    path.write_text(text)

    with pytest.raises(RecordError, match=str(path)):
        NetworkRecord.read(path)


def test_a_record_of_another_version_is_refused(record: NetworkRecord, tmp_path: Path) -> None:
    path = tmp_path / "network.json"
    record.write(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 99}))

    with pytest.raises(RecordError, match="deploy again"):
        NetworkRecord.read(path)


def test_a_record_that_cannot_be_written_is_named(record: NetworkRecord, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(RecordError, match="writable folder"):
        record.write(tmp_path / "file" / "network.json")
