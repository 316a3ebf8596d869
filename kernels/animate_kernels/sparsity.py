"""How dense attention is over the steps and the layers of a render."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sparsity:
    """How dense attention is. Whatever the density, the reference frame and a query's neighbours are read exactly.

    densities: the share of key blocks that a query block reads exactly, over the steps. Each number holds for an equal
        stretch of them: (0.5, 0.25, 0.15, 0.15) is a step each of 4 and five steps each of 20. 1 is dense.
    dense_layers: layers that stay dense, counted from the end when negative.
    block_tokens: tokens of a block of keys; a block of queries is twice that.
    """

    densities: tuple[float, ...] = (1.0,)
    dense_layers: tuple[int, ...] = ()
    block_tokens: int = 64

    def __post_init__(self) -> None:
        if not self.densities or not all(0 < density <= 1 for density in self.densities):
            raise ValueError(f"densities are above 0 and at most 1, at least one; not {self.densities}")

    @property
    def is_dense(self) -> bool:
        """Return whether no layer is sparse at any step."""
        return min(self.densities) == 1

    def density(self, progress: float, layer: int, num_layers: int) -> float:
        """Return the density of a layer at a step.

        progress: share of the steps that is done; 0 at the first.
        layer: index of the layer.
        num_layers: number of layers.
        """
        if layer in {index % num_layers for index in self.dense_layers}:
            return 1.0
        return self.densities[min(int(progress * len(self.densities) + 1e-6), len(self.densities) - 1)]


DENSE = Sparsity()
