"""Why a layer alone is tiled as it is: what each tensor costs, what other nests would cost.

Bytes come from `estimate.layer_schedule` with nothing read before, so that they are those of the
closed form and of the ledger.  What makes a tensor move again is read off the nest: a loop that
does not select the tensor's tile, and outside of which nothing of it can stay because a loop
further in changes the tile.

    order P M, several trips each:   input selected by P    once
                                     kernel selected by M   T_P times: P stands outside M

An alternative is the best tiling of a nest, told apart by its loops of more than one trip and by
the place of its partial sums, among all tilings that fit.  As in the search, several images
share a tile only when the plane is whole.

Source: the reuse analysis of `schedule.closed_form`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace

import numpy as np
import numpy.typing as npt

from dataflow_sim.graph.layer import Layer
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.results_of_explanation import (
    Alternative,
    Buffer,
    MemoryStep,
    Repeat,
    TensorTraffic,
)
from dataflow_sim.schedule.alone import AnyProblem, stream_local_bytes
from dataflow_sim.schedule.estimate import TrafficHistory, layer_schedule, tile_arrays
from dataflow_sim.schedule.footprints import axis_tiles
from dataflow_sim.schedule.frontier import (
    Block,
    Choice,
    Frontier,
    blocks,
    choice_at,
)
from dataflow_sim.schedule.nest import nest_loops, nest_name, rows_stay, stationary
from dataflow_sim.schedule.problem import LayerProblem, StreamProblem, stream_regions
from dataflow_sim.schedule.types import SINGLE, LayerSchedule, LayerTiling, MemoryOptions
from dataflow_sim.traffic import Reason

_FIRST = frozenset(
    (
        *(Reason.INPUT_READ, Reason.WEIGHT_FETCH, Reason.MAP_FILL),
        *(Reason.MAP_SPILL, Reason.OUTPUT_WRITE),
    )
)
_SUMS = "partial sums"
# the loops that select a tile, and those that can make it move again
_SELECTED_BY = {
    "input": ("KP", "MKP"),
    "kernel": ("MK", "MKP"),
    "input vectors": ("K", "MKP"),
    "output vectors": ("M", "MP"),
}


_NO_HALO: tuple[float, tuple[str, ...], bool] = (0.0, (), False)


def schedule_alone(
    graph: NetworkGraph, index: int, tiling: LayerTiling, memory: MemoryOptions
) -> LayerSchedule:
    """The schedule of one layer as if nothing ran before it, every map through DRAM."""
    stored = frozenset(graph.layers[index].outputs)
    history = TrafficHistory(graph)
    return layer_schedule(graph, index, tiling, memory, history, frozenset(), stored, ())


def moved_bytes(chosen: LayerSchedule) -> int:
    """DRAM bytes of a layer, each tensor and reason rounded up once."""
    return sum(-(-bits // 8) for bits in chosen.traffic_bits.values())


# ------------------------------------------------------------ tensors


def _roles(layer: Layer) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """What tensors are to the layer; one that serves several roles joins them."""
    views = [("input", layer.input)]
    views += [(f"operand {index}", view) for index, view in enumerate(layer.operands)]
    named = [(role, {s.tensor for s in view.segments}) for role, view in views]
    weights = (
        ("kernel", layer.weight),
        ("input vectors", layer.input_vectors),
        ("output vectors", layer.output_vectors),
    )
    named[1:1] = [(role, {name}) for role, name in weights if name is not None]
    named.append(("output", set(layer.outputs)))
    named.append((_SUMS, {f"{layer.name}.partial_sums"}))
    joined: list[tuple[tuple[str, ...], set[str]]] = []
    for role, names in named:
        before = [each for each in joined if each[1] & names]
        for each in before:
            joined.remove(each)
        roles = (*(name for each in before for name in each[0]), role)
        joined.append((roles, names.union(*(each[1] for each in before))))
    return [(roles, tuple(sorted(names))) for roles, names in joined]


def tensor_traffic(
    graph: NetworkGraph, layer: Layer, problem: AnyProblem, chosen: LayerSchedule
) -> tuple[TensorTraffic, ...]:
    """What each tensor of a layer costs; the bytes add up to those of the layer."""
    tiling = chosen.tiling
    assert isinstance(tiling, LayerTiling)
    found = []
    for roles, names in _roles(layer):
        bits = {key: value for key, value in chosen.traffic_bits.items() if key.tensor in names}
        if not bits:
            continue
        if roles == (_SUMS,):
            assert isinstance(problem, LayerProblem)
            trips = -(-problem.input_channels // tiling.input_channel_tile)
            width = {names[0]: problem.memory.accumulator_bits}
            first = {names[0]: sum(bits.values()) // (2 * (trips - 1))}
            repeats: tuple[Repeat, ...] = (Repeat("input channels", trips, ()),)
        else:
            width = {name: graph.tensors[name].bits for name in names}
            first = {k.tensor: v for k, v in bits.items() if k.reason in _FIRST}
            repeats = _repeats(problem, tiling, roles[0])
        halo, halo_axes, stay = _halo(problem, tiling) if "input" in roles else _NO_HALO
        found.append(
            TensorTraffic(
                roles=roles,
                tensors=names,
                elements=sum(value // width[name] for name, value in first.items()),
                moved_elements=sum(value // width[k.tensor] for k, value in bits.items()),
                once_bytes=sum(-(-value // 8) for value in first.values()),
                dram_bytes=sum(-(-value // 8) for value in bits.values()),
                repeats=repeats,
                halo_share=halo,
                halo_axes=halo_axes,
                rows_stay=stay,
            )
        )
    return tuple(found)


def _repeats(problem: AnyProblem, tiling: LayerTiling, role: str) -> tuple[Repeat, ...]:
    """The loops that make a tensor move whole once for each of their trips."""
    if not isinstance(problem, LayerProblem) or role not in _SELECTED_BY:
        return ()
    trips = {
        "M": -(-problem.output_channels // tiling.output_channel_tile),
        "K": -(-problem.input_channels // tiling.input_channel_tile),
        "P": int(tile_arrays(problem, tiling).plane.trips[0]),
    }
    selected, others = _SELECTED_BY[role]
    nest = [loop for loop in tiling.order if loop in others and trips[loop] > 1]
    axes = {"M": "output channels", "K": "input channels", "P": "space"}
    found = []
    for place, loop in enumerate(nest):
        inside = tuple(axes[inner] for inner in nest[place + 1 :] if inner in selected)
        if loop not in selected and inside:
            found.append(Repeat(axes[loop], trips[loop], inside))
    return tuple(found)


def _halo(problem: AnyProblem, tiling: LayerTiling) -> tuple[float, tuple[str, ...], bool]:
    """What a pass over the input reads beyond what is needed, as a share; along which axes.

    And whether rows that two tiles have in common stay.
    """
    if not isinstance(problem, LayerProblem):
        return _NO_HALO
    plane, stay = tile_arrays(problem, tiling).plane, rows_stay(problem, tiling)
    a_pass = int((plane.input_rolled if stay else plane.input_sum)[0])
    rows = axis_tiles(problem.rows, (tiling.row_tile,))
    columns = axis_tiles(problem.columns, (tiling.column_tile,))
    needed = problem.batch * int(rows.input_touched[0]) * int(columns.input_touched[0])
    axes = [("rows", rows)] if not stay else []
    axes.append(("columns", columns))
    again = tuple(axis for axis, tiles in axes if tiles.input_sum[0] > tiles.input_touched[0])
    return (a_pass / needed - 1 if needed else 0.0), again, stay


def stream_buffers(
    graph: NetworkGraph, layer: Layer, problem: StreamProblem, steps: int
) -> tuple[Buffer, ...]:
    """The slices of a streamed layer, tensor by tensor."""
    once = replace(problem, memory=replace(problem.memory, doubled=SINGLE))
    found = []
    for region, tensor in zip(stream_regions(graph, layer), problem.tensors, strict=True):
        size = stream_local_bytes(replace(problem, tensors=(tensor,)), steps)
        one = stream_local_bytes(replace(once, tensors=(tensor,)), steps)
        found.append(Buffer(f"slice of {region.tensor}", None, size // one, False, size))
    return tuple(found)


# ------------------------------------------------------------ alternatives


def _nests(problem: LayerProblem, block: Block) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """The nests of a block as the loops of several trips, and which tilings have each."""
    tiles = block.tiles
    several = {
        "G": problem.groups > tiles.group,
        "M": problem.output_channels > tiles.output_channels,
        "K": problem.input_channels > tiles.input_channels,
        "P": tiles.plane.trips > 1,
    }
    loops = f"G{block.order}"
    code = sum(np.asarray(several[loop]) * (1 << place) for place, loop in enumerate(loops))
    codes = np.broadcast_to(code, block.legal.shape)
    for value in np.unique(codes).tolist():
        name = "".join(loop for place, loop in enumerate(loops) if value >> place & 1)
        yield name, codes == value


def _best(block: Block, places: npt.NDArray[np.int64]) -> tuple[tuple[int, ...], int]:
    """The costs that the search orders tilings by, of the best at these places, and its place."""
    costs = block.costs
    keys = (
        *(costs.dram_bits, costs.kernel_elements, costs.partial_sum_bits),
        *(costs.macs, costs.steps, costs.local_bytes),
    )
    rank: list[int] = []
    for key in keys:
        values = key.ravel()[places]
        rank.append(int(values.min()))
        places = places[values == rank[-1]]
    return tuple(rank), int(places[0])


def best_of_each_nest(problem: LayerProblem, capacity_bytes: int) -> tuple[Choice, ...]:
    """The best tiling of each nest and place of partial sums that fits, fewest bits first.

    Without pinned channels.
    """
    best: dict[tuple[str, str], tuple[tuple[int, ...], Choice]] = {}
    for block in blocks(problem, coarse=True):
        fits = block.legal & (block.costs.local_bytes <= capacity_bytes)
        for name, here in _nests(problem, block):
            places = np.flatnonzero(fits & here)
            if not len(places):
                continue
            rank, place = _best(block, places)
            key = (name, block.sums.value)
            if key not in best or rank < best[key][0]:
                best[key] = (rank, choice_at(block, place))
    found = sorted(best.items(), key=lambda item: (item[1][0], item[0]))
    return tuple(choice for _, (_, choice) in found)


def alternatives(
    graph: NetworkGraph,
    index: int,
    problem: LayerProblem,
    chosen: LayerSchedule,
    memory: MemoryOptions,
) -> tuple[Alternative, ...]:
    """What the best tilings of all other nests would cost that fit, fewest bytes first."""
    tiling, moved = chosen.tiling, moved_bytes(chosen)
    assert isinstance(tiling, LayerTiling)
    own = (nest_name(nest_loops(problem, tiling)), tiling.partial_sums)
    found = []
    for choice in best_of_each_nest(problem, memory.capacity_bytes):
        nest = nest_name(nest_loops(problem, choice.tiling))
        if (nest, choice.tiling.partial_sums) == own:
            continue
        there = moved_bytes(schedule_alone(graph, index, choice.tiling, memory))
        found.append(
            Alternative(
                nest=nest,
                stationary=stationary(problem, nest),
                partial_sums=choice.tiling.partial_sums.value,
                tiling=asdict(choice.tiling),
                local_bytes=choice.local_bytes,
                dram_bytes=there,
                more_share=there / moved - 1,
            )
        )
    # fewer bits may be a byte more, since each tensor rounds up by itself
    return tuple(sorted(found, key=lambda each: each.dram_bytes))


# ------------------------------------------------------------ memory


def memory_steps(
    graph: NetworkGraph, index: int, found: Frontier, memory: MemoryOptions, count: int
) -> tuple[MemoryStep, MemoryStep, tuple[MemoryStep, ...]]:
    """The least memory, that of the least traffic, and the next `count` that lower traffic."""

    def step(local_bytes: int) -> MemoryStep:
        choice = found.least(local_bytes)
        assert choice is not None
        there = schedule_alone(graph, index, choice.tiling, memory)
        return MemoryStep(local_bytes, moved_bytes(there))

    points = found.local_bytes.tolist()
    larger = [point for point in points if point > memory.capacity_bytes]
    return step(points[0]), step(points[-1]), tuple(step(point) for point in larger[:count])
