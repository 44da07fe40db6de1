"""Libraries that only some commands need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from energyshare.errors import EnergyShareError

__all__ = ["NotInstalled", "installed"]


class NotInstalled(EnergyShareError):
    """A command needs an extra of the package."""


@contextmanager
def installed(package: str = "'energyshare[simulation]'") -> Iterator[None]:
    """Imports within raise NotInstalled, with what to install, where a library is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise NotInstalled(f"{error.name} is not installed: pip install {package}") from error
