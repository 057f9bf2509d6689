"""The picture of a network's live set: whole maps over the layers, the names at the peak.

Every layer is as wide as every other.  Where there are more layers than columns, a column
shows the fullest of its layers, so that no peak is lost.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dataflow_sim.report.drawing import (
    MAPS_COLOUR,
    RESIDENT_COLOUR,
    WRITTEN_COLOUR,
    clipped,
    pictures,
)
from dataflow_sim.report.live_set_frame import (
    COLUMNS,
    NAMES,
    Heading,
    Part,
    Span,
    framed,
    fullest,
    mark_peak,
    mark_spans,
    stack,
    write_heading,
    write_panel,
)
from dataflow_sim.report.network_live_set import WHY, LiveMaps, live_maps
from dataflow_sim.results_of_inspection import InspectResult

_COLOURS = (RESIDENT_COLOUR, MAPS_COLOUR, WRITTEN_COLOUR)
_UNITS = ((10**9, "billion elements"), (10**6, "million elements"), (10**3, "thousand elements"))


def _draw(axes: Axes, live: LiveMaps) -> None:
    """Areas by why the maps are alive, and the peak."""
    layers = live.elements.shape[1]
    total = live.elements.sum(axis=0)
    most = int(total[live.peak])
    factor, unit = next((each for each in _UNITS if most >= each[0]), (1, "elements"))
    edges, held = np.arange(layers, dtype=np.float64), live.elements
    if layers > COLUMNS:
        columns, held = fullest(edges * (COLUMNS / layers), held)
        edges = columns * (layers / COLUMNS)
    stack(axes, edges, layers, held / factor, _COLOURS)
    mark_peak(axes, live.peak + 0.5, most / factor)
    axes.set_xlim(0, layers)
    axes.set_ylim(0, 1.12 * most / factor)
    axes.set_ylabel(f"live set [{unit}]")
    axes.yaxis.grid(True, linewidth=0.4, alpha=0.5)
    axes.set_axisbelow(True)


def _parts(live: LiveMaps) -> Iterator[Part]:
    """Why maps are alive at the peak: elements for each reason, and the largest maps."""
    for why, colour, elements in zip(
        reversed(WHY), reversed(_COLOURS), live.elements[::-1], strict=True
    ):
        if not elements.any():
            continue
        named = [each for each in live.maps[:NAMES] if each.why == why]
        rest = [each for each in live.maps[NAMES:] if each.why == why]
        further = sum(each.elements for each in rest)
        yield Part(
            title=why,
            colour=colour,
            total=f"{elements[live.peak]:,}",
            names=tuple((each.name, 1, f"{each.elements:,}") for each in named),
            rest=(len(rest), f"{further:,}") if rest else None,
        )


def network_figure(result: InspectResult) -> Figure:
    """The live set of whole maps over the layers of a network."""
    live = live_maps(result)
    figure, axes = framed()
    _draw(axes, live)
    names = [layer.name for layer in result.layers]
    spans = (Span(index, index + 1, name, name) for index, name in enumerate(names))
    mark_spans(figure, axes, spans, len(names), always=live.peak)
    most = f"{result.live_peak_elements:,} elements"
    write_panel(figure, f"at the peak: {most}", f"in {names[live.peak]}", _parts(live))
    heading = Heading(
        title=f"{clipped(result.network, 50)}: live set of whole maps",
        line=f"at most {most}, in layer {live.peak + 1:,} of {len(names):,}; weights not among "
        "them",
        note="left to right: layers in order; a map is alive from the layer that writes it to "
        "the last that reads it",
    )
    write_heading(figure, heading)
    return figure


def network_pictures(result: InspectResult) -> dict[str, bytes]:
    """The live set of a network as PNG and SVG."""
    return pictures(lambda: network_figure(result), "png", "svg")
