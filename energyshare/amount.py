"""Amounts as people write them: whole tokens or rights, of 1,000 base units (watt-hours) each."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from energyshare.errors import EnergyShareError

__all__ = ["BASE_UNITS", "InvalidAmount", "base_units", "whole_units"]

BASE_UNITS = 1_000
"""Base units in a token or a right: 3 decimals."""

_MAX = 2**96 - 1


class InvalidAmount(EnergyShareError):
    """Not an amount that can be paid."""


def base_units(text: str | int | Decimal) -> int:
    """Base units of an amount in whole units. Raises InvalidAmount unless positive and of 3 decimals at most."""
    try:
        amount = Decimal(text)
    except InvalidOperation as error:
        raise InvalidAmount(f"{text!r} is no amount: write a number such as 73 or 0.5") from error
    if not amount.is_finite() or amount <= 0:
        raise InvalidAmount(f"the amount must be above 0, not {text}")
    if amount > _MAX // BASE_UNITS:
        raise InvalidAmount(f"{text} is more than any chain holds")
    scaled = amount * BASE_UNITS
    if scaled != scaled.to_integral_value():
        raise InvalidAmount(f"{text} has more than 3 decimals: the smallest amount is 0.001")
    return int(scaled)


def whole_units(amount: int) -> str:
    """An amount of base units as a decimal string without trailing zeros: 947000 is `947`, 500 is `0.5`."""
    whole, rest = divmod(abs(amount), BASE_UNITS)
    sign = "-" if amount < 0 else ""
    return f"{sign}{whole}" if rest == 0 else f"{sign}{whole}.{rest:03d}".rstrip("0")
