"""A radial grid: nodes below one source, an impedance between each and its parent."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from energyshare.errors import EnergyShareError

__all__ = ["ComplexArray", "FloatArray", "Grid", "GridError", "IntArray"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
ComplexArray = npt.NDArray[np.complex128]


class GridError(EnergyShareError):
    """A grid that cannot be read or computed."""


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """A balanced three-phase grid without meshes. Voltages are between phases, impedances at one voltage level."""

    parents: IntArray
    """By node. Node 0 is the source and its own parent; every other node comes after its parent."""
    z_ohm: ComplexArray
    """Of the branch from each node's parent to it; 0 for node 0."""
    nominal_v: float
    source_v: float
    """Held at node 0 whatever flows."""
    transformers: IntArray
    """Nodes whose branch is a transformer and not a line."""
    iron_w: float = 0.0
    """What the transformers lose without any flow."""
    paths: FloatArray = field(init=False, repr=False)
    """`paths[branch, node]` is 1 where energy on its way from the source to a node passes a branch, and 0 elsewhere."""

    def __post_init__(self) -> None:
        nodes = len(self.parents)
        if nodes < 2 or len(self.z_ohm) != nodes:
            raise GridError(f"{nodes} nodes and {len(self.z_ohm)} branches make no grid: state one branch a node")
        late = self.parents[1:] >= np.arange(1, nodes)
        if late.any() or (self.parents < 0).any():
            raise GridError(f"node {1 + int(late.argmax())} comes before its parent: sort nodes from the source down")
        if not ((self.z_ohm.real >= 0).all() and self.nominal_v > 0 and self.source_v > 0):
            raise GridError("resistances below 0 or voltages of 0 make no grid: state what is installed")
        paths = np.zeros((nodes, nodes))
        for node in range(1, nodes):
            paths[:, node] = paths[:, self.parents[node]]
            paths[node, node] = 1.0
        object.__setattr__(self, "paths", paths)

    @property
    def nodes(self) -> int:
        return len(self.parents)

    def common_impedance(self) -> ComplexArray:
        """Of what the ways from the source to two nodes share, in ohms: the drop at one for a current at the other."""
        shared: ComplexArray = self.paths.T @ (self.z_ohm[:, None] * self.paths)
        return shared

    def path_resistance(self) -> FloatArray:
        """Of the way between any two nodes, in ohms."""
        common = self.common_impedance().real
        own = common.diagonal()
        return np.asarray(own[:, None] + own[None, :] - 2 * common)
