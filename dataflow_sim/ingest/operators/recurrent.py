"""Recurrent layers: a state carried from one time step to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dataflow_sim.graph.arrangement import Arrangement
from dataflow_sim.graph.sweep import SweepKind
from dataflow_sim.ingest.layers.builder import GraphBuilder
from dataflow_sim.ingest.layers.sweeps import Role, Waiting, swept
from dataflow_sim.ingest.network import Node
from dataflow_sim.ingest.operators.counts import RECURRENT
from dataflow_sim.ingest.operators.row import Operator

# the loops that index each input and each output of the operator
_WALKED: Mapping[int, Mapping[str, int]] = {
    0: {"P": -3},
    1: {"G": -3, "N": -2},
    2: {"G": -3, "N": -2},
    3: {"G": -2},
    5: {"G": -3},
    6: {"G": -3},
    7: {"G": -2},
}
_MADE: Mapping[int, Mapping[str, int]] = {0: {"P": -4, "G": -3}, 1: {"G": -3}, 2: {"G": -3}}
# with layout 1 the batch comes first: the axes of the file in the order of layout 0
_TURNED_INPUTS = {0: (1, 0, 2), 5: (1, 0, 2), 6: (1, 0, 2)}
_TURNED_OUTPUTS = {0: (1, 2, 0, 3), 1: (1, 0, 2), 2: (1, 0, 2)}
_BACKWARDS = {"reverse": (0,), "bidirectional": (1,)}
_STATES = {"LSTM": 2, "GRU": 1, "RNN": 1}


def _recurrent(builder: GraphBuilder, node: Node) -> None:
    """Time steps in order, gates by gates within each, one direction after the other."""
    macs = RECURRENT.count(node, builder.network.shapes)
    layer = builder.stream(node, macs=macs, vectors=(3, 7))
    meaning, read = layer.draft.meaning, layer.read
    if meaning is None or [place for place, _ in read][:1] != [0]:
        return
    by_batch = bool(node.attributes.get("layout", 0))
    inputs = [_in_time(v.axes, _TURNED_INPUTS.get(place, ()), by_batch) for place, v in read]
    views = [
        Role(value.view.shape, axes, _WALKED.get(place, {}))
        for (place, value), axes in zip(read, inputs, strict=True)
    ]
    results, outputs = [], []
    for place, name in zip(meaning.places, builder.read_outputs(node), strict=True):
        value = builder.values[name]
        results.append(_in_time(value.axes, _TURNED_OUTPUTS[place], by_batch))
        outputs.append(Role(value.view.shape, results[-1], _MADE[place]))
    steps, batch, _ = inputs[0].shape
    directions, gates, _ = builder.shape(node.inputs[1])
    hidden = builder.shape(node.inputs[2])[2]
    waiting = Waiting(
        SweepKind.RECURRENT,
        directions * batch * gates,
        directions * batch * hidden * _STATES[node.op],
    )
    sweep = swept(views, outputs, waiting)
    if sweep is None or (sweep.rows, sweep.groups) != (steps, directions):
        return
    direction = str(node.attributes.get("direction", "forward"))
    layer.draft.sweep = replace(sweep, backwards=_BACKWARDS.get(direction, ()))
    seen = [
        replace(each, seen=tuple(s._replace(axes=inputs[s.view]) for s in each.seen))
        for each in meaning.inputs
    ]
    layer.draft.meaning = replace(meaning, inputs=tuple(seen), results=tuple(results))


def _in_time(axes: Arrangement, order: tuple[int, ...], by_batch: bool) -> Arrangement:
    """An array with its time steps or directions first, where the file has the batch there."""
    return axes.transposed(order) if by_batch and order else axes


_WEIGHTS_AGAIN = "input once; weights once where they fit, else in every time step"

ROWS = tuple(
    Operator(name, "recurrent", _recurrent, RECURRENT, _WEIGHTS_AGAIN, vectors=(3, 7))
    for name in ("LSTM", "GRU", "RNN")
)
