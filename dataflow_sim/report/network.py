"""What `inspect` shows: layers, live set, lifetimes, passes as plain data.  Reads results only.

Operations per byte are those of `results_of_inspection`: 2 x MACs over the elements of the
weights (kernel and per-channel constants), or over all elements that the layer reads and
writes, each once, one byte an element; "-" where there are none.
"""

from __future__ import annotations

from collections.abc import Sequence

from dataflow_sim.report.tables import Table
from dataflow_sim.results_of_inspection import InspectResult, Shape

_NAMES = 4  # of the nodes that a pass changed
_BAR = 24  # characters of the largest live set
_LAYERS_TITLE = (
    "Layers; one byte an element: ops/weight = 2 x MACs / (weights + constants), "
    "ops/moved = 2 x MACs / (weights + constants + read + written)"
)
_LAYER_COLUMNS = ("layer", "op", "folded", "input", "output", "MACs", "ops/weight", "ops/moved")
_ELEMENTS_TITLE = (
    "Elements of each layer; constants: bias, folded scale and shift; "
    "live: whole maps alive while the layer runs"
)
_ELEMENT_COLUMNS = ("layer", "weights", "constants", "read", "written", "live", "live set")


def inspect_tables(
    result: InspectResult, *, passes: bool = False, weights: bool = False
) -> tuple[Table, ...]:
    """A summary, the layers, their elements, the maps at the peak, the lifetimes of all maps.

    With `passes` also what the reader made of the file, with `weights` what its kernels hold.
    """
    more = ((pass_table,) if passes else ()) + ((weight_table,) if weights else ())
    return tuple(
        table(result) for table in (_summary, _layers, _elements, _peak, _lifetimes, *more)
    )


def weight_table(result: InspectResult) -> Table:
    """What the file's own kernels hold, in the order of the layers."""
    rows = tuple(
        (
            each.layer,
            f"{each.elements:,}",
            f"{each.zeros / each.elements:.2%}",
            "more than 65,536" if each.distinct is None else f"{each.distinct:,}",
            f"{each.entropy_bits:.3f}",
            f"{each.huffman_bits:.3f}",
        )
        for each in result.weights
    )
    title = "Weights of the file; codes of 8-bit values"
    if not rows:
        return Table("Weights of the file", ("",), (("it carries no values",),))
    columns = ("layer", "weights", "zeros", "distinct", "entropy, bits", "Huffman, bits")
    return Table(title, columns, rows)


def pass_table(result: InspectResult) -> Table:
    """What each pass of the reader did, in order: nodes changed, some names, what holds now."""
    rows = tuple(
        (each.name, f"{len(each.changed):,}", shortened(each.changed, _NAMES) or "-", each.after)
        for each in result.passes
    )
    title = "Passes of the reader" if rows else "Passes of the reader: none"
    return Table(title, ("pass", "nodes", "changed", "what holds after it"), rows)


def shortened(names: Sequence[str], longest: int) -> str:
    """The first so many names, and how many more there are."""
    shown = ", ".join(names[:longest])
    further = len(names) - longest
    return f"{shown} and {further:,} more" if further > 0 else shown


def _summary(result: InspectResult) -> Table:
    inputs = [life for life in result.lifetimes if life.kind == "input"]
    rows = (
        ("input", ", ".join(f"{life.tensor} {_extents(life.shape)}" for life in inputs) or "-"),
        ("layers", f"{len(result.layers):,}"),
        ("MACs", f"{result.macs:,}"),
        ("parameters", f"{result.parameters:,}"),
        ("largest live set", f"{result.live_peak_elements:,} elements"),
        ("in layer", result.live_peak_layer),
        ("operations per weight byte", _ratio(result.operations_per_weight_byte)),
        ("operations per byte moved, layer by layer", _ratio(result.operations_per_byte_moved)),
    )
    return Table(result.network, ("", ""), rows)


def _layers(result: InspectResult) -> Table:
    rows = tuple(
        (
            layer.name,
            layer.op,
            layer.folded or "-",
            _extents(layer.input_shape),
            _extents(layer.output_shape),
            f"{layer.macs:,}",
            _ratio(layer.operations_per_weight_byte),
            _ratio(layer.operations_per_byte_moved),
        )
        for layer in result.layers
    )
    return Table(_LAYERS_TITLE, _LAYER_COLUMNS, rows)


def _elements(result: InspectResult) -> Table:
    """What each layer fetches, reads and writes, and the live set over the layers."""
    rows = tuple(
        (
            layer.name,
            f"{layer.weight_elements:,}",
            f"{layer.vector_elements:,}",
            f"{layer.input_elements:,}",
            f"{layer.output_elements:,}",
            f"{layer.live_elements:,}",
            "#" * -(-_BAR * layer.live_elements // result.live_peak_elements),
        )
        for layer in result.layers
    )
    return Table(_ELEMENTS_TITLE, _ELEMENT_COLUMNS, rows)


def _peak(result: InspectResult) -> Table:
    """The maps of the largest live set, the largest first."""
    alive = set(result.live_peak_maps)
    lives = [life for life in result.lifetimes if life.tensor in alive]
    rows = tuple(
        (
            life.tensor,
            life.first_layer,
            life.last_layer,
            f"{life.elements:,}",
            f"{life.elements / result.live_peak_elements:.1%}",
        )
        for life in sorted(lives, key=lambda life: -life.elements)
    )
    title = f"Largest live set, in layer {result.live_peak_layer}"
    return Table(title, ("map", "alive from", "to", "elements", "share"), rows)


def _lifetimes(result: InspectResult) -> Table:
    """Every map from its first write to its last read."""
    rows = tuple(
        (
            life.tensor,
            life.first_layer,
            life.last_layer,
            f"{life.last - life.first + 1:,}",
            f"{life.elements:,}",
        )
        for life in result.lifetimes
    )
    return Table("Lifetimes of maps", ("map", "alive from", "to", "layers", "elements"), rows)


def _extents(shape: Shape) -> str:
    """Channels x rows x columns, the batch in front of them where it is not 1."""
    return "x".join(map(str, shape[1:] if shape[0] == 1 else shape))


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"
