"""The transaction records of a chain, as the paper's figures 11 to 13 print them.

A record says who gave value to whom, on one chain. The rule, the same for both chains: every movement of the
chain's asset is recorded once, at the moment it takes effect there and under the names it has there.

- A purchase takes effect on the transaction chain when the buyer pays: buyer → company. Where its rights are
  released: company → recipient.
- A conversion is one owner on both ends. Where it is locked: sender → sender; where it is credited:
  recipient → recipient.
- A refund is what bounced and came home, at once or by a claim: company → buyer of a purchase, else
  recipient → recipient. A claim for an alias that both purchases and conversions came home to counts as a
  conversion's.
- Energy is a right for each unit, the paper's figure 23: user → station where it was supplied, station → user where it
  was accepted.
- A float is what a station gets to buy energy with, from the company at the end of a period or from anybody; a
  settlement is what it pays the company then.
- A payment is any other transfer of the asset from one holder to another.

Records begin when the route is opened: what parties and stations start with is none. Nothing else is recorded: not
the bounce on its way (nobody was paid), not what moves between boxes, market and lock as part of the above, not issue
and redemption, which have events of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from eth_utils import to_checksum_address

from energyshare.amount import whole_units
from energyshare.bridge.transfer import Purpose, Transfer
from energyshare.chain.events import events, logs_of
from energyshare.dispatch.rules import Service
from energyshare.dispatch.schedule import SERVICES, Schedule
from energyshare.ledger.history import ScheduleEvent, history
from energyshare.ledger.reading import boxes
from energyshare.ledger.stations import names_on_record
from energyshare.network import Network
from energyshare.side import Side

__all__ = ["Record", "RecordKind", "involving", "records"]

_NOBODY = to_checksum_address("0x" + "00" * 20)


class RecordKind(StrEnum):
    """What a record is of."""

    PURCHASE = "purchase"
    CONVERSION = "conversion"
    REFUND = "refund"
    PAYMENT = "payment"
    ENERGY = "energy"
    FLOAT = "float"
    SETTLEMENT = "settlement"


@dataclass(frozen=True, slots=True)
class Record:
    """One movement of value on one chain."""

    sender: str
    """Name of the party, or the address where it has none."""
    recipient: str
    token: int
    """Base units of the chain's asset."""
    block: int
    side: Side
    kind: RecordKind

    def to_json(self) -> dict[str, str | int]:
        """The paper's four columns, `token` in whole units."""
        return {
            "from": self.sender,
            "to": self.recipient,
            "token": whole_units(self.token),
            "block": self.block,
        }


@dataclass(frozen=True, slots=True)
class _Movement:
    """A record before names: `at` orders it within the chain."""

    at: tuple[int, int]
    """Block number and log index."""
    sender: str
    """An address, or the name of a station."""
    recipient: str
    token: int
    kind: RecordKind


def records(network: Network, side: Side, to_block: int | None = None) -> list[Record]:
    """Every record of a chain in order, up to `to_block` (by default the latest)."""
    last = network.chains[side].height() if to_block is None else to_block
    movements = [*_Reader(network, side, last).movements()]
    return [
        Record(
            network.name_of(side, movement.sender),
            network.name_of(side, movement.recipient),
            movement.token,
            movement.at[0],
            side,
            movement.kind,
        )
        for movement in sorted(movements, key=lambda movement: movement.at)
    ]


def involving(listed: Sequence[Record], names: Iterable[str], limit: int | None = None) -> list[Record]:
    """Those of `listed` that every one of `names` has a part in, the latest `limit` of them or all."""
    parties = set(names)
    found = [record for record in listed if parties <= {record.sender, record.recipient}]
    return found if limit is None else found[-limit:]


class _Reader:
    """Reads one chain up to one block; looks at the other chain only to learn what came home."""

    def __init__(self, network: Network, side: Side, last: int) -> None:
        self._network = network
        self._side = side
        self._chain = network.chains[side]
        self._lock = network.ends[side].contract
        self._route = network.route(side)
        self._first = network.record.chains[side].deployed_at
        self._last = last
        self._company = str(self._chain.call(self._lock.functions.COMPANY()))
        self._market = network.record.chains[side].market
        self._schedule = network.schedule() if side is Side.SCHEDULE else None
        opened = [*events(self._chain, self._lock, "RouteAdded", self._first, self._last, self._route)]
        self._opened = opened[0]["blockNumber"] if opened else last
        """The block after which there are records."""

    def movements(self) -> Iterator[_Movement]:
        purposes: dict[int, Purpose] = {}
        yield from self._locks(purposes)
        if self._market is not None:
            yield from self._purchases()
        yield from self._credits(purposes)
        if self._schedule is not None:
            yield from self._energy(self._schedule)
        yield from self._payments()

    def _locks(self, purposes: dict[int, Purpose]) -> Iterator[_Movement]:
        """Conversions locked here; notes the purpose of every transfer of the outbox."""
        lot = self._network.ends[self._side].route_state(self._route, self._last).lot
        for event in events(self._chain, self._lock, "Locked", self._first, self._last, self._route):
            args = event["args"]
            transfer = Transfer.from_packed(args["word1"] + args["word2"])
            purposes[args["position"]] = transfer.purpose
            if transfer.purpose is Purpose.CONVERSION:
                at = (event["blockNumber"], event["logIndex"])
                sender = args["sender"]
                yield _Movement(at, sender, sender, transfer.lots * lot, RecordKind.CONVERSION)

    def _purchases(self) -> Iterator[_Movement]:
        market = self._network.market()
        for event in events(self._chain, market, "Purchased", self._first, self._last, None, None, self._route):
            args = event["args"]
            at = (event["blockNumber"], event["logIndex"])
            yield _Movement(at, args["buyer"], args["company"], args["amount"], RecordKind.PURCHASE)

    def _credits(self, locked: dict[int, Purpose]) -> Iterator[_Movement]:
        credits = [*events(self._chain, self._lock, "Credited", self._first, self._last, self._route)]
        claims = [*events(self._chain, self._lock, "Claimed", self._first, self._last, self._route)]
        refunded: dict[int, Purpose] = {}
        if claims or any(event["args"]["purpose"] == Purpose.BOUNCE for event in credits):
            refunded = {bounce: locked[original] for bounce, original in self._bounces() if original in locked}

        for event in credits:
            args = event["args"]
            at = (event["blockNumber"], event["logIndex"])
            purpose = Purpose(args["purpose"])
            recipient, amount = args["recipient"], args["amount"]
            if purpose is Purpose.PURCHASE:
                yield _Movement(at, self._company, recipient, amount, RecordKind.PURCHASE)
            elif purpose is Purpose.CONVERSION:
                yield _Movement(at, recipient, recipient, amount, RecordKind.CONVERSION)
            else:
                payer = self._refunder([refunded.get(args["position"])], recipient)
                yield _Movement(at, payer, recipient, amount, RecordKind.REFUND)

        waiting = [*self._waiting(refunded)] if claims else []
        for event in claims:
            args = event["args"]
            at = (event["blockNumber"], event["logIndex"])
            before = [purpose for alias, since, purpose in waiting if alias == args["aliasId"] and since < at]
            payer = self._refunder(before, args["recipient"])
            yield _Movement(at, payer, args["recipient"], args["amount"], RecordKind.REFUND)

    def _refunder(self, purposes: Iterable[Purpose | None], recipient: str) -> str:
        """Who gives the money back: the company if all that came home were purchases."""
        return self._company if set(purposes) == {Purpose.PURCHASE} else recipient

    def _bounces(self) -> Iterator[tuple[int, int]]:
        """Positions of the other chain's bounces, each with that of the transfer it sends home."""
        other = self._side.other
        chain = self._network.chains[other]
        for event in events(
            chain,
            self._network.ends[other].contract,
            "Bounced",
            self._network.record.chains[other].deployed_at,
            chain.height(),
            self._network.route(other),
        ):
            yield event["args"]["bouncePosition"], event["args"]["position"]

    def _waiting(self, refunded: dict[int, Purpose]) -> Iterator[tuple[bytes, tuple[int, int], Purpose | None]]:
        """Aliases that something was set aside for, when, and what it had been locked for."""
        for event in events(self._chain, self._lock, "ClaimWaiting", self._first, self._last, self._route):
            args = event["args"]
            yield args["aliasId"], (event["blockNumber"], event["logIndex"]), refunded.get(args["position"])

    def _energy(self, schedule: Schedule) -> Iterator[_Movement]:
        """Units, floats and settled periods of stations."""
        happened = history(schedule, self._last)
        names = names_on_record(self._network, happened)
        for event in happened:
            if event.block > self._opened and event.name in ("UnitTransferred", "Funded", "Settled"):
                yield from self._of_station(event, names[event.args["station"]], schedule.unit_wh)

    def _of_station(self, event: ScheduleEvent, station: str, unit_wh: int) -> Iterator[_Movement]:
        at, args = (event.block, event.log_index), event.args
        if event.name == "Funded":
            yield _Movement(at, args["from"], station, args["amount"], RecordKind.FLOAT)
        elif event.name == "Settled":
            if args["paid"]:
                yield _Movement(at, station, self._company, args["paid"], RecordKind.SETTLEMENT)
            if args["granted"]:
                yield _Movement(at, self._company, station, args["granted"], RecordKind.FLOAT)
        elif SERVICES[args["service"]] is Service.SUPPLY:
            yield _Movement(at, args["user"], station, unit_wh, RecordKind.ENERGY)
        else:
            yield _Movement(at, station, args["user"], unit_wh, RecordKind.ENERGY)

    def _payments(self) -> Iterator[_Movement]:
        parts = {_NOBODY, self._market, *boxes(self._network, self._side)}
        if self._schedule is not None:
            parts.add(self._schedule.settlement.address)
        asset = self._network.asset(self._side)
        for log in logs_of(self._chain, asset, "Transfer", self._opened + 1, self._last):
            sender, recipient = (to_checksum_address(topic[-20:]) for topic in log["topics"][1:])
            if sender not in parts and recipient not in parts:
                at = (log["blockNumber"], log["logIndex"])
                yield _Movement(at, sender, recipient, int.from_bytes(log["data"]), RecordKind.PAYMENT)
