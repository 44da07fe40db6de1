"""The two sister chains."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Side"]


class Side(StrEnum):
    """Which of the two chains of a network."""

    TRANSACTION = "transaction"
    """Money."""
    SCHEDULE = "schedule"
    """Claims on energy."""

    @property
    def branch(self) -> int:
        """The chain's branch of the HD key tree."""
        return 0 if self is Side.TRANSACTION else 1

    @property
    def other(self) -> Side:
        return Side.SCHEDULE if self is Side.TRANSACTION else Side.TRANSACTION
