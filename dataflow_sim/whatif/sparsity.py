"""Zeros among weights and in feature maps, and how the places of the others are coded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction

from dataflow_sim.graph.coding import PLAIN
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
    pair,
    word,
)
from dataflow_sim.whatif.pruning import by_size
from dataflow_sim.whatif.selecting import (
    SELECTION,
    Kernel,
    chosen_layers,
    kernels,
    maps,
    measured,
)

DENSE = "dense"
_PLACES = (DENSE, "ideal", "bitmap", "run_length", "csr", "structured")
_MAP_PLACES = (DENSE, "bitmap", "run_length")
# bits that an exact zero is measured at: of the value itself, not of a quantised one
_FULL_BITS = 8


def _places(encoding: str) -> str:
    return PLAIN if encoding == DENSE else encoding


def _density(tensors: Iterable[Tensor]) -> float:
    sizes = [(tensor.elements, tensor.density) for tensor in tensors]
    return float(sum(size * part for size, part in sizes) / (sum(s for s, _ in sizes) or 1))


def _measured(asked: Asked, found: list[Kernel]) -> list[Fraction]:
    """The parts of kernels that are zero in the file.  Raises InputError where it has no values."""
    zeros = []
    for each in found:
        histogram = measured(asked, each, _FULL_BITS)
        if histogram is None:
            raise asked.refused(
                f"the values of '{each.layer.weight_constant or each.tensor.name}' (layer "
                f"'{each.layer.name}') are not in the file, nor beside it; give a part, as in 0.8"
            )
        zeros.append(Fraction(histogram.exact_zeros, histogram.elements))
    return zeros


def _sparsity(graph: NetworkGraph, asked: Asked) -> Changed:
    found = kernels(graph, chosen_layers(graph, asked))
    if not found:
        raise asked.refused("there are no kernels")
    if asked.value == "measured":
        parts = _measured(asked, found)
    elif asked.word("by") == "size":
        parts = by_size([each.tensor.elements for each in found], asked.part())
    else:
        parts = [asked.part()] * len(found)
    places = _places(asked.word("encoding"))
    changed = [
        replace(
            each.tensor,
            coding=replace(
                each.tensor.coding,
                places=places,
                density=1 - part,
            ),
        )
        for each, part in zip(found, parts, strict=True)
    ]
    lowest, highest = (1 - pick(t.density for t in changed) for pick in (max, min))
    told = f"{1 - _density(changed):.2%} of the weights are zero"
    if lowest != highest:
        told += f", {float(lowest):.2%} to {float(highest):.2%} of a kernel"
    return Changed(
        graph.with_tensors(changed), (f"{told}; places coded as {asked.word('encoding')}",)
    )


def _n_of_m(graph: NetworkGraph, asked: Asked) -> Changed:
    assert isinstance(asked.value, tuple)
    kept, of = asked.value
    if kept > of:
        raise asked.refused(f"no {kept} of {of} are kept; write the smaller number first")
    found = kernels(graph, chosen_layers(graph, asked))
    encoding = asked.word("encoding")
    places = {"n_of_m": "n_of_m", "structured": "structured", DENSE: PLAIN}[encoding]
    changed = [
        replace(
            each.tensor,
            coding=replace(
                each.tensor.coding, places=places, density=Fraction(kept, of), parts=(kept, of)
            ),
        )
        for each in found
    ]
    told = f"{kept} of every {of} weights are kept; places coded as {encoding}"
    return Changed(graph.with_tensors(changed), (told,))


def _map_sparsity(graph: NetworkGraph, asked: Asked) -> Changed:
    found = maps(graph, chosen_layers(graph, asked))
    between = [tensor for tensor in found if tensor.name not in (*graph.inputs, *graph.outputs)]
    part, places = asked.part(), _places(asked.word("encoding"))
    changed = [
        replace(tensor, coding=replace(tensor.coding, places=places, density=1 - part))
        for tensor in between
    ]
    told = f"{float(part):.2%} of {len(changed)} feature maps is zero; places coded as "
    return Changed(graph.with_tensors(changed), (told + asked.word("encoding"),))


WHAT_IFS = (
    WhatIf(
        "sparsity",
        Stage.SPARSITY,
        any_of(number(Fraction(0), Fraction(1), below=True), "measured"),
        "part of the weights that is zero, anywhere in a kernel",
        "kernels, and constants that are read like maps",
        "that part of each is zero, or on average of all; places are coded where the machine can",
        change=_sparsity,
        options=(
            Option("encoding", word(*_PLACES), "bitmap", "how the places of the others are told"),
            Option(
                "by",
                word("uniform", "size"),
                "uniform",
                "the same part of all kernels, or more of larger ones (their size's logarithm)",
            ),
            *SELECTION,
        ),
    ),
    WhatIf(
        "n_of_m",
        Stage.SPARSITY,
        pair("NofM", "of", 1, 64),
        "N of every M weights kept, as in 2of4",
        "kernels, and constants that are read like maps",
        "of every M elements of each N are not zero",
        change=_n_of_m,
        options=(
            Option(
                "encoding",
                word("n_of_m", "structured", DENSE),
                "n_of_m",
                "their places are told, fixed by a pattern, or not used",
            ),
            *SELECTION,
        ),
    ),
    WhatIf(
        "map_sparsity",
        Stage.SPARSITY,
        number(Fraction(0), Fraction(1), below=True),
        "part of the feature maps' elements that is zero",
        "feature maps between layers",
        "that part of each is zero; places are coded where the machine can",
        change=_map_sparsity,
        options=(
            Option("encoding", word(*_MAP_PLACES), "run_length", "how places are told"),
            *SELECTION,
        ),
    ),
)
