"""Kernels of a merged group: their sizes, which of them may stream together, what that costs.

A kernel either stays for the whole group and is fetched once, or is *streamed*: fetched
again in every firing, one output channel at a time, which needs next to no room.  Where
the whole map is one stripe that costs no byte more.  Since all layers fire about equally often,
bytes saved and bytes fetched again trade one for one whichever kernels are chosen
(`streamed_sets`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from dataflow_sim.graph.layer import Layer
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.rows import Ints, streams_by_channel

# every set of so many kernels may stream; of more kernels so many sets
EVERY_SET_OF = 3
SETS = 8


@dataclass(frozen=True, slots=True)
class KernelSizes:
    """A layer's weights in a group: bytes kept, bytes of a streamed tile, bits fetched."""

    kernel_bytes: int
    kernel_bits: int
    tile_bytes: int
    vector_bytes: int
    vector_bits: int
    can_stream: bool


def kernel_sizes(graph: NetworkGraph, layer: Layer, weights_doubled: bool) -> KernelSizes:
    """Sizes of a layer's weights."""
    vectors = [graph.tensors[name] for name in (layer.input_vectors, layer.output_vectors) if name]
    bits = bytes_ = tile = 0
    if layer.weight is not None:
        kernel = graph.tensors[layer.weight]
        bits = kernel.elements * kernel.bits
        bytes_ = -(-kernel.elements * kernel.local_bits // 8)
        tile = -(-(kernel.elements // kernel.shape[0]) * kernel.local_bits // 8)
        tile *= 2 if weights_doubled and kernel.shape[0] > 1 else 1
    return KernelSizes(
        kernel_bytes=bytes_,
        kernel_bits=bits,
        tile_bytes=tile,
        vector_bytes=sum(-(-v.elements * v.bits // 8) for v in vectors),
        vector_bits=sum(v.elements * v.bits for v in vectors),
        can_stream=streams_by_channel(layer) and tile < bytes_,
    )


def streamed_sets(kernels: list[KernelSizes], members: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Sets of layers of a group whose kernels may be streamed together, none of them empty.

    All sets of up to `EVERY_SET_OF` kernels.  Of more, for `SETS` evenly spaced amounts of memory
    the set that frees so much, the largest kernels first and none that is not needed.
    """
    able = sorted(
        (i for i in members if kernels[i].can_stream), key=lambda i: (-kernels[i].kernel_bytes, i)
    )
    if len(able) <= EVERY_SET_OF:
        found = [
            tuple(sorted(some))
            for count in range(1, len(able) + 1)
            for some in combinations(able, count)
        ]
    else:
        total = sum(kernels[i].kernel_bytes for i in able)
        found = [_freeing(kernels, able, -(-total * part // SETS)) for part in range(1, SETS + 1)]
    return list(dict.fromkeys(found))


def _freeing(kernels: list[KernelSizes], able: list[int], wanted: int) -> tuple[int, ...]:
    chosen: list[int] = []
    sizes = [kernels[index].kernel_bytes for index in able]
    smaller = sum(sizes)
    for index, size in zip(able, sizes, strict=True):
        smaller -= size
        if wanted > 0 and (size <= wanted or smaller < wanted):
            chosen.append(index)
            wanted -= size
    return tuple(sorted(chosen))


def weight_costs(
    kernels: Sequence[KernelSizes],
    members: tuple[int, ...],
    fired: Ints,
    sets: Sequence[tuple[int, ...]],
) -> tuple[Ints, Ints, Ints]:
    """For each set of streamed kernels: bytes kept, DRAM bits, tile bytes by layer.

    `fired` tells how often each of the members fires, along its last axis; the DRAM bits have
    its other axes before that of the sets.
    """
    mine = [kernels[index] for index in members]
    streamed = np.array([[index in some for index in members] for some in sets], bool)
    bytes_, bits, tiles, kept, fetched = np.array(
        [
            (
                *(k.kernel_bytes, k.kernel_bits, k.tile_bytes),
                *(k.kernel_bytes + k.vector_bytes, k.kernel_bits + k.vector_bits),
            )
            for k in mine
        ]
    ).T
    more = (fired - 1) * bits @ streamed.T
    return kept.sum() - streamed @ bytes_, fetched.sum() + more, streamed * tiles
