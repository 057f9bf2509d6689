"""The proof of a schedule: its program counted one by one, and found equal to the closed form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from math import prod

from dataflow_sim.delivered import in_dram
from dataflow_sim.energy.model import LayerCounts, LayerPrice, Overlap, price_group
from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.layer import Layer, LayerKind, TensorKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import HardwareFile
from dataflow_sim.program.instructions import Memory, Program
from dataflow_sim.program.lowering import lower
from dataflow_sim.results import BufferStay
from dataflow_sim.results_of_costs import DramTraffic
from dataflow_sim.schedule.types import (
    Buffering,
    Group,
    LayerSchedule,
    LayerTiling,
    PlaneTiling,
    RowTiling,
    Schedule,
)
from dataflow_sim.simulate.ledger import count
from dataflow_sim.simulate.ledger_counts import Ledger
from dataflow_sim.simulate.occupancy import Occupancy, occupancy
from dataflow_sim.simulate.system_cache import NOTHING_HELD, Held, held
from dataflow_sim.traffic import Reason, TrafficKey

# A program of more steps is not lowered in production: about a minute and a gigabyte.
MAXIMUM_COUNTED_STEPS = 1 << 19


def _traffic(by_key: Mapping[TrafficKey, int]) -> DramTraffic:
    totals = dict.fromkeys(Reason, 0)
    for key, value in by_key.items():
        totals[key.reason] += value
    return DramTraffic(totals)


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of a run: of the ledger where the program was lowered, else the closed form's.

    Layers stand in the order in which they run.  `live_bytes` is the largest live set of local
    memory, which the closed form does not tell.  `cached` is what a system cache moves in the place
    of DRAM, of the tensors that it holds; `program` what was counted.
    """

    traffic: DramTraffic
    layers: tuple[LayerCounts, ...]
    peak_bytes: int
    accumulator_peak_bytes: int
    counted: bool
    live_bytes: int | None = None
    buffers: tuple[BufferStay, ...] = ()
    cached: DramTraffic | None = None
    held: Held = NOTHING_HELD
    program: Program | None = None


Bits = Mapping[TrafficKey, int]


def _bytes(layers: Iterable[Bits], byte_bits: int) -> dict[TrafficKey, int]:
    """Bytes by tensor and reason, each rounded up once."""
    totals: Counter[TrafficKey] = Counter()
    for bits in layers:
        totals.update(bits)
    return {key: -(-value // byte_bits) for key, value in totals.items()}


def _counts(
    graph: NetworkGraph,
    hardware: HardwareFile,
    schedule: Schedule,
    moved: Sequence[Bits],
    ledger: Ledger | None,
) -> tuple[tuple[LayerCounts, ...], DramTraffic, DramTraffic | None, Held]:
    """Of each layer as it runs its counts, what DRAM moves in all, and what a cache does.

    `moved` are the bits of each layer by tensor and reason, bursts as they are.
    """
    byte, cache = graph.byte_bits, hardware.system_cache
    from_flash = frozenset(
        name
        for name, tensor in graph.tensors.items()
        if hardware.flash is not None and tensor.kind is TensorKind.WEIGHT
    )
    found = NOTHING_HELD
    if cache is not None:
        found = held(moved, graph.tensors, cache.capacity_bytes, byte)
    commands = TrafficKey("", Reason.COMMAND_FETCH)
    layers, through, beside = [], [], []
    for place, (index, chosen) in enumerate(zip(schedule.order, schedule.layers, strict=True)):
        spared = {k: v for k, v in moved[place].items() if found.spares(graph.tensors, k)}
        rest = {key: value for key, value in moved[place].items() if key not in spared}
        if ledger is not None:
            left = {key.tensor for key in rest} | {key.tensor for key in moved[place]} - {
                key.tensor for key in spared
            }
            rest.update(
                (key, bits)
                for (number, key), bits in ledger.padding_bits.items()
                if number == index and key.tensor in left - from_flash
            )
        stream = hardware.command_stream
        told = stream.per_layer_bytes + stream.per_step_bytes * chosen.tiling.steps
        if told:
            rest[commands] = told * byte
        into = sum(
            bits
            for key, bits in rest.items()
            if key.tensor in found.tensors and key.reason is not Reason.BURST_PADDING
        )
        written, read = chosen.local_write_bits, chosen.local_bits - chosen.local_write_bits
        if ledger is not None:
            written, read = ledger.local_write_bits[index], ledger.local_read_bits[index]
        through.append(rest)
        beside.append(spared)
        layers.append(
            LayerCounts(
                macs=chosen.macs_executed,
                traffic=_traffic(_bytes([rest], byte)),
                local_read_bits=read * 8 // byte,
                local_write_bits=written * 8 // byte,
                transfers=ledger.transfers[index] if ledger is not None else 0,
                cache_bits=(sum(spared.values()) + into) * 8 // byte,
            )
        )
    cached = _traffic(_bytes(beside, byte)) if cache is not None else None
    return tuple(layers), _traffic(_bytes(through, byte)), cached, found


def _check_heights(schedule: Schedule, used: Occupancy) -> None:
    """Raise ProgramError unless the program takes what the schedule says of both memories."""
    for memory, found, said in (
        (Memory.LOCAL, used.peak_bytes, schedule.local_bytes),
        (Memory.ACCUMULATORS, used.accumulator_peak_bytes, schedule.accumulator_bytes),
    ):
        if found != said:
            raise ProgramError(
                f"memory '{memory}': the schedule takes {said:,} bytes, the program {found:,}"
            )


def _check(schedule: Schedule, ledger: Ledger) -> None:
    """Raise ProgramError unless the ledger counts what the closed form says."""
    counted, estimated = ledger.traffic_bytes(), schedule.traffic_bytes()
    for key in sorted({*counted, *estimated}, key=lambda k: (k.tensor, k.reason)):
        if counted.get(key, 0) != estimated.get(key, 0):
            raise ProgramError(
                f"'{key.tensor}' {key.reason}: the closed form says {estimated.get(key, 0):,} "
                f"bytes, the ledger counts {counted.get(key, 0):,}"
            )
    for group in schedule.groups:
        for index, chosen in zip(group.members, group.layers, strict=True):
            macs = (chosen.macs_executed, ledger.macs_executed[index])
            _check_same(f"layer '{chosen.layer}'", "MACs", *macs)
        for members, layers in _charged(group):
            into = sum(layer.local_write_bits for layer in layers)
            out = sum(layer.local_bits for layer in layers) - into
            written = sum(ledger.local_write_bits[index] for index in members)
            read = sum(ledger.local_read_bits[index] for index in members)
            where = " and ".join(f"'{layer.layer}'" for layer in layers)
            _check_same(where, "bits into local memory", into, written)
            _check_same(where, "bits out of local memory", out, read)


def _charged(group: Group) -> Iterator[tuple[tuple[int, ...], tuple[LayerSchedule, ...]]]:
    """The layers whose bits in and out of local memory closed form and ledger must agree on.

    Of a group that runs by tiles all together: of two layers that read one map the closed form does
    not say who reads what of it first, and is charged with its load.
    """
    if group.tile is not None:
        yield group.members, group.layers
    else:
        for index, layer in zip(group.members, group.layers, strict=True):
            yield (index,), (layer,)


def _check_same(where: str, what: str, said: int, counted: int) -> None:
    if said != counted:
        raise ProgramError(
            f"{where}: the closed form says {said:,} {what}, the ledger counts {counted:,}"
        )


def _overlap(graph: NetworkGraph, group: Group, doubled: Buffering) -> Overlap:
    """How far a group's transfers and steps run side by side."""
    before = 0
    for index, chosen in zip(group.members, group.layers, strict=True):
        reasons = (Reason.WEIGHT_FETCH, Reason.WEIGHT_REFETCH)
        fetched = sum(v for k, v in chosen.traffic_bits.items() if k.reason in reasons)
        before += fetched // _kernel_tiles(graph.layers[index], chosen.tiling)
    steps = sum(layer.tiling.steps for layer in group.layers)
    return Overlap(max(1, steps), doubled.inputs or doubled.weights, before // graph.byte_bits)


def _kernel_tiles(layer: Layer, tiling: LayerTiling | RowTiling | PlaneTiling) -> int:
    """Tiles of a layer's kernel of which the first comes before any step; of a merged group all
    that it brings: what stays comes first, what streams is waited for in every firing."""
    if not isinstance(tiling, LayerTiling) or layer.kind is not LayerKind.CONVOLUTION:
        return 1
    extents = (
        (layer.groups, tiling.group_tile),
        (layer.output_channels_per_group, tiling.output_channel_tile),
        (layer.input_channels_per_group, tiling.input_channel_tile),
    )
    return prod(-(-extent // tile) for extent, tile in extents)


def closed_form_prices(
    graph: NetworkGraph, hardware: HardwareFile, schedule: Schedule, counts: Counts
) -> list[LayerPrice]:
    """The price of each layer by the closed form, in the order in which they run."""
    own = iter(counts.layers)
    found: list[LayerPrice] = []
    for group in schedule.groups:
        layers = [graph.layers[index] for index in group.members]
        mine = list(islice(own, len(layers)))
        overlap = _overlap(graph, group, schedule.memory.doubled)
        found += price_group(hardware, graph, layers, mine, overlap)
    return found


def counts_of_estimate(graph: NetworkGraph, hardware: HardwareFile, schedule: Schedule) -> Counts:
    """The closed form's counts."""
    moved = [chosen.traffic_bits for chosen in schedule.layers]
    layers, traffic, cached, found = _counts(graph, hardware, schedule, moved, None)
    peaks = (schedule.local_bytes, schedule.accumulator_bytes)
    return Counts(traffic, layers, *peaks, False, cached=cached, held=found)


def counts_of(
    graph: NetworkGraph,
    hardware: HardwareFile,
    schedule: Schedule,
    progress: Callable[[str, int, int], None],
    program: Program | None = None,
) -> Counts:
    """Lower and count a schedule; the closed form alone where it takes too many steps.

    Its program may be known, at other addresses.  Raises ProgramError where the two differ, which
    is a defect.
    """
    if schedule.steps > MAXIMUM_COUNTED_STEPS:
        return counts_of_estimate(graph, hardware, schedule)
    if program is not None:  # whose heights are its own
        used = occupancy(program)
    else:
        program = lower(graph, schedule, partial(progress, "lowering"))
        used = occupancy(program)
        _check_heights(schedule, used)
    program = in_dram(program, hardware.dram)
    ledger = count(program, partial(progress, "counting"), hardware.dram.granule_bytes)
    _check(schedule, ledger)
    by_layer: dict[int, dict[TrafficKey, int]] = {index: {} for index in schedule.order}
    for (index, key), bits in ledger.traffic_bits.items():
        by_layer[index][key] = bits
    moved = [by_layer[index] for index in schedule.order]
    layers, traffic, cached, found = _counts(graph, hardware, schedule, moved, ledger)
    stays = tuple(
        BufferStay(stay.label, stay.start, stay.stop, stay.address, stay.size_bytes)
        for stay in used.residencies
        if stay.memory is Memory.LOCAL
    )
    peaks = (used.peak_bytes, used.accumulator_peak_bytes)
    return Counts(traffic, layers, *peaks, True, used.live_bytes, stays, cached, found, program)
