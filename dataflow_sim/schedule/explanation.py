"""Why a layer alone is tiled as it is: what each tensor costs, what more memory would bring.

Bytes come from `estimate.layer_schedule` with nothing read before, so that they are those of the
closed form and of the ledger.  What makes a tensor move again is read off the nest: a loop that
does not select the tensor's tile, and outside of which nothing of it can stay because a loop
further in changes the tile.

    order P M, several trips each:   input selected by P    once
                                     kernel selected by M   T_P times: P stands outside M

Of a tensor that is pinned in part, what is pinned moves once, and the rest that often.  Of a
sweep the same holds of its rows, columns and passes (`schedule.sweep_nest`).

Source: the reuse analysis of `schedule.closed_form`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dataflow_sim.graph.layer import Layer
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.results_of_explanation import (
    Buffer,
    MemoryStep,
    Pinned,
    Repeat,
    TensorTraffic,
)
from dataflow_sim.schedule.alone import AnyProblem, stream_local_bytes
from dataflow_sim.schedule.amounts import tile_arrays
from dataflow_sim.schedule.estimate import TrafficHistory, layer_schedule
from dataflow_sim.schedule.footprints import axis_tiles
from dataflow_sim.schedule.frontier import Frontier
from dataflow_sim.schedule.nest import pinned_channels, rows_stay, single_buffers
from dataflow_sim.schedule.problem import (
    LayerProblem,
    StreamProblem,
    stream_regions,
    weight_roles,
)
from dataflow_sim.schedule.sweep import SweepProblem
from dataflow_sim.schedule.sweep_nest import sweep_repeats
from dataflow_sim.schedule.types import LayerSchedule, LayerTiling, MemoryOptions
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


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where the maps of a layer alone are, as in `types.Group`; stored None: all its outputs."""

    resident: frozenset[str] = frozenset()
    stored: frozenset[str] | None = None
    kept: tuple[str, ...] = ()

    def touch(self, layer: Layer) -> bool:
        """Whether a layer reads or leaves any map in local memory, or keeps one there."""
        own = {segment.tensor for view in layer.views for segment in view.segments}
        own |= set(layer.outputs)
        stored = self.stored is None or self.stored >= set(layer.outputs)
        return bool(own & self.resident or self.kept) or not stored


THROUGH_DRAM = Whereabouts()


def schedule_alone(
    graph: NetworkGraph,
    index: int,
    tiling: LayerTiling,
    memory: MemoryOptions,
    maps: Whereabouts = THROUGH_DRAM,
) -> LayerSchedule:
    """The schedule of one layer as if nothing ran before it."""
    stored = frozenset(graph.layers[index].outputs) if maps.stored is None else maps.stored
    history = TrafficHistory(graph)
    return layer_schedule(graph, index, tiling, memory, history, maps.resident, stored, maps.kept)


def moved_bytes(chosen: LayerSchedule, byte_bits: int) -> int:
    """DRAM bytes of a layer, each tensor and reason rounded up once."""
    return sum(-(-bits // byte_bits) for bits in chosen.traffic_bits.values())


# ------------------------------------------------------------ tensors


def _roles(layer: Layer) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """What tensors are to the layer; one that serves several roles joins them."""
    views = [("input", layer.input)]
    views += [(f"operand {index}", view) for index, view in enumerate(layer.operands)]
    named = [(role, {s.tensor for s in view.segments}) for role, view in views]
    named[1:1] = [(role, {name}) for role, name in weight_roles(layer)]
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
            repeats = _repeats(problem, tiling, roles)
        halo, halo_axes, stay = _halo(problem, tiling) if "input" in roles else _NO_HALO
        found.append(
            TensorTraffic(
                roles=roles,
                tensors=names,
                elements=sum(value // width[name] for name, value in first.items()),
                moved_elements=sum(value // width[k.tensor] for k, value in bits.items()),
                once_bytes=sum(-(-value // graph.byte_bits) for value in first.values()),
                dram_bytes=sum(-(-value // graph.byte_bits) for value in bits.values()),
                repeats=repeats,
                halo_share=halo,
                halo_axes=halo_axes,
                rows_stay=stay,
                pinned=_pinned(problem, tiling, roles),
            )
        )
    return tuple(found)


def _pinned(problem: AnyProblem, tiling: LayerTiling, roles: tuple[str, ...]) -> Pinned | None:
    """What of a tensor with these roles stays in left-over memory."""
    if not isinstance(problem, LayerProblem):
        return None
    pinned = pinned_channels(problem, tiling)
    return pinned if pinned is not None and pinned.role in roles else None


def _pinned_whole(problem: LayerProblem, tiling: LayerTiling, role: str) -> bool:
    """Whether all channels of a role are pinned, so that nothing of it moves in the loops."""
    pinned = _pinned(problem, tiling, (role,))
    return pinned is not None and pinned.channels == pinned.of_channels


def _repeats(
    problem: AnyProblem, tiling: LayerTiling, roles: tuple[str, ...]
) -> tuple[Repeat, ...]:
    """The loops that make a tensor move whole once for each of their trips."""
    role = roles[0]
    if isinstance(problem, SweepProblem):
        return sweep_repeats(problem, tiling, roles)
    if not isinstance(problem, LayerProblem) or role not in _SELECTED_BY:
        return ()
    if _pinned_whole(problem, tiling, role):
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

    And whether rows that two tiles have in common stay.  Of channels that are not pinned.
    """
    if not isinstance(problem, LayerProblem) or _pinned_whole(problem, tiling, "input"):
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
    once = replace(problem, memory=single_buffers(problem.memory))
    found = []
    for region, tensor in zip(stream_regions(graph, layer), problem.tensors, strict=True):
        size = stream_local_bytes(replace(problem, tensors=(tensor,)), steps)
        if not size:
            continue
        one = stream_local_bytes(replace(once, tensors=(tensor,)), steps)
        name = f"slice of {region.tensor}"
        found.append(Buffer(name, None, size // one, False, size, accumulators=False))
    return tuple(found)


# ------------------------------------------------------------ memory


def memory_steps(
    graph: NetworkGraph,
    index: int,
    found: Frontier,
    memory: MemoryOptions,
    count: int,
    maps: Whereabouts = THROUGH_DRAM,
) -> tuple[MemoryStep, MemoryStep, tuple[MemoryStep, ...]]:
    """The least memory, that of the least traffic, and the next `count` that lower traffic."""

    def step(local_bytes: int) -> MemoryStep:
        choice = found.least(local_bytes)
        assert choice is not None
        there = schedule_alone(graph, index, choice.tiling, memory, maps)
        return MemoryStep(local_bytes, moved_bytes(there, graph.byte_bits))

    points = found.local_bytes.tolist()
    larger = [point for point in points if point > memory.capacity_bytes]
    return step(points[0]), step(points[-1]), tuple(step(point) for point in larger[:count])
