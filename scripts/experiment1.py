"""`ape run experiment1`: the paper's Experiment 1 on fresh chains of the kind that ape is on."""

from __future__ import annotations

import click
from ape.api import ProviderAPI
from ape.cli import ConnectedProviderCommand

from energyshare import EnergyShareError
from energyshare.chain.devnet import Kind
from energyshare.cli.experiment import experiment
from energyshare.cli.output import json_option


@click.command(cls=ConnectedProviderCommand)
@json_option
@click.pass_context
def cli(context: click.Context, provider: ProviderAPI, json_path: str | None) -> None:
    """Purchase and conversion, every figure held to the paper's. The exit status is 1 when one differs."""
    if not provider.network.is_dev:
        raise click.ClickException(
            "the experiment counts every record from the first block on: run it on a local network"
        )
    kind: Kind = "anvil" if provider.name == "foundry" else "py-evm"
    try:
        context.exit(context.invoke(experiment, number="1", kind=kind, json_path=json_path))
    except EnergyShareError as error:
        raise click.ClickException(str(error)) from error
