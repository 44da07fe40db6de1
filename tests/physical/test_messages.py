"""Messages: what is signed, what is read, and what is not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_account.signers.local import LocalAccount
from hypothesis import given
from hypothesis import strategies as st

from energyshare.dispatch.rules import Service
from energyshare.physical.messages import (
    Acknowledgement,
    Answer,
    Command,
    MalformedMessage,
    MeterReading,
    Outcome,
    Result,
    Statement,
    decode,
    encoded,
    message_hash,
)
from tests.physical.grid import event

COMMAND = Command(event(3), "station-a", Service.SUPPLY, "user-1", event(1), 1_000, 5_000, 100, 200)


def test_a_command_names_its_event_and_reads_back(account: LocalAccount) -> None:
    command = COMMAND.signed(account)
    message = json.loads(encoded(command))

    assert message["reference"] == {"chain_id": 1337, "transaction": "0x" + "00" * 31 + "11", "log_index": 3}
    assert {"cmd_id", "energy_wh", "power_w", "not_before", "expires", "signature"} <= set(message)
    assert decode(Command, encoded(command)) == command
    assert command.signer == account.address


def test_the_same_event_makes_the_same_command_and_others_do_not() -> None:
    again = replace(COMMAND, cmd_id="", expires=999)

    assert again.cmd_id == COMMAND.cmd_id
    others = [replace(COMMAND, cmd_id="", reference=event(4)), replace(COMMAND, cmd_id="", terminal="user-1")]
    assert len({COMMAND.cmd_id, *(other.cmd_id for other in others)}) == 3


def test_what_is_signed_is_typed_data_of_eip_712(account: LocalAccount) -> None:
    fields = [("cmdId", "bytes32"), ("service", "string"), ("peer", "string"), ("connection", "bytes32")]
    fields += [(name, "uint64") for name in ("energyWh", "powerW", "notBefore", "expires")]
    typed = encode_typed_data(
        domain_data={"name": "energyshare terminal", "version": "1", "chainId": 1337},
        message_types={"Command": [{"name": name, "type": kind} for name, kind in fields]},
        message_data={
            "cmdId": COMMAND.cmd_id,
            "service": "supply",
            "peer": "user-1",
            "connection": COMMAND.connection.digest,
            "energyWh": 1_000,
            "powerW": 5_000,
            "notBefore": 100,
            "expires": 200,
        },
    )

    assert "0x" + account.sign_message(typed).signature.hex().removeprefix("0x") == COMMAND.signed(account).signature


@pytest.mark.parametrize(
    "change",
    [
        {"energy_wh": 2_000},
        {"power_w": 1},
        {"peer": "user-2"},
        {"service": Service.ACQUIRE},
        {"connection": event(2)},
        {"not_before": 0},
        {"expires": 10**9},
        {"reference": event(4), "cmd_id": ""},
        {"terminal": "station-b", "cmd_id": ""},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_signature_covers_every_field(account: LocalAccount, change: dict[str, object]) -> None:
    assert replace(COMMAND.signed(account), **change).signer != account.address  # type: ignore[arg-type]


def test_a_command_of_somebody_else_has_another_signer_and_none_has_none(account: LocalAccount) -> None:
    other = Account.from_key(b"\x02" * 32)

    assert COMMAND.signed(other).signer == other.address != account.address
    assert COMMAND.signer is None
    assert replace(COMMAND, signature="0x" + "ff" * 65).signer is None


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"energy_wh": 0}, "energy_wh"),
        ({"energy_wh": "1000"}, "energy_wh"),
        ({"energy_wh": 1000.0}, "energy_wh"),
        ({"energy_wh": True}, "energy_wh"),
        ({"energy_wh": 2**64}, "energy_wh"),
        ({"expires": None}, "expires"),
        ({"service": "give"}, "service"),
        ({"terminal": "station-a/command"}, "terminal"),
        ({"terminal": "+"}, "terminal"),
        ({"cmd_id": "0x" + "00" * 32}, "cmd_id"),
        ({"signature": "0x12"}, "signature"),
        ({"extra": 1}, "extra"),
        ({"reference": {"chain_id": 1}}, "reference"),
    ],
)
def test_a_command_that_is_none_is_named_malformed(change: dict[str, object], where: str) -> None:
    message = json.dumps(json.loads(encoded(COMMAND)) | change).encode()

    with pytest.raises(MalformedMessage, match=where):
        decode(Command, message)


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"1" * 5_000, b"[" * 4_000])
def test_what_is_no_json_is_named_malformed(payload: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode(Command, payload)


@given(st.binary(max_size=200))
def test_no_bytes_make_a_reader_fail_in_another_way(payload: bytes) -> None:
    for kind in (Command, Acknowledgement, Result, MeterReading, Statement):
        with pytest.raises(MalformedMessage):
            decode(kind, payload)


def test_readings_have_the_names_of_sunspec() -> None:
    reading = MeterReading(5, 6, 40_000, 20_000)

    assert json.loads(encoded(reading)) == {"TotWhInj": 5, "TotWhAbs": 6, "WHRtg": 40_000, "WHAvail": 20_000}
    assert decode(MeterReading, encoded(reading)) == reading
    assert decode(MeterReading, b'{"TotWhInj": 5, "TotWhAbs": 6}') == MeterReading(5, 6)


def test_answers_and_results_read_back() -> None:
    result = Result(COMMAND.cmd_id, Outcome.PARTIAL, 400, MeterReading(0, 0), MeterReading(400, 0), "empty")
    acknowledgement = Acknowledgement(message_hash(b"{"), None, Answer.MALFORMED, "no JSON")

    assert decode(Result, encoded(result)) == result
    assert decode(Acknowledgement, encoded(acknowledgement)) == acknowledgement


METER = "energyshare/1/station-a/meter"


def test_what_a_terminal_signs_is_typed_data_of_eip_712(account: LocalAccount) -> None:
    said = Statement.make(METER, MeterReading(5, 6), 1_700_000_000_123, account)
    typed = encode_typed_data(
        domain_data={"name": "energyshare terminal", "version": "1"},
        message_types={
            "Statement": [
                {"name": "topic", "type": "string"},
                {"name": "toldMs", "type": "uint64"},
                {"name": "contents", "type": "string"},
            ]
        },
        message_data={"topic": METER, "toldMs": 1_700_000_000_123, "contents": said.contents},
    )

    assert "0x" + account.sign_message(typed).signature.hex().removeprefix("0x") == said.signature
    assert decode(Statement, encoded(said)) == said
    assert decode(MeterReading, said.contents.encode()) == MeterReading(5, 6)
    assert said.signer(METER) == account.address


def test_a_statement_holds_for_its_topic_its_time_and_its_contents(account: LocalAccount) -> None:
    said = Statement.make(METER, MeterReading(5, 6), 1_000, account)

    assert said.signer("energyshare/1/station-b/meter") != account.address
    assert said.signer("energyshare/1/station-a/line/user-1") != account.address
    assert replace(said, told_ms=1_001).signer(METER) != account.address
    assert replace(said, contents=said.contents + " ").signer(METER) != account.address
    assert replace(said, signature="0x").signer(METER) is None


@pytest.mark.parametrize(
    "payload",
    [
        b'{"contents": "\\ud800", "told_ms": 1, "signature": "0x"}',
        b'{"contents": "", "told_ms": -1, "signature": "0x"}',
        b'{"contents": {}, "told_ms": 1, "signature": "0x"}',
    ],
)
def test_a_statement_that_is_none_is_named_malformed(payload: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode(Statement, payload)
