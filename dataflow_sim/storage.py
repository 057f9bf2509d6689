"""How the tensors of a network are stored on a machine: widths in DRAM, on chip, in the array.

A tensor has a width and a coding; the machine's formats say where either becomes plain again:

    support     DRAM        local memory   array
    none        own width   own width      own width
    dma         coded       own width      own width
    array       coded       coded          own width
    computed    coded       coded          the tensor's

where the *own width* is the machine's (`precision`), or the tensor's where that is more.  Besides,
the channels of a map are stored in whole blocks (`local_memory.channel_rounding`), and kernels that
are transformed beforehand for Winograd's convolution have more elements.  Both are spread over the
elements that there are: exact for all channels together, in proportion for part of them.

Where a code takes more than plain elements these are stored plain.

A coded element need not take whole bits.  Then every width of the network is counted in parts of a
bit, as many as make all of them exact; where these are too many in 256ths, rounded up, which is at
most 1/256 bit an element too much.  All sums stay integers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, lcm

from dataflow_sim.energy.compute import winograd_of
from dataflow_sim.graph.coding import PLAIN, Coding, coded_bits
from dataflow_sim.graph.layer import Tensor, TensorKind, WeightRole
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import HardwareFile

# parts of a bit that widths are counted in where some are no whole ones: as many as make all of
# them exact, or so many, each then rounded up
PARTS_OF_A_BIT = 256
_MOST_PARTS = 1024
_PACKED = ("dma", "array", "computed")
_PACKED_ON_CHIP = ("array", "computed")


@dataclass(frozen=True, slots=True)
class Widths:
    """Bits of an element of a tensor: in DRAM, in local memory, and of what the array takes."""

    dram: Fraction
    local: Fraction
    multiplied: int


def _support(hardware: HardwareFile, tensor: Tensor, form: str) -> str:
    """Where a format of a tensor becomes plain; of one that only maps or kernels have, nowhere."""
    if form == PLAIN:
        return "computed"
    formats = hardware.formats
    group = formats.weights if tensor.kind is TensorKind.WEIGHT else formats.maps
    return str(getattr(group, form, "none"))


def _known(hardware: HardwareFile, tensor: Tensor, supports: tuple[str, ...]) -> Coding:
    """A tensor's coding without the formats that are plain wherever it lies."""
    coding = tensor.coding
    places = coding.places if _support(hardware, tensor, coding.places) in supports else PLAIN
    values = coding.values if _support(hardware, tensor, coding.values) in supports else PLAIN
    return replace(coding, places=places, values=values)


def widths_of(hardware: HardwareFile, tensor: Tensor) -> Widths:
    """The widths of a tensor on a machine, blocks of channels and transforms not counted."""
    if tensor.role is WeightRole.VECTOR:
        return Widths(Fraction(tensor.bits), Fraction(tensor.local_bits), tensor.bits)
    own = _own_bits(hardware, tensor)
    dram, local, multiplied = tensor.bits, tensor.local_bits, tensor.bits
    if tensor.bits < own:
        support = _support(hardware, tensor, "low_bits")
        dram = tensor.bits if support in _PACKED else own
        local = tensor.local_bits if support in _PACKED_ON_CHIP else max(own, tensor.local_bits)
        multiplied = tensor.bits if support == "computed" else own
    in_dram, on_chip = (
        min(coded_bits(_known(hardware, tensor, known), tensor.shape, plain), plain)
        for known, plain in ((_PACKED, Fraction(dram)), (_PACKED_ON_CHIP, Fraction(local)))
    )
    return Widths(in_dram, on_chip, multiplied)


def _coding(hardware: HardwareFile, tensor: Tensor, dram: Fraction) -> Coding:
    """A tensor's coding in DRAM: plain where the machine does not know it, or it gains nothing."""
    coding = _known(hardware, tensor, _PACKED)
    plain = replace(coding, places=PLAIN, values=PLAIN)
    return coding if dram < max(tensor.bits, _own_bits(hardware, tensor)) else plain


def _own_bits(hardware: HardwareFile, tensor: Tensor) -> int:
    """The machine's width of a tensor's elements."""
    kernel = tensor.kind is TensorKind.WEIGHT
    return hardware.precision.weights if kernel else hardware.precision.activations


def _unknown(hardware: HardwareFile, tensor: Tensor) -> list[str]:
    """The keys of the formats that a tensor is to have and the machine does not know."""
    kernel = tensor.kind is TensorKind.WEIGHT
    own = hardware.precision.weights if kernel else hardware.precision.activations
    forms = [form for form in (tensor.coding.places, tensor.coding.values) if form != PLAIN]
    forms += ["low_bits"] if tensor.bits < own and tensor.role is not WeightRole.VECTOR else []
    group = "weights" if kernel else "maps"
    return [
        f"formats.{group}.{form}" for form in forms if _support(hardware, tensor, form) == "none"
    ]


def _transformed(hardware: HardwareFile, graph: NetworkGraph) -> dict[str, Fraction]:
    """Kernels that are transformed beforehand, and how many times their elements they then have."""
    winograd = hardware.compute.winograd
    if winograd is None or winograd.weights != "offline":
        return {}
    factor = Fraction((winograd.tile + 2) ** 2, 9)
    others = {layer.weight for layer in graph.layers if winograd_of(hardware, layer) == 1}
    kernels = {layer.weight for layer in graph.layers if layer.weight is not None}
    return dict.fromkeys(sorted(kernels - others), factor)


def _blocks(tensor: Tensor, channels: int) -> Fraction:
    """Channels in whole blocks over the channels that there are; the network's inputs and outputs
    lie as whoever gives and takes them has them."""
    if tensor.kind is not TensorKind.MAP:
        return Fraction(1)
    here = tensor.shape[1]
    return Fraction(-(-here // channels) * channels, here)


def stored(graph: NetworkGraph, hardware: HardwareFile) -> NetworkGraph:
    """Give every tensor the widths that it has on the machine.

    Before: every tensor has its own width (`graph.passes.assign_precision`), counted in bits.
    After: widths are those in DRAM and in local memory, `byte_bits` of them a byte, and
    `multiplied_bits` those of the array; codings those that the machine knows.  What the layers
    compute is unchanged.
    """
    transformed = _transformed(hardware, graph)
    found: dict[str, Widths] = {}
    for name, tensor in graph.tensors.items():
        widths = widths_of(hardware, tensor)
        more = transformed.get(name, Fraction(1))
        more *= _blocks(tensor, hardware.local_memory.channel_rounding)
        found[name] = replace(widths, dram=widths.dram * more, local=widths.local * more)
    parts = lcm(*(w.denominator for each in found.values() for w in (each.dram, each.local)))
    parts = parts if parts <= _MOST_PARTS else PARTS_OF_A_BIT
    changed = []
    for name, tensor in graph.tensors.items():
        widths = found[name]
        dram, local = ceil(widths.dram * parts), ceil(widths.local * parts)
        meaning = tensor.quantisation
        if meaning is not None and meaning.bits * parts > dram:
            meaning = None
        changed.append(
            replace(
                tensor,
                bits=dram,
                unpacked_bits=None if local == dram else local,
                multiplied_bits=widths.multiplied,
                quantisation=meaning,
                coding=_coding(hardware, tensor, widths.dram),
            )
        )
    unknown = dict.fromkeys(k for t in graph.tensors.values() for k in _unknown(hardware, t))
    told = tuple(
        f"{hardware.name} does not know {key} (none): such elements are stored plain, nothing is "
        "gained"
        for key in unknown
    )
    stored_graph = graph.with_tensors(changed)
    return replace(stored_graph, byte_bits=8 * parts, warnings=(*graph.warnings, *told))
