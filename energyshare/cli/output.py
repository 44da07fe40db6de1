"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from energyshare.errors import EnergyShareError

PLAIN_WIDTH = 240
"""Columns where the output is no terminal, so that nothing is cut in a pipe."""

__all__ = ["console_for", "json_option", "table", "write_json"]


def _writable(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Refuse a file that cannot be written before the work, not after it."""
    if value is not None and value != "-":
        folder = Path(value).parent
        if Path(value).is_dir() or not os.access(folder, os.W_OK):
            raise click.BadParameter(f"cannot write {value}: name a file in a writable folder", ctx, param)
    return value


json_option = click.option(
    "--json",
    "json_path",
    metavar="FILE",
    callback=_writable,
    help="Write the report as JSON; - for standard output, which then carries it alone.",
)


def console_for(json_path: str | None = None) -> Console:
    """Where progress and tables go: standard output, or standard error where JSON goes to the former."""
    console = Console(stderr=json_path == "-", highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


def write_json(json_path: str | None, report: Any) -> None:
    """Write a report where `--json` says, if it was given."""
    if json_path is None:
        return
    text = json.dumps(report, indent=2) + "\n"
    if json_path == "-":
        sys.stdout.write(text)
        return
    try:
        Path(json_path).write_text(text)
    except OSError as error:
        raise EnergyShareError(
            f"cannot write {json_path}: {error.strerror}; name a file in a writable folder"
        ) from error


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table; columns whose name ends with a space are aligned right."""
    made = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        made.add_column(column.rstrip(), justify="right" if column.endswith(" ") else "left", overflow="fold")
    for row in rows:
        made.add_row(*(str(value) for value in row))
    return made
