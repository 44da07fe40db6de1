"""`ape run deploy`: put a network onto the chain that ape is on, for the transactions, and another.

`ape run deploy --network http://127.0.0.1:8545 --schedule http://127.0.0.1:8546` deploys to stay and writes
the deployment record. On a local network, without `--schedule`, it is a rehearsal: the chains end with it.
"""

from __future__ import annotations

from pathlib import Path

import click
from ape.api import ProviderAPI
from ape.cli import ConnectedProviderCommand

from energyshare import Chain, EnergyShareError, LocalNetwork, NetworkRecord, Side, deploy
from energyshare.chain.devnet import Kind
from energyshare.cli.options import DEFAULT_RECORD
from energyshare.cli.settings import Settings, load_settings


@click.command(cls=ConnectedProviderCommand)
@click.option("--schedule", "schedule_url", metavar="URL", help="JSON-RPC of the scheduling chain.")
@click.option(
    "--record",
    "record_path",
    type=click.Path(path_type=Path),
    envvar="ENERGYSHARE_NETWORK",
    default=DEFAULT_RECORD,
    show_default=True,
    help="Where the deployment record goes.",
)
def cli(provider: ProviderAPI, schedule_url: str | None, record_path: Path) -> None:
    """Deploy a network: the chain of --network gets the money, the one of --schedule the energy."""
    try:
        settings = load_settings()
        if schedule_url is not None:
            record = _deploy_to_stay(provider, schedule_url, settings, record_path)
        elif provider.network.is_dev:
            kind: Kind = "anvil" if provider.name == "foundry" else "py-evm"
            with LocalNetwork(kind, settings.actors(), settings.terms(), on_step=click.echo) as local:
                record = local.network.record
        else:
            raise EnergyShareError("a network needs two chains: name the scheduling chain with --schedule URL")
    except EnergyShareError as error:
        raise click.ClickException(str(error)) from error
    _show(record)


def _deploy_to_stay(provider: ProviderAPI, schedule_url: str, settings: Settings, record_path: Path) -> NetworkRecord:
    if record_path.exists():
        raise EnergyShareError(f"{record_path} exists: move it away, or name another with --record")
    urls = {Side.TRANSACTION: str(provider.http_uri), Side.SCHEDULE: schedule_url}
    with (
        Chain.connect(urls[Side.TRANSACTION], Side.TRANSACTION.value) as transaction,
        Chain.connect(urls[Side.SCHEDULE], Side.SCHEDULE.value) as schedule,
    ):
        if transaction.chain_id == schedule.chain_id:
            raise EnergyShareError(f"both URLs serve chain {schedule.chain_id}: a network needs two chains")
        chains = {Side.TRANSACTION: transaction, Side.SCHEDULE: schedule}
        record = deploy(chains, settings.actors_on(*chains.values()), settings.terms(), urls=urls, on_step=click.echo)
    record.write(record_path)
    click.echo(f"record in {record_path}")
    return record


def _show(record: NetworkRecord) -> None:
    for side in Side:
        chain = record.chains[side]
        click.echo(f"{side} chain {chain.chain_id}: lock {chain.lock}, asset {chain.asset}")
