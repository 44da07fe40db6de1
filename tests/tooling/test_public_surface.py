"""What `import energyshare` offers."""

from __future__ import annotations

import types

import energyshare


def test_public_names_are_sorted_and_there() -> None:
    assert list(energyshare.__all__) == sorted(energyshare.__all__)
    assert all(hasattr(energyshare, name) for name in energyshare.__all__)


def test_everything_imported_is_public() -> None:
    imported = {
        name
        for name, value in vars(energyshare).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }

    assert imported - {"annotations"} == set(energyshare.__all__)


def test_everything_public_says_what_it_is() -> None:
    undocumented = [name for name in energyshare.__all__ if not getattr(energyshare, name).__doc__]

    assert undocumented == []
