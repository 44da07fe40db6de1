"""`up`, `deploy`, `relay`, `seal`: what runs a network."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from energyshare.bridge.relayer import Delivery, Relayer, run_relayers
from energyshare.bridge.sealer import Journal, Sealer
from energyshare.bridge.sealer_service import RemoteSealer, SealerService
from energyshare.chain.anvil import find_anvil
from energyshare.chain.connection import Chain
from energyshare.cli.options import SIDE, network_option, open_network, settings_option
from energyshare.cli.output import console_for, table
from energyshare.cli.settings import load_settings
from energyshare.deployment.deploy import deploy as deploy_network
from energyshare.deployment.ends import SiteRecord
from energyshare.deployment.local import CHAIN_IDS, LocalNetwork
from energyshare.deployment.record import NetworkRecord
from energyshare.deployment.site import Site, reports
from energyshare.dispatch.agents import Step
from energyshare.dispatch.station_client import StationClient
from energyshare.errors import ChainError, EnergyShareError
from energyshare.network import Network
from energyshare.physical.link import BrokerAddress
from energyshare.side import Side

__all__ = ["deploy", "relay", "seal", "until_signal", "up"]

SUN_WH = 10
"""What a storage takes in at a time."""

CHECK_INTERVAL_S = 0.5
"""How often `up` looks whether its parts are alive."""


@click.command()
@click.option(
    "--chain",
    "kind",
    type=click.Choice(["py-evm", "anvil"]),
    help="What runs the chains; by default anvil where it is installed, else py-evm.",
)
@click.option(
    "--block-time",
    "block_time_s",
    type=click.FloatRange(min=0.05),
    default=1.0,
    show_default=True,
    help="Seconds.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65_534),
    default=0,
    help="JSON-RPC of the transaction chain; the next one is the scheduling chain's. 0, the default, takes free ones.",
)
@click.option(
    "--terminals/--no-terminals",
    default=True,
    show_default=True,
    help="Terminals of users and stations, with simulated storages, and the stations' agents.",
)
@click.option(
    "--broker",
    "broker_url",
    metavar="URL",
    envvar="ENERGYSHARE_BROKER",
    help="An MQTT 5 broker with an account for each terminal, its party's name in small letters, and for each that "
    "commands one, `<name>-gateway`, all with the URL's password (its user is not used); by default one is started. "
    "Others see command lines: name it in ENERGYSHARE_BROKER.",
)
@click.option(
    "--sun",
    "sun_w",
    type=click.IntRange(0),
    default=36_000,
    show_default=True,
    help="Watts that each storage takes in from elsewhere.",
)
@settings_option
@network_option
def up(
    kind: str | None,
    block_time_s: float,
    port: int,
    terminals: bool,
    broker_url: str | None,
    sun_w: int,
    settings_path: Path | None,
    record_path: Path,
) -> None:
    """Run a whole network on this machine until Ctrl-C: both chains, sealers, relayers, terminals, stations' agents."""
    console = console_for()
    settings = load_settings(settings_path)
    terms, actors = settings.terms(), settings.actors()
    _refuse_to_replace(record_path)
    NetworkRecord.check_writable(record_path)
    broker = None if broker_url is None else BrokerAddress.parse(broker_url)
    ports = {Side.TRANSACTION: port, Side.SCHEDULE: port + 1} if port else None
    with (
        until_signal() as stop,
        LocalNetwork(
            "anvil" if (kind or _best_kind()) == "anvil" else "py-evm",
            actors,
            terms,
            ports=ports,
            serve=True,
            on_step=lambda step: console.print(f"[dim]{step} …[/dim]"),
        ) as local,
    ):
        local.write_record(record_path)
        SiteRecord.beside(record_path).unlink(missing_ok=True)  # of one that was killed
        mine = record_path.read_bytes()
        try:
            for side in Side:
                chain = local.network.record.chains[side]
                console.print(f"{side} chain {chain.chain_id} at {chain.url}, lock {chain.lock}, asset {chain.asset}")
            console.print(
                table(
                    "Parties (development keys: everybody knows them)" if settings.keys_are_public else "Parties",
                    ["party", "chain", "address", "key"],
                    [
                        (
                            party.name,
                            side,
                            address,
                            "0x" + actors.account(party.name, side).key.hex()
                            if settings.keys_are_public
                            else "of your mnemonic",
                        )
                        for party in local.network.record.parties
                        for side, address in party.addresses.items()
                    ],
                )
            )
            local.run(block_time_s, on_delivery=lambda relayer, delivery: _show(console, relayer, delivery))
            with ExitStack() as physical:
                site = None
                if terminals:
                    console.print("[dim]start broker, terminals and agents …[/dim]")
                    site = physical.enter_context(Site.start(local.network, reports, broker=broker))
                    site_path = SiteRecord.beside(record_path)
                    site.record.write(site_path)
                    physical.callback(site_path.unlink, missing_ok=True)
                    site.run(on_step=lambda agent, step: _show_step(console, agent, step))
                    if sun_w:
                        site.shine(SUN_WH, SUN_WH * 3_600 / sun_w)
                console.print(f"record in {record_path}; a block every {block_time_s:g} s; stop with Ctrl-C")
                while not stop.wait(CHECK_INTERVAL_S):
                    local.check()
                    if site is not None:
                        site.check()
        finally:
            if record_path.exists() and record_path.read_bytes() == mine:
                record_path.unlink()
            console.print("[dim]stopping …[/dim]")


def _refuse_to_replace(record_path: Path) -> None:
    """Only the record that an `up` left when it was killed may be replaced."""
    if not record_path.exists():
        return
    left = NetworkRecord.read(record_path)
    if {side: chain.chain_id for side, chain in left.chains.items()} == CHAIN_IDS:
        try:
            Network.connect(left).close()
        except ChainError:
            return
    raise EnergyShareError(
        f"{record_path} is the record of another network: stop that one if it runs, move the record away, "
        "or name another with --network"
    )


def _best_kind() -> str:
    try:
        find_anvil()
    except ChainError:
        return "py-evm"
    return "anvil"


def _show_step(console: Console, agent: StationClient, step: Step) -> None:
    if not step.act.waits:
        console.print(f"{agent}: {step.act}: {step.detail}")


def _show(console: Console, relayer: Relayer, delivery: Delivery) -> None:
    last = delivery.first + delivery.processed - 1
    which = f"transfer {last}" if delivery.processed == 1 else f"transfers {delivery.first} to {last}"
    console.print(
        f"{relayer}: {which}, proven at block {delivery.source_height}, "
        f"processed in block {delivery.block_number} for {delivery.gas_used:,} gas"
    )


@contextmanager
def until_signal() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, so that what was started is stopped in order."""
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()
        if number == signal.SIGINT:  # also ends a start-up that is under way
            raise KeyboardInterrupt

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    except KeyboardInterrupt:
        if not stop.is_set():
            raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@click.command()
@click.option(
    "--transaction",
    "transaction_url",
    required=True,
    metavar="URL",
    help="JSON-RPC of the transaction chain.",
)
@click.option("--schedule", "schedule_url", required=True, metavar="URL", help="JSON-RPC of the scheduling chain.")
@click.option(
    "--transaction-sealer",
    "transaction_sealers",
    multiple=True,
    metavar="URL",
    help="Seals the transaction chain; repeat.",
)
@click.option(
    "--schedule-sealer",
    "schedule_sealers",
    multiple=True,
    metavar="URL",
    help="Seals the scheduling chain; repeat.",
)
@settings_option
@network_option
def deploy(
    transaction_url: str,
    schedule_url: str,
    transaction_sealers: tuple[str, ...],
    schedule_sealers: tuple[str, ...],
    settings_path: Path | None,
    record_path: Path,
) -> None:
    """Put a network onto two chains. Its operator and company pay the gas: fund them first where gas costs."""
    settings = load_settings(settings_path)
    sealer_urls = {Side.TRANSACTION: transaction_sealers, Side.SCHEDULE: schedule_sealers}
    if record_path.exists():
        raise EnergyShareError(f"{record_path} exists: move it away, or name another with --network")
    NetworkRecord.check_writable(record_path)
    urls = {Side.TRANSACTION: transaction_url, Side.SCHEDULE: schedule_url}
    with (
        Chain.connect(transaction_url, Side.TRANSACTION.value) as transaction,
        Chain.connect(schedule_url, Side.SCHEDULE.value) as schedule,
    ):
        chains = {Side.TRANSACTION: transaction, Side.SCHEDULE: schedule}
        if transaction.chain_id == schedule.chain_id:
            raise EnergyShareError(f"both URLs serve chain {transaction.chain_id}: a network needs two chains")
        sealers = {side: _addresses(chains[side], sealer_urls[side]) for side in Side if sealer_urls[side]}
        record = deploy_network(
            chains,
            settings.actors_on(*chains.values()),
            settings.terms(),
            urls=urls,
            sealer_urls=sealer_urls,
            sealers=sealers or None,
            on_step=click.echo,
        )
    record.write(record_path)
    click.echo(f"deployed; record in {record_path}")


def _addresses(chain: Chain, urls: tuple[str, ...]) -> list[str]:
    """The addresses of sealer services, each of which must seal this very chain."""
    identities = [RemoteSealer(url).identity() for url in urls]
    for url, identity in zip(urls, identities, strict=True):
        if (identity.chain_id, identity.genesis_hash) != (chain.chain_id, chain.genesis_hash):
            raise EnergyShareError(
                f"sealer {url} seals chain {identity.chain_id}, not the {chain.name} chain {chain.chain_id}: "
                "name one whose node is on that chain"
            )
    return [identity.sealer for identity in identities]


@click.command()
@network_option
@settings_option
@click.option("--poll", "poll_s", type=click.FloatRange(min=0.05), default=0.2, show_default=True, help="Seconds.")
def relay(record_path: Path, settings_path: Path | None, poll_s: float) -> None:
    """Carry transfers between the chains until Ctrl-C. Any number of relayers may run; none needs trust."""
    settings = load_settings(settings_path)
    console = console_for()
    with until_signal() as stop, open_network(record_path, settings_path) as network:
        # Sealers in this process remember what they signed, as those with a process of their own do.
        own = any(not chain.sealers for chain in network.record.chains.values())
        journal = Journal(record_path.with_suffix(".sealers.sqlite") if own else None)
        relayers = network.relayers({side: network.sealers(side, settings.sealers, journal) for side in Side})
        console.print(f"relaying {' and '.join(map(str, relayers))}; stop with Ctrl-C")
        try:
            run_relayers(
                relayers,
                stop,
                poll_s,
                on_delivery=lambda relayer, delivery: _show(console, relayer, delivery),
            )
        finally:
            stop.set()
            journal.close()


@click.command()
@click.option("--url", required=True, metavar="URL", help="JSON-RPC of the sealer's own node.")
@click.option("--chain", "side", type=SIDE, required=True, help="Which chain the node is on: transaction or schedule.")
@click.option(
    "--index", type=click.IntRange(0, 254), default=0, show_default=True, help="Which sealer of the mnemonic."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=0,
    help="Port to listen on; 0, the default, takes a free one.",
)
@click.option(
    "--journal",
    "journal_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("energyshare-run/sealer.sqlite"),
    show_default=True,
    help="What was signed, for ever: never start a sealer without the journal it had.",
)
@settings_option
def seal(
    url: str, side: Side, index: int, host: str, port: int, journal_path: Path, settings_path: Path | None
) -> None:
    """Serve seals of headers that this sealer's own node holds canonical, until Ctrl-C."""
    settings = load_settings(settings_path)
    with until_signal() as stop, Chain.connect(url, side.value) as chain, closing(Journal(journal_path)) as journal:
        account = settings.actors_on(chain).sealer(side, index)
        service = SealerService(Sealer(chain, account, journal), host, port)
        service.start()
        click.echo(f"sealer {account.address} of chain {chain.chain_id} at {service.url}; stop with Ctrl-C")
        try:
            stop.wait()
        finally:
            service.stop()
