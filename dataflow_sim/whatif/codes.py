"""How values are coded: a codebook of shared ones, a Huffman code, or a code of a stated ratio."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from dataflow_sim.graph.coding import PLAIN, log2_up
from dataflow_sim.graph.histogram import Histogram
from dataflow_sim.graph.layer import Tensor
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.whatif.contract import (
    Asked,
    Changed,
    Option,
    Stage,
    WhatIf,
    any_of,
    number,
    whole,
    word,
)
from dataflow_sim.whatif.measured import (
    DISTRIBUTIONS,
    WIDEST_BITS,
    huffman_bits,
    stated_histogram,
)
from dataflow_sim.whatif.selecting import (
    SELECTION,
    Kernel,
    chosen_layers,
    kernels,
    maps,
    measured,
)

_MOST_ENTRIES = 1 << WIDEST_BITS
_ENDS = 10**9  # denominators of mean lengths


def _histogram(asked: Asked, each: Kernel, bits: int) -> tuple[Histogram, bool]:
    """The values of a kernel at so many bits, and whether they were measured."""
    tensor = each.tensor
    found = measured(asked, each, bits) if tensor.density == 1 else None
    if found is not None:
        return found, True
    return stated_histogram(asked.word("values"), bits, tensor.density, tensor.elements), False


def _entropy(graph: NetworkGraph, asked: Asked) -> Changed:
    """A code for each kernel: of its own histogram, with zeros unless their places are coded."""
    found = kernels(graph, chosen_layers(graph, asked))
    if not found:
        raise asked.refused("there are no kernels")
    changed: list[Tensor] = []
    known = 0
    for each in found:
        tensor = each.tensor
        bits = min(tensor.bits if tensor.quantised else 8, WIDEST_BITS)
        shared = tensor.coding.entries if tensor.coding.values == "codebook" else 0
        if shared:
            bits = min(bits, max(1, log2_up(shared)))
        histogram, is_measured = _histogram(asked, each, bits)
        known += is_measured
        zeros = [histogram.zeros] if tensor.coding.places == PLAIN else []
        weights = [float(count) for count in (*zeros, *histogram.others) if count]
        length = Fraction(huffman_bits(weights)).limit_denominator(_ENDS)
        coding = replace(
            tensor.coding,
            values="entropy",
            code_bits=length,
            entries=len(weights),
            shared=shared,
        )
        changed.append(replace(tensor, coding=coding))
    elements = sum(tensor.elements for tensor in changed)
    mean = sum(tensor.elements * tensor.coding.code_bits for tensor in changed) / elements
    told = f"{float(mean):.3f} bits a coded weight; values of {known} kernels measured"
    if known < len(found):
        told += f", of {len(found) - known} {asked.word('values')} by assumption"
    return Changed(graph.with_tensors(changed), (told,))


def _codebook(graph: NetworkGraph, asked: Asked) -> Changed:
    found = kernels(graph, chosen_layers(graph, asked))
    changed: list[Tensor] = []
    for each in found:
        entries = asked.value
        if entries == "measured":
            histogram = measured(asked, each, 8)
            if histogram is None or histogram.distinct is None:
                raise asked.refused(
                    f"'{each.tensor.name}' has no values in the file, or too many distinct ones; "
                    "give a number of values, as in 16"
                )
            entries = histogram.distinct
        assert isinstance(entries, int)
        coding = replace(each.tensor.coding, values="codebook", entries=entries)
        changed.append(replace(each.tensor, coding=coding))
    counts = sorted({tensor.coding.entries for tensor in changed})
    shared = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return Changed(
        graph.with_tensors(changed), (f"{len(changed)} kernels share {shared} values each",)
    )


def _packed(graph: NetworkGraph, asked: Asked) -> Changed:
    found, ratio = kernels(graph, chosen_layers(graph, asked)), asked.part()
    changed = [
        replace(each.tensor, coding=replace(each.tensor.coding, values="packed", ratio=ratio))
        for each in found
    ]
    return Changed(
        graph.with_tensors(changed), (f"{len(changed)} kernels take {float(ratio):.2%} of it",)
    )


def _map_packed(graph: NetworkGraph, asked: Asked) -> Changed:
    found, ratio = maps(graph, chosen_layers(graph, asked)), asked.part()
    between = [tensor for tensor in found if tensor.name not in (*graph.inputs, *graph.outputs)]
    changed = [
        replace(tensor, coding=replace(tensor.coding, values="packed", ratio=ratio))
        for tensor in between
    ]
    return Changed(
        graph.with_tensors(changed), (f"{len(changed)} feature maps take {float(ratio):.2%} of it",)
    )


WHAT_IFS = (
    WhatIf(
        "codebook",
        Stage.CODES,
        any_of(whole(2, _MOST_ENTRIES), "measured"),
        "shared values a kernel has; `measured` counts those in the file",
        "kernels, and constants that are read like maps",
        "each element is the number of a value, and each kernel has a table of these",
        change=_codebook,
        options=SELECTION,
    ),
    WhatIf(
        "entropy",
        Stage.LAST,
        word("huffman"),
        "a Huffman code for each kernel's values, or for the numbers of its codebook",
        "kernels, and constants that are read like maps",
        "each element is a code of the mean length that its kernel's values have",
        change=_entropy,
        options=(
            Option(
                "values",
                word(*DISTRIBUTIONS),
                "normal",
                "what is assumed of values that are not in the file, or are made sparse",
            ),
            *SELECTION,
        ),
    ),
    WhatIf(
        "weight_compression",
        Stage.CODES,
        number(Fraction(1, 1000), Fraction(1)),
        "size of coded weights over that of plain ones, by any code",
        "kernels, and constants that are read like maps",
        "each takes that part of its width where the machine can unpack it",
        change=_packed,
        options=SELECTION,
    ),
    WhatIf(
        "map_compression",
        Stage.CODES,
        number(Fraction(1, 1000), Fraction(1)),
        "size of coded feature maps over that of plain ones, by any code",
        "feature maps between layers",
        "each takes that part of its width where the machine can unpack it",
        change=_map_packed,
        options=SELECTION,
    ),
)
