"""Recurrent layers: a state carried from one time step to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

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
_BACKWARDS = {"reverse": (0,), "bidirectional": (1,)}
_STATES = {"LSTM": 2, "GRU": 1, "RNN": 1}


def _recurrent(builder: GraphBuilder, node: Node) -> None:
    """Time steps in order, gates by gates within each, one direction after the other."""
    macs = RECURRENT.count(node, builder.network.shapes)
    layer = builder.stream(node, macs=macs, vectors=(3, 7))
    places = [place for place, _ in layer.read]
    meaning = layer.draft.meaning
    if node.attributes.get("layout", 0) or places[:1] != [0] or meaning is None:
        return
    steps, batch, _ = builder.shape(node.inputs[0])
    directions, gates, _ = builder.network.shapes[node.inputs[1]]
    state = batch * builder.network.shapes[node.inputs[2]][2]
    views = [Role(v.view.shape, v.axes, _WALKED.get(place, {})) for place, v in layer.read]
    outputs = []
    for place, name in zip(meaning.places, builder.read_outputs(node), strict=True):
        value = builder.values[name]
        outputs.append(Role(value.view.shape, value.axes, _MADE[place]))
    waiting = Waiting(
        SweepKind.RECURRENT, directions * batch * gates, directions * state * _STATES[node.op]
    )
    sweep = swept(views, outputs, waiting)
    if sweep is None or (sweep.rows, sweep.groups) != (steps, directions):
        return
    direction = str(node.attributes.get("direction", "forward"))
    layer.draft.sweep = replace(sweep, backwards=_BACKWARDS.get(direction, ()))


_WEIGHTS_AGAIN = "input once; weights once where they fit, else in every time step"

ROWS = tuple(
    Operator(name, "recurrent", _recurrent, RECURRENT, _WEIGHTS_AGAIN, vectors=(3, 7))
    for name in ("LSTM", "GRU", "RNN")
)
