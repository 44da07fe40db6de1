"""`audit`: do the laws hold on a running network?"""

from __future__ import annotations

from pathlib import Path

import click
from rich.progress import Progress

from energyshare.cli.options import network_option, open_network
from energyshare.cli.output import console_for, json_option, table, write_json
from energyshare.ledger.audit import audit as run_audit
from energyshare.side import Side

__all__ = ["audit"]


@click.command()
@network_option
@click.option(
    "--latest",
    type=click.IntRange(min=1),
    metavar="N",
    help="Search only the latest N blocks of each chain for addresses, as after a longer audit; by default all.",
)
@json_option
def audit(record_path: Path, latest: int | None, json_path: str | None) -> int:
    """Check conservation, transfers in flight included; hold stations, connections and rights to their records; search
    every byte of each chain for the other's addresses.

    The exit status is 1 when a law does not hold.
    """
    console = console_for(json_path)
    with open_network(record_path) as network, Progress(console=console, transient=True) as progress:
        task = progress.add_task("searching blocks", total=None)
        result = run_audit(network, lambda done, total: progress.update(task, completed=done, total=total), latest)
    console.print(
        table(
            "Laws",
            ["law", "expected", "actual", "holds"],
            [
                (finding.law, finding.expected, finding.actual, "yes" if finding.ok else "NO")
                for finding in (*result.conservation, *result.scheduling)
            ],
        )
    )
    console.print(
        table(
            "Privacy",
            ["chain", "blocks searched ", "bytes ", "addresses of the other chain ", "seen"],
            [
                (
                    side,
                    result.privacy.blocks[side],
                    f"{result.privacy.searched[side]:,}",
                    result.privacy.count(side),
                    ", ".join(f"{seen.name} in block {seen.block}" for seen in result.privacy.sightings[side]),
                )
                for side in Side
            ],
        )
    )
    write_json(json_path, result.to_json())
    return 0 if result.ok else 1
