"""What the loop-nest oracle is given, and what it counts (see `loop_nest_oracle`)."""

from __future__ import annotations

from dataclasses import dataclass

Pair = tuple[int, int]


@dataclass(frozen=True)
class PoolSpec:
    """A pool fused behind the body, or before it (dilation 1): (rows, columns) each."""

    kernel: Pair
    stride: Pair
    pad_begin: Pair


@dataclass(frozen=True)
class PlaneSpec:
    """What the columns of a volume are: planes, line behind line; (height, width) each.

    The kernel's columns are then its taps in the plane, line behind line.
    """

    input_size: Pair
    kernel: Pair
    stride: Pair
    dilation: Pair
    pad_begin: Pair
    body_size: Pair


@dataclass(frozen=True)
class OperandSpec:
    """An extra feature map: the body's shape, or (N, G*M, 1, 1) if `per_channel`."""

    bits: int
    per_channel: bool


@dataclass(frozen=True)
class LayerSpec:
    """One layer; pairs are (rows, columns), `m` and `k` are channels per group.

    `before` pools the input to `pooled_size`, which the window slides over.
    `up` spreads the input: up - 1 zeros behind each element.
    A kernel element has `kernel_bits` in DRAM and `kernel_local_bits` in local memory.
    """

    n: int
    groups: int
    m: int
    k: int
    input_size: Pair
    kernel: Pair
    stride: Pair
    dilation: Pair
    pad_begin: Pair
    body_size: Pair
    output_size: Pair
    has_kernel: bool
    pool: PoolSpec | None = None
    before: PoolSpec | None = None
    pooled_size: Pair = (0, 0)
    input_vectors: int = 0
    output_vectors: int = 0
    operands: tuple[OperandSpec, ...] = ()
    input_bits: int = 8
    kernel_bits: int = 8
    kernel_local_bits: int = 8
    output_bits: int = 8
    vector_bits: int = 32
    accumulator_bits: int = 32
    up: Pair = (1, 1)
    transposed: bool = False
    plane: PlaneSpec | None = None

    def __post_init__(self) -> None:
        """Refuse what the model does not define."""
        if (self.transposed or max(self.up) > 1) and self.stride != (1, 1):
            raise ValueError("over a spread input the window slides by one")
        if self.pool is None and self.output_size != self.body_size:
            raise ValueError("without a pool the output has the body's size")
        if not self.has_kernel and (self.m, self.k) != (1, 1):
            raise ValueError("without a kernel M = K = 1 and the groups are the channels")


@dataclass(frozen=True)
class OnChip:
    """Which kinds of tiles are double-buffered, and whether sums lie apart from local memory.

    The kinds are inputs, weights, outputs, sums.  A slot of a buffer in local memory takes whole
    units of `alignment` bytes.
    """

    double: frozenset[str] = frozenset()
    sums_apart: bool = False
    alignment: int = 1


@dataclass(frozen=True)
class NestTiling:
    """Loop order (outermost first), fate of the partial sums, and tile extents.

    `row_tile` and `col_tile` are rows and columns of the output map.  The last tile of a loop may
    be smaller.  The kernel of the first `pinned_m` output channels, or the plane of the first
    `pinned_k` input channels, stays (of a layer of one group only).
    """

    order: str
    sums: str
    group_tile: int
    m_tile: int
    k_tile: int
    n_tile: int
    row_tile: int
    col_tile: int
    chip: OnChip = OnChip()
    pinned_m: int = 0
    pinned_k: int = 0


@dataclass(frozen=True)
class NestCounts:
    """What `simulate` counts: bytes, elements, steps and bits, as the names say.

    `input_first` counts an input element's first read ever in the layer, `input_again` the
    others; the kernel's likewise.  `sums_bytes` are those of sums apart from local memory;
    `step_bits` is the part of `local_bits` that steps move, the rest is transfers.
    """

    local_bytes: int
    sums_bytes: int
    input_first: int
    input_again: int
    kernel_first: int
    kernel_again: int
    input_vector_reads: int
    output_vector_reads: int
    operand_reads: tuple[int, ...]
    output_writes: int
    sums_written: int
    sums_read: int
    macs: int
    steps: int
    dram_bits: int
    step_bits: int
    local_bits: int
