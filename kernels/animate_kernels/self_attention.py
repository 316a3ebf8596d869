"""Self-attention of the video's tokens as a recipe sets it: by which backend, how dense, in 16 or 8 bits."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from animate_kernels import definitions
from animate_kernels.attention import Attention
from animate_kernels.dispatch import Choice, Ops
from animate_kernels.order import Grid, TokenOrder, morton_order, natural_order
from animate_kernels.sparse import select
from animate_kernels.sparsity import DENSE, Sparsity


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfAttention:
    """Self-attention of one recipe.

    ops: operators of the device.
    dense: attends where nothing is skipped.
    eight_bit: whether `dense` multiplies in 8 bits, and sparse attention with it.
    sparsity: how dense attention is over steps and layers.
    """

    ops: Ops = field(default_factory=Ops)
    dense: Attention = definitions.attention
    eight_bit: bool = False
    sparsity: Sparsity = DENSE

    @classmethod
    def of(cls, choice: Choice, sparsity: Sparsity) -> SelfAttention:
        """Return the self-attention of a device's choice and a recipe's sparsity."""
        return cls(ops=choice.ops, dense=choice.backend.attend, eight_bit=choice.backend.eight_bit, sparsity=sparsity)

    def order(self, grid: Grid, device: torch.device) -> TokenOrder:
        """Return the order in which tokens must come."""
        return (natural_order if self.sparsity.is_dense else morton_order)(grid, device)

    def __call__(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, order: TokenOrder, density: float
    ) -> torch.Tensor:
        """Attend, all tensors being `l heads d`.

        query, key, value: heads in `order`.
        order: the tokens' order.
        density: share of the key blocks that a query block reads exactly; 1 is dense.
        """
        if density == 1:
            return self.dense(query, key, value)
        ops, size = self.ops, self.sparsity.block_tokens
        blocks = [ops.summarize(part, size) for part in (query, key, value)]
        selection = select(*blocks, density=density, num_reference=order.num_reference, choose=ops.choose_blocks)
        if not self.eight_bit:
            return ops.sparse_attention(query, key, value, selection)
        heads = ops.quantize_heads(query, key, value, *blocks[1:])
        return ops.sparse_attention_8bit(heads, selection, query.dtype)
