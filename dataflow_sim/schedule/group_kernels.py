"""Kernels of a merged group: their sizes, which of them may stream together, what that costs.

A kernel either stays for the whole group and is fetched once, or is *streamed*: fetched
again in every firing, one output channel at a time, which needs next to no room.  Where
the whole map is one stripe that costs no byte more.  Of a streamed kernel the first output
channels may be *pinned*: these stay, where memory is left over.  Since all layers fire about
equally often, bytes saved and bytes fetched again trade one for one whichever kernels are
chosen (`streamed_sets`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from dataflow_sim.graph.layer import Layer
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.rows import Ints, streams_by_channel
from dataflow_sim.schedule.types import bytes_taken

# every set of so many kernels may stream; of more kernels so many sets
EVERY_SET_OF = 3
SETS = 8
# evenly spaced amounts of memory that kernels free to the channel, one of them in part
PARTS = 8

# layers whose kernels stream, ascending, each with its output channels that are pinned
Streams = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class KernelSizes:
    """A layer's weights in a group: bytes kept, bytes of a streamed tile, bits fetched.

    Each of the kernel's output `channels` has `channel_bits` in DRAM and `channel_local_bits` in
    local memory, where buffers take multiples of `alignment_bytes`.
    """

    kernel_bytes: int
    kernel_bits: int
    tile_bytes: int
    vector_bytes: int
    vector_bits: int
    can_stream: bool
    channels: int = 0
    channel_bits: int = 0
    channel_local_bits: int = 0
    alignment_bytes: int = 1
    byte_bits: int = 8

    def pinned_bytes(self, channels: int) -> int:
        """Bytes that so many channels take that stay."""
        bits = channels * self.channel_local_bits
        return bytes_taken(bits, self.alignment_bytes, self.byte_bits)

    @property
    def data_bytes(self) -> int:
        """Bytes of the whole kernel without what alignment adds."""
        return bytes_taken(self.channels * self.channel_local_bits, 1, self.byte_bits)


def kernel_sizes(
    graph: NetworkGraph, layer: Layer, weights_doubled: bool, alignment_bytes: int = 1
) -> KernelSizes:
    """Sizes of a layer's weights."""
    vectors = [graph.tensors[name] for name in (layer.input_vectors, layer.output_vectors) if name]
    bits = bytes_ = tile = channels = channel = local = 0
    smaller, unit = False, (alignment_bytes, graph.byte_bits)
    if layer.weight is not None:
        kernel = graph.tensors[layer.weight]
        bits = kernel.elements * kernel.bits
        bytes_ = bytes_taken(kernel.elements * kernel.local_bits, *unit)
        channels = kernel.shape[0]
        channel = kernel.elements // channels * kernel.bits
        local = kernel.elements // channels * kernel.local_bits
        slots = 2 if weights_doubled and channels > 1 else 1
        tile = slots * bytes_taken(local, *unit)
        whole = bytes_taken(channels * local, 1, graph.byte_bits)
        smaller = slots * bytes_taken(local, 1, graph.byte_bits) < whole
    return KernelSizes(
        kernel_bytes=bytes_,
        kernel_bits=bits,
        tile_bytes=tile,
        vector_bytes=sum(bytes_taken(v.elements * v.bits, *unit) for v in vectors),
        vector_bits=sum(v.elements * v.bits for v in vectors),
        can_stream=streams_by_channel(layer) and smaller,
        channels=channels,
        channel_bits=channel,
        channel_local_bits=local,
        alignment_bytes=alignment_bytes,
        byte_bits=graph.byte_bits,
    )


def streamed_sets(
    kernels: list[KernelSizes], members: tuple[int, ...], pinned: bool = True
) -> list[Streams]:
    """Sets of layers of a group whose kernels may be streamed together, none of them empty.

    All sets of up to `EVERY_SET_OF` kernels.  Of more, for `SETS` evenly spaced amounts of memory
    the set that frees so much, the largest kernels first and none that is not needed.  Before
    these, with channels `pinned`, those that free `PARTS` amounts and no channel more.  The last is
    that of all kernels.  Amounts are those of the kernels themselves: which sets are tried does not
    depend on the alignment.
    """
    able = sorted(
        (i for i in members if kernels[i].can_stream), key=lambda i: (-kernels[i].data_bytes, i)
    )
    if len(able) <= EVERY_SET_OF:
        found = [
            tuple(sorted(some))
            for count in range(1, len(able) + 1)
            for some in combinations(able, count)
        ]
    else:
        total = sum(kernels[i].data_bytes for i in able)
        found = [_freeing(kernels, able, -(-total * part // SETS)) for part in range(1, SETS + 1)]
    parts = [_in_part(kernels, able, part) for part in range(1, PARTS)] if pinned else []
    plain = [tuple((index, 0) for index in some) for some in found]
    return list(dict.fromkeys([*(some for some in parts if some), *plain]))


def _in_part(kernels: list[KernelSizes], able: list[int], part: int) -> Streams:
    """The largest kernels that free some of `PARTS` amounts, of the last of them only what is
    wanted; nothing where that leaves no channel of it to stay."""
    wanted = -(-sum(kernels[index].data_bytes for index in able) * part // PARTS)
    chosen: list[tuple[int, int]] = []
    for index in able:
        size, channel = kernels[index].data_bytes, kernels[index].channel_local_bits
        if size > wanted:
            # two channels stream at the least, so that they may take turns
            pinned = min(
                (size - wanted) * kernels[index].byte_bits // channel, kernels[index].channels - 2
            )
            return tuple(sorted([*chosen, (index, pinned)])) if pinned > 0 else ()
        chosen.append((index, 0))
        wanted -= size
        if not wanted:
            break
    return ()


def _freeing(kernels: list[KernelSizes], able: list[int], wanted: int) -> tuple[int, ...]:
    chosen: list[int] = []
    sizes = [kernels[index].data_bytes for index in able]
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
    sets: Sequence[Streams],
) -> tuple[Ints, Ints, Ints]:
    """For each set of streamed kernels: bytes kept, DRAM bits, tile bytes by layer.

    `fired` tells how often each of the members fires, along its last axis; the DRAM bits have
    its other axes before that of the sets.
    """
    mine = [kernels[index] for index in members]
    place = {index: number for number, index in enumerate(members)}
    streamed = np.zeros((len(sets), len(members)), bool)
    stay, once = np.zeros((2, len(sets), len(members)), np.int64)  # bytes, bits that are pinned
    for number, some in enumerate(sets):
        for index, channels in some:
            streamed[number, place[index]] = True
            stay[number, place[index]] = kernels[index].pinned_bytes(channels)
            once[number, place[index]] = channels * kernels[index].channel_bits
    bytes_, bits, tiles, kept, fetched = np.array(
        [
            (
                *(k.kernel_bytes, k.kernel_bits, k.tile_bytes),
                *(k.kernel_bytes + k.vector_bytes, k.kernel_bits + k.vector_bits),
            )
            for k in mine
        ]
    ).T
    more = (fired - 1) @ (streamed * bits - once).T
    return kept.sum() - streamed @ bytes_ + stay.sum(axis=1), fetched.sum() + more, streamed * tiles
