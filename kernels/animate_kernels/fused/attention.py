"""Compute attention in Triton: dense or block-sparse, in 16 or 8 bits, all by one kernel.

For a query q_i over keys k_j and values v_j, with scores in powers of two:

    s_ij  = q_i . k_j * log2(e) / sqrt(d) + log2(c_j)
    out_i = sum_j 2^s_ij v_j / sum_j 2^s_ij

c_j is the number of keys that k_j stands for: 1, or the tokens of a skipped block where k_j and v_j are its means.

The sums run by FlashAttention's online softmax (arXiv 2205.14135). A program holds `BLOCK_M` queries and reads keys and
values in blocks of `BLOCK_N` neighbouring tokens ("block" never means a transformer block here). For each query it
keeps the largest score so far, m_i, the sum of the weights, l_i, and the weighted sum of the values, acc. The scores of
a block of keys, qk, update them:

    m_new = max(m_i, max_j qk_ij)
    alpha = 2^(m_i - m_new)
    p_ij  = 2^(qk_ij - m_new)
    l_i   = l_i alpha + sum_j p_ij
    acc_i = acc_i alpha + sum_j p_ij v_j
    m_i   = m_new

At the end out_i = acc_i / l_i. Dense attention reads every block. Sparse attention reads the blocks of its list and
then, in the same softmax, the means of the others, `BLOCK_N` means at a time.

The tensor cores wait while the scores between two products are computed, so a score takes few instructions: one
multiply-add scales and shifts it, only the last blocks are masked, and acc is rescaled once for two blocks. This took
the loop from 486 to 294 instructions for 64 keys, in 8 bits from 518 to 301 (`benchmarks/LOG.md`; counted by
`python -m animate_benchmarks.gpu.machine_code`, not measured on a GPU).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
import triton
import triton.language as tl

from animate_kernels import eight_bit, sparse
from animate_kernels.eight_bit import BLOCK, Fp8Heads
from animate_kernels.sparse import TILE_BLOCKS, Selection, means_8bit


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How the kernel is launched.

    rows: `BLOCK_M`, the queries of a program; at most a tile of the selection.
    warps: warps of a program.
    stages: steps of the loop in flight: the one computed, and those whose keys and values are fetched ahead.
    """

    rows: int
    warps: int
    stages: int


# e4m3's largest value, in powers of two
_LOG2_448 = tl.constexpr(math.log2(448))
# the smallest products of the tensor cores: 16 keys, and in 8 bits 32 channels
_LEAST_BLOCK, _LEAST_8BIT_WIDTH = 16, 32
# Two programs of 64 queries would fit a multiprocessor and not wait for each other, but read 10 TB/s from the
# second-level cache (counted, not measured).
SIXTEEN_BIT = Launch(rows=128, warps=8, stages=3)
EIGHT_BIT = Launch(rows=128, warps=8, stages=3)


@triton.jit
def load_block(
    ptr, block, stride_n, stride_d, num_tokens, MASKED: tl.constexpr, BLOCK_N: tl.constexpr, HEAD_DIM: tl.constexpr
):  # fmt: skip
    """Load the `BLOCK_N HEAD_DIM` states of a block of one head; zeros past the end where `MASKED`."""
    offs_n = tl.arange(0, BLOCK_N)[:, None]
    offs_d = tl.arange(0, HEAD_DIM)[None, :]
    # the block's offset takes 64 bits: at a stride of 15,360 (q, k and v of one product) 32 end at 139,810 tokens
    start = ptr + tl.cast(block, tl.int64) * BLOCK_N * stride_n
    ptrs = start + offs_n * stride_n + offs_d * stride_d
    if MASKED:
        return tl.load(ptrs, mask=block * BLOCK_N + offs_n < num_tokens, other=0.0)
    return tl.load(ptrs)


@triton.jit
def _block_scale(row_scale, k_scale_ptr, block, heads, EIGHT_BIT: tl.constexpr):
    """Return the scale `BLOCK_M` that turns products of queries and a block of keys into powers of two."""
    if EIGHT_BIT:
        return row_scale * tl.load(k_scale_ptr + block * heads)
    return row_scale


@triton.jit
def add_block(qk, scale, v, m_i, l_i, acc, EIGHT_BIT: tl.constexpr):
    """Return m_i, l_i and acc after one more block, of unscaled products `qk`, `scale` a row and values `v`."""
    # scales are positive, so the largest product gives the largest score: one multiplication a row, not one a score
    m_new = tl.maximum(m_i, tl.max(qk, axis=1) * scale)
    # in 8 bits p is multiplied by 448 to fill e4m3's range; l_i and acc both carry the factor, so acc / l_i does not
    shift = m_new - (_LOG2_448 if EIGHT_BIT else 0.0)
    p = tl.exp2(qk * scale[:, None] - shift[:, None])
    alpha = tl.exp2(m_i - m_new)
    # the product apart from acc: 8-bit tensor cores add in about 22 bits (SageAttention2, arXiv 2411.10958)
    acc = acc * alpha[:, None] + tl.dot(p.to(v.dtype), v)
    return m_new, l_i * alpha + tl.sum(p, axis=1), acc


@triton.jit
def _add_two_blocks(qk0, scale0, v0, qk1, scale1, v1, m_i, l_i, acc, EIGHT_BIT: tl.constexpr):
    """Return m_i, l_i and acc after two more blocks, as `add_block` does, but rescale acc once for both."""
    # one maximum for both blocks, hence one alpha
    m_new = tl.maximum(tl.max(qk0, axis=1) * scale0, tl.max(qk1, axis=1) * scale1)
    m_new = tl.maximum(m_i, m_new)
    shift = m_new - (_LOG2_448 if EIGHT_BIT else 0.0)
    p0 = tl.exp2(qk0 * scale0[:, None] - shift[:, None])
    p1 = tl.exp2(qk1 * scale1[:, None] - shift[:, None])
    alpha = tl.exp2(m_i - m_new)
    # one sum over the keys for both blocks
    l_i = l_i * alpha + tl.sum(p0 + p1, axis=1)
    if EIGHT_BIT:
        # both products apart from acc, which stays fp32; see `add_block`
        pv = tl.dot(p0.to(v0.dtype), v0)
        acc = acc * alpha[:, None] + tl.dot(p1.to(v1.dtype), v1, pv)
    else:
        # the tensor cores add to acc itself, in fp32
        acc = tl.dot(p0.to(v0.dtype), v0, acc * alpha[:, None])
        acc = tl.dot(p1.to(v1.dtype), v1, acc)
    return m_new, l_i, acc


@triton.jit
def _attention_kernel(
    # states, and their scales in 8 bits
    q_ptr, k_ptr, v_ptr, out_ptr, q_scale_ptr, k_scale_ptr, v_scale_ptr,
    # what sparse attention reads, and the means of the rest
    list_ptr, k_mean_ptr, k_mean_scale_ptr, v_mean_ptr, log2_count_ptr,
    # sizes and the softmax's scale
    num_queries, num_keys, num_blocks, num_read, heads, qk_scale,
    # strides in elements: m and n tokens, h heads, d channels
    stride_qm, stride_qh, stride_kn, stride_kh, stride_vn, stride_vh, stride_vd,
    stride_mean_n, stride_mean_h, stride_mean_d, stride_om, stride_oh,
    SPARSE: tl.constexpr, EIGHT_BIT: tl.constexpr, TILE_M: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    SCALE_BLOCK: tl.constexpr, HEAD_DIM: tl.constexpr,
):  # fmt: skip
    """Write the outputs of `BLOCK_M` queries of a head. Grid: `(num_queries / BLOCK_M, heads)`.

    q_ptr, k_ptr, v_ptr: `tokens heads HEAD_DIM` by their strides, in elements; e4m3 where `EIGHT_BIT`.
    out_ptr: `tokens heads HEAD_DIM` by its strides, 16 bits or fp32.
    q_scale_ptr, k_scale_ptr: `blocks heads` fp32, a scale for `SCALE_BLOCK` tokens of a head; read where `EIGHT_BIT`.
    v_scale_ptr: `heads HEAD_DIM` fp32; read where `EIGHT_BIT`.
    list_ptr: `heads tiles num_read` int32, the blocks that each tile of `TILE_M` queries reads, ascending.
    k_mean_ptr, v_mean_ptr: `blocks heads HEAD_DIM`, padded to a multiple of `BLOCK_N` blocks; read where `SPARSE`.
    k_mean_scale_ptr: `blocks/BLOCK_N heads` fp32, as `k_scale_ptr`.
    log2_count_ptr: `heads tiles blocks` fp32, padded as the means; -inf where a mean does not count.
    num_read: blocks that a tile reads; all of them where not `SPARSE`.
    qk_scale: log2(e) / sqrt(d).
    """
    pid_m = tl.program_id(0)
    head = tl.program_id(1)

    # load the queries, which stay in the program while it reads the keys
    offs_d = tl.arange(0, HEAD_DIM)
    offs_m = pid_m * BLOCK_M + tl.arange(0, BLOCK_M)
    mask_m = offs_m[:, None] < num_queries
    # rows count from the first of the program, and only its offset takes 64 bits
    first_m = pid_m.to(tl.int64) * BLOCK_M
    rows = tl.arange(0, BLOCK_M)[:, None]
    q_ptrs = q_ptr + first_m * stride_qm + head * stride_qh + rows * stride_qm + offs_d[None, :]
    q = tl.load(q_ptrs, mask=mask_m, other=0.0)

    # a query's part of the scale; the keys' part comes with their block
    row_scale = tl.full((BLOCK_M,), 1.0, tl.float32) * qk_scale
    if EIGHT_BIT:
        q_scale_ptrs = q_scale_ptr + offs_m // SCALE_BLOCK * heads + head
        row_scale *= tl.load(q_scale_ptrs, mask=offs_m < num_queries, other=1.0)

    # move every pointer to this head, and the list to this tile
    if EIGHT_BIT:
        k_scale_ptr += head
        if SPARSE:
            k_mean_scale_ptr += head
    k_ptr += head * stride_kh
    # in 64 bits, as 8-bit values lie `heads d tokens`: a head begins after all tokens of those before
    v_ptr += head.to(tl.int64) * stride_vh
    if SPARSE:
        tile = head * tl.cdiv(num_queries, TILE_M) + pid_m * BLOCK_M // TILE_M
        list_ptr += tile * num_read

    # m_i begins at -inf, so alpha is 0 for the first block; that block holds a key, so m_i is finite from there on
    m_i = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    l_i = tl.zeros((BLOCK_M,), tl.float32)
    acc = tl.zeros((BLOCK_M, HEAD_DIM), tl.float32)

    # read the blocks in pairs; the last one stays out, as it alone may be short, and the loop needs no mask
    num_pairs = (num_read - 1) // 2
    for pair in range(num_pairs):
        block0 = pair * 2
        block1 = block0 + 1
        if SPARSE:
            block0 = tl.load(list_ptr + block0)
            block1 = tl.load(list_ptr + block1)
        # loads run `num_stages` - 1 steps ahead of the products
        k0 = load_block(k_ptr, block0, stride_kn, 1, num_keys, False, BLOCK_N, HEAD_DIM)
        k1 = load_block(k_ptr, block1, stride_kn, 1, num_keys, False, BLOCK_N, HEAD_DIM)
        v0 = load_block(v_ptr, block0, stride_vn, stride_vd, num_keys, False, BLOCK_N, HEAD_DIM)
        v1 = load_block(v_ptr, block1, stride_vn, stride_vd, num_keys, False, BLOCK_N, HEAD_DIM)
        # two products and not one of twice the keys, which takes fewer instructions (275 for 64 keys), but for which
        # the assembler runs 16-bit products one after the other: 32 waits for 16 products (`benchmarks/LOG.md`)
        qk0 = tl.dot(q, k0.T)
        qk1 = tl.dot(q, k1.T)
        scale0 = _block_scale(row_scale, k_scale_ptr, block0, heads, EIGHT_BIT)
        scale1 = _block_scale(row_scale, k_scale_ptr, block1, heads, EIGHT_BIT)
        m_i, l_i, acc = _add_two_blocks(qk0, scale0, v0, qk1, scale1, v1, m_i, l_i, acc, EIGHT_BIT)

    # read the last one or two blocks under a mask, too few to fetch ahead
    for index in tl.range(num_pairs * 2, num_read, num_stages=1):
        block = index + tl.zeros((), tl.int32)
        if SPARSE:
            block = tl.load(list_ptr + index)
        k = load_block(k_ptr, block, stride_kn, 1, num_keys, True, BLOCK_N, HEAD_DIM)
        v = load_block(v_ptr, block, stride_vn, stride_vd, num_keys, True, BLOCK_N, HEAD_DIM)
        mask_n = block * BLOCK_N + tl.arange(0, BLOCK_N) < num_keys
        qk = tl.where(mask_n[None, :], tl.dot(q, k.T), float("-inf"))
        scale = _block_scale(row_scale, k_scale_ptr, block, heads, EIGHT_BIT)
        m_i, l_i, acc = add_block(qk, scale, v, m_i, l_i, acc, EIGHT_BIT)

    # read the means of the other blocks, each a key that counts as often as its block has tokens
    if SPARSE:
        k_mean_ptr += head * HEAD_DIM
        v_mean_ptr += head * stride_mean_h
        num_groups = tl.cdiv(num_blocks, BLOCK_N)
        log2_count_ptr += tile.to(tl.int64) * num_groups * BLOCK_N
        # scores are scaled before `add_block`, as log2(c_j) is added to scaled ones
        one = tl.full((BLOCK_M,), 1.0, tl.float32)
        for group in range(num_groups):
            # unmasked: the means are padded to whole groups
            k = load_block(k_mean_ptr, group, heads * HEAD_DIM, 1, num_blocks, False, BLOCK_N, HEAD_DIM)
            v = load_block(v_mean_ptr, group, stride_mean_n, stride_mean_d, num_blocks, False, BLOCK_N, HEAD_DIM)
            # -inf for the blocks read above and for the padding, whose p is then 0
            log2_count = tl.load(log2_count_ptr + group * BLOCK_N + tl.arange(0, BLOCK_N))
            scale = _block_scale(row_scale, k_mean_scale_ptr, group, heads, EIGHT_BIT)
            qk = tl.dot(q, k.T) * scale[:, None] + log2_count[None, :]
            m_i, l_i, acc = add_block(qk, one, v, m_i, l_i, acc, EIGHT_BIT)

    # normalise, and scale the values: one scale a channel, so that it comes out of the sum over keys
    acc = acc / l_i[:, None]
    if EIGHT_BIT:
        acc = acc * tl.load(v_scale_ptr + head * HEAD_DIM + offs_d)[None, :]
    out_ptrs = out_ptr + first_m * stride_om + head * stride_oh
    tl.store(out_ptrs + rows * stride_om + offs_d[None, :], acc.to(out_ptr.dtype.element_ty), mask=mask_m)


def attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, launch: Launch = SIXTEEN_BIT
) -> torch.Tensor:
    """Compute `definitions.attention`, for heads that are a power of two wide, at least 16."""
    return _attend(query, key, value, query.dtype, None, None, launch)


def attention_8bit(heads: Fp8Heads, out: torch.dtype, launch: Launch = EIGHT_BIT) -> torch.Tensor:
    """Compute `eight_bit.attention_8bit`; heads narrower than 32 go to that definition: tensor cores read no fewer."""
    if heads.query.shape[-1] < _LEAST_8BIT_WIDTH:
        return eight_bit.attention_8bit(heads, out)
    return _attend(heads.query, heads.key, heads.value.permute(2, 0, 1), out, None, heads, launch)


def sparse_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, selection: Selection, launch: Launch = SIXTEEN_BIT
) -> torch.Tensor:
    """Compute `sparse.sparse_attention`; blocks smaller than 16 go to that definition: tensor cores read no fewer."""
    if selection.block < _LEAST_BLOCK:
        return sparse.sparse_attention(query, key, value, selection)
    return _attend(query, key, value, query.dtype, selection, None, launch)


def sparse_attention_8bit(
    heads: Fp8Heads, selection: Selection, out: torch.dtype, launch: Launch = EIGHT_BIT
) -> torch.Tensor:
    """Compute `sparse.sparse_attention_8bit`.

    Blocks of any size but 64, to which the scales belong, and heads narrower than 32 go to that definition.
    """
    if selection.block != BLOCK or heads.query.shape[-1] < _LEAST_8BIT_WIDTH:
        return sparse.sparse_attention_8bit(heads, selection, out)
    return _attend(heads.query, heads.key, heads.value.permute(2, 0, 1), out, selection, heads, launch)


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    out_dtype: torch.dtype,
    selection: Selection | None,
    heads8: Fp8Heads | None,
    launch: Launch,
) -> torch.Tensor:
    """Launch the kernel and return its output `l heads d`.

    query, key, value: `l heads d`, 16 or 8 bits.
    out_dtype: type of the output.
    selection: the blocks to read exactly; None for all, with no means.
    heads8: the scales of 8-bit heads; None in 16 bits.
    launch: how it is launched.
    """
    length, heads, head_width = query.shape
    block = BLOCK if selection is None else selection.block
    tile, num_blocks = TILE_BLOCKS * block, math.ceil(len(key) / block)
    rows = min(launch.rows, tile)  # a program's queries are of one tile, which has one list
    out = torch.empty(length, heads, head_width, dtype=out_dtype, device=query.device)
    scales = (None, None, None) if heads8 is None else (heads8.query_scale, heads8.key_scale, heads8.value_scale)
    tables, mean_strides = _tables(selection, heads8, key.dtype)
    _attention_kernel[(math.ceil(length / rows), heads)](
        query, key, value, out, *scales, *tables,
        length, len(key), num_blocks, num_blocks if selection is None else selection.lists.shape[-1], heads,
        # exp(x) as 2^(x log2 e), the power that a GPU has an instruction for
        head_width**-0.5 * math.log2(math.e),
        # channels of queries and keys are contiguous; 8-bit values lie along the tokens
        query.stride(0), query.stride(1), key.stride(0), key.stride(1), *value.stride(), *mean_strides,
        out.stride(0), out.stride(1),
        SPARSE=selection is not None, EIGHT_BIT=heads8 is not None, TILE_M=tile, BLOCK_M=rows, BLOCK_N=block,
        SCALE_BLOCK=BLOCK, HEAD_DIM=head_width, num_warps=launch.warps, num_stages=launch.stages,
    )  # fmt: skip
    return out


def _tables(
    selection: Selection | None, heads8: Fp8Heads | None, dtype: torch.dtype
) -> tuple[tuple[torch.Tensor | None, ...], tuple[int, ...]]:
    """Return the kernel's arguments from `list_ptr` to `log2_count_ptr`, and the strides of the value means."""
    if selection is None:
        return (None,) * 5, (0, 0, 0)
    # whole groups of means, which the kernel loads without a mask
    blocks = len(selection.lengths)
    padding = math.ceil(blocks / selection.block) * selection.block - blocks
    # the logarithm is taken here: in the kernel each thread took it again
    exact = F.pad(selection.exact, (0, padding), value=True)
    counts = F.pad(selection.lengths.log2(), (0, padding)).expand(exact.shape).masked_fill(exact, -torch.inf)
    key_means, value_means = (
        F.pad(means, (0, 0, 0, 0, 0, padding)) for means in (selection.key_means, selection.value_means)
    )
    if heads8 is None:
        key_means, key_scale, value_means = key_means.to(dtype), None, value_means.to(dtype)
    else:  # 8-bit products take two 8-bit factors
        means = means_8bit(key_means, value_means, heads8)
        key_means, key_scale, value_means = means.key, means.key_scale, means.value.permute(2, 0, 1)
    return (selection.lists, key_means, key_scale, value_means, counts), value_means.stride()
