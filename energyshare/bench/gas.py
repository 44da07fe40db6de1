"""Gas of everything that the lock does, from the receipts of real transactions with real proofs; and of dispatch.

Steady state: the first lock and the first packet of a deployment are not counted, allowances are
standing ones, 3 of 4 sealers seal. On py-evm two runs of the same contracts agree to the unit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from energyshare.bench import dispatch
from energyshare.bench.meter import CalldataCost, Meter
from energyshare.bench.rig import AMOUNT, LOCKER, Delivered, ProofDepth, Rig, holders
from energyshare.bridge.permit import sign_permit
from energyshare.bridge.seal import quorum_of
from energyshare.bridge.transfer import CHECKPOINT_INTERVAL, alias_of
from energyshare.chain import devnet
from energyshare.chain.sending import Sendable
from energyshare.side import Side

__all__ = ["BOUNDS", "Conditions", "GasReport", "PacketAnatomy", "Sample", "Spread", "measure", "sample"]

BATCH = 100
"""Transfers of a batch."""

TAIL = 500
"""Unconfirmed transfers behind the one that a packet credits."""

STATE_SIZES = (200, 2_000, 20_000)
"""Accounts in the source's state, for the packet of one."""

BOUNDS: Mapping[str, int] = {
    "lock": 60_000,
    "packet_1": 175_000,
    "packet_100_per_transfer_new": 34_000,
    "packet_100_per_transfer_holder": 17_000,
}
"""The most gas that each mean may be, at 2,000 accounts."""

_OPERATIONS_SEED = 1_000_000

Progress = Callable[[str], None]
"""Told what is being measured."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Gas of the same act at several lock addresses."""

    mean: int
    """Rounded to a unit."""
    lowest: int
    highest: int

    @classmethod
    def of(cls, gas: Iterable[float]) -> Spread:
        """Of at least one figure."""
        figures = list(gas)
        return cls(round(fmean(figures)), round(min(figures)), round(max(figures)))


@dataclass(frozen=True, slots=True)
class Sample:
    """What one deployment cost."""

    locks: tuple[int, ...]
    """Gas of each lock but the first."""
    packet_1: Delivered
    """One transfer to somebody who holds rights already."""
    packet_1_new: Delivered
    """One transfer to somebody who never did."""
    packet_100_new: Delivered
    packet_100_holder: Delivered
    depth: ProofDepth
    """Of the first of these packets."""
    verify_header: int
    """Gas of the light client for one header, as the lock calls it."""
    alias: int
    """Gas of registering one; the mean of a batch."""


@dataclass(frozen=True, slots=True)
class PacketAnatomy:
    """Where the gas of a packet of one transfer goes, as means over the deployments."""

    new_holder: Spread
    """The whole packet, where the recipient held nothing before."""
    header_bytes: int
    seal_bytes: int
    account_nodes: Spread
    account_bytes: Spread
    storage_nodes: Spread
    storage_bytes: Spread
    calldata_bytes: int
    calldata_gas: int
    """With the 21,000 of any transaction."""
    floor: int
    """What EIP-7623 charges for the call data at the least."""
    floor_share: float
    """Of the whole packet; at 1 no contract could be cheaper."""
    verify_header: int
    """The light client: header hash, three signatures, state root."""
    rest: int
    """Both proofs, the hashes, the booking and the payment."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the figures depend on besides the contracts."""

    chain: devnet.Kind
    accounts: int
    """In the source's genesis state; a deployment adds some 25."""
    deployments: int
    """Lock addresses that the means are over."""
    sealers: int
    seals: int
    confirmations: int


@dataclass(frozen=True, slots=True)
class GasReport:
    """The gas table."""

    conditions: Conditions
    figures: Mapping[str, Spread]
    """By the names of BOUNDS."""
    packet: PacketAnatomy
    accounts: Mapping[int, int]
    """Gas of a packet of one by the number of accounts in the source's state, at one address each."""
    operations: Mapping[str, int]
    """Gas of whatever else users and relayers do, at one address."""
    dispatch: dispatch.DispatchGas

    @property
    def violations(self) -> list[str]:
        """One line for each bound that does not hold."""
        own = [
            f"{name}: {self.figures[name].mean:,} gas, and {bound:,} is the most it may be"
            for name, bound in BOUNDS.items()
            if self.figures[name].mean > bound
        ]
        return own + self.dispatch.violations

    def to_json(self) -> dict[str, Any]:
        return {
            **{name: figure.mean for name, figure in self.figures.items()},
            "conditions": asdict(self.conditions),
            "ranges": {name: [figure.lowest, figure.highest] for name, figure in self.figures.items()},
            "bounds": dict(BOUNDS),
            "violations": self.violations,
            "packet": self.packet.to_json(),
            "accounts": {str(accounts): gas for accounts, gas in self.accounts.items()},
            "operations": dict(self.operations),
            "dispatch": self.dispatch.to_json(),
        }


def measure(
    kind: devnet.Kind = "py-evm",
    accounts: int = 2_000,
    deployments: int = 8,
    progress: Progress | None = None,
    state_sizes: Sequence[int] = STATE_SIZES,
    unrelated: Sequence[int] = dispatch.UNRELATED,
) -> GasReport:
    """Deploy `deployments` times on chains with `accounts` accounts, and measure. Takes minutes on py-evm."""
    tell = progress or _silent
    samples: list[Sample] = []
    for seed in range(deployments):
        tell(f"gas: deployment {seed + 1} of {deployments}, {accounts:,} accounts")
        with Rig(kind, seed, accounts) as rig:
            terms = rig.terms
            samples.append(sample(rig))
    by_size: dict[int, int] = {}
    for size in state_sizes:
        if size == accounts:
            by_size[size] = samples[0].packet_1.gas
            continue
        tell(f"gas: a packet at {size:,} accounts")
        with Rig(kind, 0, size) as rig:
            by_size[size] = rig.steady_packet().gas
    tell("gas: purchase, bounce, claim, tail")
    with Rig(kind, _OPERATIONS_SEED, accounts, crowded=tuple(Side)) as rig:
        operations = _operations(rig)
    return GasReport(
        Conditions(kind, accounts, deployments, terms.sealers, quorum_of(terms.sealers), terms.confirmations),
        {
            "lock": Spread.of(fmean(one.locks) for one in samples),
            "packet_1": Spread.of(one.packet_1.gas for one in samples),
            "packet_100_per_transfer_new": Spread.of(one.packet_100_new.gas / BATCH for one in samples),
            "packet_100_per_transfer_holder": Spread.of(one.packet_100_holder.gas / BATCH for one in samples),
        },
        _anatomy(samples),
        by_size,
        {"alias_registration": round(fmean(one.alias for one in samples)), **operations},
        dispatch.measure(kind, unrelated, tell),
    )


def sample(rig: Rig) -> Sample:
    """Measure one deployment."""
    new, *batch = holders(BATCH + 1)
    packet_1 = rig.steady_packet()
    depth = rig.proof_depth(rig.source.height())
    light_client = rig.destination.contract("QuorumLightClient", rig.network.record.chains[Side.SCHEDULE].light_client)
    verify = light_client.functions.verifyHeader(packet_1.packet.header, packet_1.packet.seal)
    meter = Meter(rig.destination, rig.network.actors.operator(Side.SCHEDULE))
    (refund,), _ = rig.register(Side.TRANSACTION, [LOCKER])
    recipients, registrations = rig.register(Side.SCHEDULE, [new, *batch])
    locks: list[int] = []

    def packet_for(aliases: Sequence[bytes]) -> Delivered:
        locks.extend(rig.lock(aliases, refund))
        rig.confirm()
        return rig.deliver(rig.packet())

    return Sample(
        packet_1=packet_1,
        packet_1_new=packet_for(recipients[:1]),
        packet_100_new=packet_for(recipients[1:]),
        packet_100_holder=packet_for(recipients[1:]),
        locks=tuple(locks),
        depth=depth,
        verify_header=meter.gas(verify),
        alias=round(fmean(registrations)),
    )


def _operations(rig: Rig) -> dict[str, int]:
    gas = {"packet_1": rig.steady_packet().gas}
    (refund,), _ = rig.register(Side.TRANSACTION, [LOCKER])
    recipients, _ = rig.register(Side.SCHEDULE, [LOCKER])
    gas |= _purchases(rig, recipients[0], refund)
    rig.approve()  # a permit replaces the standing allowance
    rig.confirm()
    rig.deliver(rig.packet())
    gas |= _bounces(rig, refund)
    rig.lock(recipients, refund)
    blocks = 2  # no block holds the whole tail
    locks = [gas for _ in range(blocks) for gas in rig.lock(recipients * (TAIL // blocks), refund)]
    rig.source.mine(rig.terms.confirmations - blocks)
    route = rig.network.ends[Side.TRANSACTION].route_state(rig.network.route(Side.TRANSACTION))
    checkpoint = route.outbox_position // CHECKPOINT_INTERVAL * CHECKPOINT_INTERVAL
    gas["lock_checkpoint"] = locks[checkpoint - route.outbox_position - 1]
    gas["tail_500_unconfirmed"] = rig.deliver(rig.packet()).gas
    return gas


def _purchases(rig: Rig, recipient: bytes, refund: bytes) -> dict[str, int]:
    account = rig.account(LOCKER, Side.TRANSACTION)
    asset = rig.network.asset(Side.TRANSACTION)
    market = rig.network.market()
    lock = rig.network.ends[Side.TRANSACTION].contract
    arguments = (rig.network.route(Side.TRANSACTION), AMOUNT, recipient, refund, 0)

    def gas(what: Sendable) -> int:
        (receipt,) = rig.send(Side.TRANSACTION, [(what, account)])
        return receipt["gasUsed"]

    def permit(spender: str) -> tuple[int, int, int, bytes, bytes]:
        return sign_permit(rig.source, asset, account, spender, AMOUNT)

    found = {"purchase": gas(market.functions.buy(*arguments))}
    # The owner's first permit costs more.
    gas(lock.functions.lockWithPermit(*arguments, permit(lock.address)))
    found["lock_with_permit"] = gas(lock.functions.lockWithPermit(*arguments, permit(lock.address)))
    found["purchase_with_permit"] = gas(market.functions.buyWithPermit(*arguments, permit(market.address)))
    return found


def _bounces(rig: Rig, refund: bytes) -> dict[str, int]:
    """Transfers to nobody: bounced, and credited at home or, with a refund alias of nobody's, claimed."""
    owner = rig.account(LOCKER, Side.TRANSACTION)
    secret = rig.unused("late alias")
    late = alias_of(owner.address, secret)
    nobody = rig.unused("nobody")[:20]
    home = rig.network.route(Side.TRANSACTION)
    found: dict[str, int] = {}

    def there_and_back(refund_to: bytes) -> tuple[int, int]:
        rig.lock([nobody], refund_to)
        rig.confirm()
        bounce = rig.deliver(rig.packet()).gas
        rig.confirm(Side.SCHEDULE)
        return bounce, rig.deliver(rig.packet(Side.SCHEDULE), Side.SCHEDULE).gas

    there_and_back(refund)
    found["bounce"], found["bounce_returned"] = there_and_back(refund)
    _, found["bounce_set_aside"] = there_and_back(late)
    rig.send(Side.TRANSACTION, [(rig.network.aliases(Side.TRANSACTION).functions.register(secret), owner)])
    claim = rig.network.ends[Side.TRANSACTION].contract.functions.claim(home, late)
    (receipt,) = rig.send(Side.TRANSACTION, [(claim, owner)])
    found["claim"] = receipt["gasUsed"]
    return found


def _anatomy(samples: Sequence[Sample]) -> PacketAnatomy:
    costs = [CalldataCost.of(one.packet_1.data) for one in samples]
    whole = fmean(one.packet_1.gas for one in samples)
    calldata = fmean(cost.gas for cost in costs)
    floor = fmean(cost.floor for cost in costs)
    verify_header = fmean(one.verify_header for one in samples)
    return PacketAnatomy(
        new_holder=Spread.of(one.packet_1_new.gas for one in samples),
        header_bytes=round(fmean(len(one.packet_1.packet.header) for one in samples)),
        seal_bytes=round(fmean(len(one.packet_1.packet.seal) for one in samples)),
        account_nodes=Spread.of(one.depth.account_nodes for one in samples),
        account_bytes=Spread.of(one.depth.account_bytes for one in samples),
        storage_nodes=Spread.of(one.depth.storage_nodes for one in samples),
        storage_bytes=Spread.of(one.depth.storage_bytes for one in samples),
        calldata_bytes=round(fmean(cost.size for cost in costs)),
        calldata_gas=round(calldata),
        floor=round(floor),
        floor_share=round(floor / whole, 3),
        verify_header=round(verify_header),
        rest=round(whole - calldata - verify_header),
    )


def _silent(step: str) -> None:
    """Progress for nobody."""
