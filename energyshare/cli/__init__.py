"""The command line: each command is a call of the library and a way to show what came back."""

from __future__ import annotations

import logging
import sys

import click

from energyshare.cli.audit import audit
from energyshare.cli.bench import bench
from energyshare.cli.dispatch import dispatch
from energyshare.cli.experiment import demo, experiment
from energyshare.cli.network import deploy, relay, seal, up
from energyshare.cli.party import claim, convert, purchase
from energyshare.cli.query import query
from energyshare.cli.simulate import simulate
from energyshare.cli.terminal import terminal
from energyshare.errors import EnergyShareError

__all__ = ["cli", "main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="energyshare", message="%(version)s")
@click.option("-v", "--verbose", count=True, help="Say more: -v what is delivered, -vv every request for a seal.")
def cli(verbose: int) -> None:
    """A trusted network for sharing distributed energy: two chains, joined by a lock that proves what it does."""
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("energyshare").setLevel(level)


for command in (
    demo,
    experiment,
    up,
    deploy,
    relay,
    seal,
    purchase,
    convert,
    claim,
    dispatch,
    terminal,
    query,
    audit,
    bench,
    simulate,
):
    cli.add_command(command)


def main() -> None:
    """Run a command. Whatever goes wrong as expected becomes one line and exit status 1."""
    try:
        status = cli.main(prog_name="energyshare", standalone_mode=False)
    except click.ClickException as error:
        message = error.format_message()
        if isinstance(error, click.UsageError) and error.ctx is not None:
            message = f"{message.rstrip('.')}; see `{error.ctx.command_path} --help`"
        sys.exit(_one_line(message))
    except EnergyShareError as error:
        sys.exit(_one_line(str(error)))
    except (click.Abort, KeyboardInterrupt):
        sys.stderr.write("stopped\n")
        sys.exit(130)
    sys.exit(status if isinstance(status, int) else 0)


def _one_line(message: str) -> str:
    return "energyshare: " + " ".join(message.split())
