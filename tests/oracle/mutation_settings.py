"""What faults of the lowering are tried on: small networks under schedules of every kind.

Layers alone have a tiling by hand, in a memory that just holds it.  Groups take a whole network,
are demanded, or are those of the shortest schedule on a budget curve that has what is wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

import onnx

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.schedule import amounts, sweep, sweep_steps
from dataflow_sim.schedule.alone import any_problem, frontier
from dataflow_sim.schedule.demands import Demand, Kernels
from dataflow_sim.schedule.estimate import TrafficHistory, layer_schedule
from dataflow_sim.schedule.problem import LayerProblem
from dataflow_sim.schedule.search import schedule_network
from dataflow_sim.schedule.standing import standing_items
from dataflow_sim.schedule.sweep import SweepProblem
from dataflow_sim.schedule.types import (
    DOUBLE,
    SINGLE,
    Group,
    Halo,
    LayerTiling,
    MemoryOptions,
    Packing,
    PartialSums,
    PlaneTile,
    RowTiling,
    Schedule,
)
from dataflow_sim.simulate.reference import evaluate_reference, random_inputs, with_weights
from tests.oracle.test_tiles_in_groups import demanded
from tests.support.curves import curve
from tests.support.frames import frames_of
from tests.support.groups import grouped
from tests.support.mutations import Setting
from tests.support.runs import Case, case, case_of, input_placements, least_budget
from tests.support.streamed import StreamCase, one_node, stream_case

NONE, KEPT, SPILLED = PartialSums
APART = MemoryOptions(0, DOUBLE, 32, 4096)
PLAIN = MemoryOptions(0, SINGLE, 32)
TWICE = MemoryOptions(0, DOUBLE, 32)

# ------------------------------------------------------------ networks


def _convolution(name: str, shape: tuple[int, int, int, int], kernel: int, groups: int = 1) -> Case:
    net = OnnxBuilder(name, shape)
    value = net.convolution("a", "input", 6, kernel, groups=groups, bias=True)
    return case_of(net.model(net.activation("a.relu", value)), name)


def _skipping() -> Case:
    """Of two rows of the map one is read, of three columns of the body one is common."""
    net = OnnxBuilder("skipping", (1, 3, 11, 9))
    value = net.convolution("points", "input", 5, 1, stride=2)
    return case_of(net.model(net.pool("MaxPool", "pooled", value, 3, stride=2)), "skipping")


def _separable() -> Case:
    net = OnnxBuilder("separable", (1, 4, 6, 5))
    value = net.activation("a.relu", net.convolution("a", "input", 4, 3, groups=4, bias=True))
    return case_of(net.model(net.convolution("b", value, 6, 1)), "separable")


def _shortcut() -> Case:
    net = OnnxBuilder("shortcut", (1, 4, 6, 5))
    first = net.convolution("a", "input", 4, 3)
    added = net.add("add", net.convolution("b", first, 4, 3), first)
    return case_of(net.model(added), "shortcut")


def _shortcuts() -> Case:
    """Added: a map, of another every second row and column, a third to what is made of it."""
    net = OnnxBuilder("shortcuts", (1, 4, 8, 6))
    first = net.activation("a.relu", net.convolution("a", "input", 4, 3))
    added = net.add("add", net.convolution("b", first, 4, 3), first)
    value = net.activation("add.relu", added)
    short = net.convolution("short", value, 4, 1, stride=2)
    value = net.add("down", net.convolution("c", value, 4, 3, stride=2), short)
    return case_of(net.model(net.add("out", net.convolution("d", value, 4, 3), value)), "shortcuts")


def _fork() -> Case:
    net = OnnxBuilder("fork", (1, 3, 6, 5))
    left = net.activation("left.relu", net.convolution("left", "input", 2, 1))
    right = net.convolution("right", "input", 4, 3, bias=True)
    joined = net.concat("joined", [left, right])
    return case_of(net.model(net.convolution("after", joined, 5, 3, stride=2)), "fork")


_NETWORKS: dict[str, Callable[[], Case]] = {
    "plain": partial(_convolution, "plain", (1, 4, 7, 6), 3),
    # lower than its kernel: windows of all tiles begin at the first row
    "low": partial(_convolution, "low", (1, 4, 3, 6), 5),
    "by groups": partial(_convolution, "by groups", (1, 6, 7, 5), 3, 3),
    "skipping": _skipping,
    "separable": _separable,
    "shortcut": _shortcut,
    "shortcuts": _shortcuts,
    "fork": _fork,
}


@cache
def _network(name: str) -> Case:
    return _NETWORKS[name]() if name in _NETWORKS else case(name)


# ------------------------------------------------------------ layers alone


def _alone(graph: NetworkGraph, place: int, tiling: LayerTiling, memory: MemoryOptions) -> Schedule:
    """One layer with a tiling by hand, the others with the best in plenty of memory."""
    history, nothing = TrafficHistory(graph), frozenset[str]()
    groups = []
    for index, layer in enumerate(graph.layers):
        problem = any_problem(graph, layer, memory)
        best = frontier(problem).best(1 << 20)
        assert best is not None
        chosen, size = best.tiling, best.local_bytes
        if index == place and isinstance(problem, SweepProblem):
            sizes = sweep_steps.tiling_sizes(problem.sweep, tiling)
            swept = sweep.tiling_costs(problem, tiling.order, sizes)
            chosen, size = replace(tiling, steps=int(swept.steps[0])), int(swept.local_bytes[0])
        elif index == place:
            assert isinstance(problem, LayerProblem)
            costs = amounts.tiling_costs(problem, tiling)
            assert costs is not None, f"{tiling} is not legal"
            chosen, size = replace(tiling, steps=int(costs.steps[0])), int(costs.local_bytes[0])
        stored = frozenset(layer.outputs)
        made = layer_schedule(graph, index, chosen, memory, history, nothing, stored, ())
        one = ((index,), False, Packing.RINGS, None, (made,), nothing, stored, (), 0, size)
        groups.append(Group(*one))
    memory = replace(memory, capacity_bytes=max(group.local_bytes for group in groups))
    return Schedule(graph.name, "layerwise", memory, tuple(groups))


def _of(found: Case, schedule: Schedule) -> Setting:
    return Setting(found.graph, (schedule,), ((found.inputs, found.expected),))


def _tiled(
    name: str,
    order: str,
    sums: PartialSums,
    channels: tuple[int, int],
    plane: tuple[int, int],
    memory: MemoryOptions = PLAIN,
    place: int = 0,
    group: int = 1,
    pinned: tuple[int, int] = (0, 0),
) -> Setting:
    """Tiles of output and input channels, of rows and columns; pinned channels of both."""
    found = _network(name)
    tiling = LayerTiling(order, sums, group, *channels, 1, *plane, 0, *pinned)
    return _of(found, _alone(found.graph, place, tiling, memory))


_ALONE: dict[str, Callable[[], Setting]] = {
    "tiles": partial(_tiled, "plain", "PMK", NONE, (4, 4), (3, 4)),
    "tiles doubled": partial(_tiled, "plain", "MPK", NONE, (4, 4), (3, 4), TWICE),
    "low tiles": partial(_tiled, "low", "PMK", NONE, (6, 4), (2, 3)),
    "low tiles, kept": partial(_tiled, "low", "KPM", KEPT, (6, 2), (2, 6)),
    "strided rows": partial(_tiled, "skipping", "PMK", NONE, (5, 3), (1, 1)),
    "strided rows, pinned": partial(_tiled, "skipping", "PMK", KEPT, (5, 1), (1, 1), pinned=(0, 1)),
    "kernel pinned": partial(_tiled, "plain", "PMK", NONE, (2, 4), (3, 4), pinned=(3, 0)),
    "input pinned": partial(_tiled, "plain", "PKM", KEPT, (3, 3), (3, 4), pinned=(0, 1)),
    "groups": partial(_tiled, "by groups", "PMK", NONE, (2, 2), (3, 5), group=2),
    "shortcut": partial(_tiled, "shortcut", "PMK", NONE, (2, 4), (3, 5), place=1),
    "shortcut, kept": partial(_tiled, "shortcut", "PMK", KEPT, (4, 3), (3, 5), place=1),
    "gate": partial(_tiled, "squeeze_excite", "PMK", NONE, (1, 1), (3, 8), place=4, group=8),
    "concat": partial(_tiled, "fork", "PMK", NONE, (5, 6), (2, 3), place=2),
    "spilled apart": partial(_tiled, "plain", "KPM", SPILLED, (4, 3), (4, 4), APART),
    **{
        f"{sums} {order}{doubled}": partial(_tiled, "plain", order, sums, (4, 3), (4, 4), memory)
        for sums, order, memory, doubled in (
            *((KEPT, order, PLAIN, "") for order in ("MPK", "PKM", "MKP", "KPM", "KMP")),
            *((SPILLED, order, PLAIN, "") for order in ("PKM", "MKP", "KPM", "KMP")),
            (KEPT, "PMK", TWICE, " doubled"),
        )
    },
}

# ------------------------------------------------------------ groups, residents, frames

Wanted = Callable[[Schedule, Group], bool]


@cache
def _shortest(name: str, policy: str, wanted: Wanted) -> Setting:
    """The schedule of fewest steps on a curve that has a group as wanted."""
    found = _network(name)
    points = curve(found.graph, policy)
    schedules = [points.schedule(point.local_bytes) for point in points.points]
    having = [s for s in schedules if s is not None and any(wanted(s, g) for g in s.groups)]
    return _of(found, min(having, key=lambda schedule: schedule.steps))


def _takes_over(schedule: Schedule, _: Group) -> bool:
    return any(len(home.tensors) > 1 for home in schedule.residents)


def _keeps(_: Schedule, group: Group) -> bool:
    return bool(group.kept)


def _hands_over_and_pins(_: Schedule, group: Group) -> bool:
    tilings = [layer.tiling for layer in group.layers]
    pins = any(isinstance(tiling, RowTiling) and tiling.pinned_channels for tiling in tilings)
    return pins and group.hands is not None


def _rows(
    name: str,
    memory: MemoryOptions = PLAIN,
    running: bool = False,
    height: int | None = None,
    streamed: int = 0,
    room_bytes: int = 0,
) -> Setting:
    """All layers in one group, by rows."""
    found = _network(name)
    made = grouped(found.graph, memory, running, 0, height, streamed, room_bytes)
    return _of(found, made)


def _planes(
    name: str, last: int, side: int, halo: Halo, kernels: Kernels, double: bool = False
) -> Setting:
    """The first layers in one group, by square tiles."""
    found = _network(name)
    demand = Demand(tuple(range(last + 1)), PlaneTile(side, side), halo, kernels)
    return _of(found, demanded(found.graph, demand, double))


def _frames() -> Setting:
    """A cold frame and a warm one, with another input: a group beside some weights that stand."""
    found = _network("separable")
    points = curve(found.graph, "merged")
    weights = sum(item.local_bytes for item in standing_items(found.graph))
    capacity = points.points[-1].local_bytes + weights // 3
    made = frames_of(found.graph, points, capacity, 50)
    shapes = {place.array: place.axes.shape for place in input_placements(found.graph)}
    other = random_inputs(shapes, seed=3)
    (expected,) = evaluate_reference(found.model, dict(other)).values()
    frames = ((found.inputs, found.expected), (other, expected))
    return Setting(found.graph, (made.cold, made.warm), frames)


_GROUPS: dict[str, Callable[[], Setting]] = {
    "residents": partial(_shortest, "shortcuts", "resident", _takes_over),
    "concat of residents": partial(_shortest, "fork", "resident", _keeps),
    "rows handed over": partial(_shortest, "shortcuts", "merged", _hands_over_and_pins),
    "rows": partial(_rows, "shortcuts"),
    "rows of a concat": partial(_rows, "fork"),
    "rows, kernels streamed": partial(_rows, "separable", PLAIN, False, 3, 2, 60),
    "rows, kernels streamed, doubled": partial(_rows, "separable", TWICE, False, 3, 2, 60),
    "rows of a shortcut, kernels streamed": partial(_rows, "shortcut", PLAIN, False, 2, 2, 60),
    "running": partial(_rows, "squeeze_excite", PLAIN, True),
    "running apart": partial(_rows, "pooled_towers", APART, True),
    "tiles cached": partial(_planes, "padded_chain", 1, 4, Halo.CACHE, Kernels.RESIDENT),
    "tiles made again": partial(_planes, "padded_chain", 1, 4, Halo.RECOMPUTE, Kernels.RESIDENT),
    "tiles, kernels streamed": partial(
        _planes, "separable", 1, 3, Halo.CACHE_X, Kernels.REFETCH, double=True
    ),
    "tiles of a concat": partial(_planes, "fork", 2, 2, Halo.CACHE, Kernels.RESIDENT),
    "frames": _frames,
}

# ------------------------------------------------------------ sweeps


def _swept(found: StreamCase, schedule: Schedule) -> Setting:
    (expected,) = found.expected.values()
    return Setting(found.graph, (schedule,), ((found.inputs, expected),))


def _sweep(
    model: onnx.ModelProto,
    order: str,
    rows: int,
    columns: int,
    memory: MemoryOptions = PLAIN,
    sums: PartialSums = KEPT,
) -> Setting:
    """The first layer by tiles of rows and columns, one batch and group at a time."""
    found = stream_case(model, model.graph.name)
    tiling = LayerTiling(order, sums, 1, 1, 1, 1, rows, columns, 0)
    return _swept(found, _alone(found.graph, 0, tiling, memory))


def _head() -> onnx.ModelProto:
    """One head of attention, 7 queries on 5 keys, and a linear layer on what it makes."""
    sides = {"q0": (1, 7, 4), "k1": (1, 5, 4), "v2": (1, 5, 4)}
    model = one_node("Attention", sides, {}, outputs=("a",), q_num_heads=1, kv_num_heads=1)
    projected = one_node("MatMul", {"a0": (1, 7, 4)}, {"p1": (4, 6)})
    linear, weights = projected.graph.node[0], projected.graph.initializer[0]
    linear.name, linear.input[0] = "project", "a"
    model.graph.node.append(linear)
    model.graph.initializer.append(weights)
    model.graph.output[0].name = "y"
    return model


def _heads() -> onnx.ModelProto:
    """Two heads of attention."""
    heads = {"q0": (1, 2, 4, 3), "k1": (1, 2, 4, 3), "v2": (1, 2, 4, 3)}
    return one_node("Attention", heads, {})


def _normalised() -> onnx.ModelProto:
    """A linear layer by pixel, a norm over the planes, another linear layer."""
    net = OnnxBuilder("normalised", (1, 3, 6, 5))
    normal = net.instance_norm("n", net.convolution("a", "input", 3, 1))
    return with_weights(net.model(net.convolution("b", normal, 3, 1)), seed=1)


def _softmax() -> Setting:
    return _sweep(one_node("Softmax", {"x0": (1, 2, 4, 4)}, {}, axis=2), "PN", 1, 2, TWICE)


def _instances() -> Setting:
    constants = {"s1": (3,), "b2": (3,)}
    model = one_node("InstanceNormalization", {"x0": (1, 3, 4, 4)}, constants)
    return _sweep(model, "PN", 1, 2)


def _product() -> Setting:
    model = one_node("MatMul", {"a0": (1, 2, 5, 4), "b1": (1, 2, 4, 6)}, {})
    return _sweep(model, "NP", 2, 3, TWICE, NONE)


def _recurrent() -> Setting:
    weights = {"w1": (1, 8, 3), "r2": (1, 8, 2)}
    return _sweep(one_node("LSTM", {"x0": (4, 2, 3)}, weights, hidden_size=2), "PN", 1, 2)


def _samples() -> Setting:
    """A layer that is streamed, and no sweep."""
    model = one_node("GridSample", {"x0": (1, 4, 6, 5), "g1": (1, 6, 5, 2)}, {})
    found = stream_case(model, "samples")
    memory = replace(TWICE, capacity_bytes=least_budget(found.graph, double_buffer=True))
    return _swept(found, schedule_network(found.graph, memory, "layerwise"))


def _one_group(model: onnx.ModelProto, height: int | None = None) -> Setting:
    found = stream_case(model, model.graph.name)
    return _swept(found, grouped(found.graph, PLAIN, False, height=height))


_SWEEPS: dict[str, Callable[[], Setting]] = {
    "attention by rows": lambda: _sweep(_head(), "PN", 3, 2),
    "attention by columns": lambda: _sweep(_head(), "NP", 3, 2),
    "attention of two heads": lambda: _sweep(_heads(), "PN", 3, 2),
    "softmax": _softmax,
    "normalisation": _instances,
    "product": _product,
    "recurrent": _recurrent,
    "streamed": _samples,
    "rows of attention": lambda: _one_group(_head(), 3),
    "rows normalised": lambda: _one_group(_normalised()),
}

SETTINGS = {**_ALONE, **_GROUPS, **_SWEEPS}


@cache
def setting(name: str) -> Setting:
    """A setting by its name, made once."""
    return SETTINGS[name]()
