"""What is to be run: a network as the machine runs it, options, and the memory there is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dataflow_sim.errors import InputError
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.part import part_of
from dataflow_sim.graph.passes import Precision, assign_precision, drop_vectors
from dataflow_sim.graph.pooling import Pooler, place_pooling
from dataflow_sim.hardware import Hardware
from dataflow_sim.ingest import (
    FileWeights,
    ReadRequest,
    graph_from_model,
    load_model,
    read_network,
)
from dataflow_sim.ingest.file.annotate import external_locations
from dataflow_sim.networks import build_network, is_built_in
from dataflow_sim.schedule.demands import NOTHING, Demand, GroupWords, demand_of
from dataflow_sim.schedule.types import Buffering, MemoryOptions
from dataflow_sim.storage import stored
from dataflow_sim.whatif import NOTHING as NO_WHAT_IFS
from dataflow_sim.whatif import Plan

_LONGEST_NAME = 250  # file systems take 255 bytes for a name


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a user may choose beside network and hardware.

    Widths of None leave the hardware's precision, and what a quantised file states, alone.
    `frames` run one after the other; weights may stay from one to the next.  `objective` is what
    the schedule is the best in: `dram` bytes, `energy`, `latency` or `energy-delay`.  `layers` is
    the part of the network that runs, `FIRST:LAST` by name or number, None for all of it;
    `group` is what is demanded of a merged group.  With `exact_seconds` an exact search follows
    the fast one and works for about so long.  Of `in_flight` frames each may begin before the one
    before it has ended.
    """

    policy: str = "layerwise"
    weight_bits: int | None = None
    activation_bits: int | None = None
    frames_per_second: float | None = None
    frames: int = 1
    objective: str = "dram"
    layers: str | None = None
    group: GroupWords = NOTHING
    exact_seconds: float | None = None
    in_flight: int = 1


def named_file(name_or_path: str) -> Path | None:
    """The path of a network's file, None of a built-in name.  Raises InputError for neither."""
    path = Path(name_or_path)
    if not 0 < len(name_or_path.strip()) <= _LONGEST_NAME:
        raise InputError(f"'{name_or_path[:60]}' is no network; give an .onnx file or a name")
    if is_built_in(name_or_path) or not (path.suffix or len(path.parts) > 1 or path.exists()):
        return None
    return path


def external_files(path: Path) -> tuple[Path, ...]:
    """The files of weights that a network's file refers to.  Raises NetworkError."""
    return tuple(path.parent / each for each in external_locations(load_model(path)))


def load_network(
    name_or_path: str, request: ReadRequest | None = None, what_ifs: Plan = NO_WHAT_IFS
) -> NetworkGraph:
    """Read an ONNX file, or build a network by name, and change it as asked.

    Raises NetworkError, and InputError where a what-if finds nothing to change.
    """
    path = named_file(name_or_path)
    request = what_ifs.request(request or ReadRequest())
    if path is None:
        graph = graph_from_model(build_network(name_or_path), name_or_path, request)
        return what_ifs.apply(graph)
    return what_ifs.apply(read_network(path, request), FileWeights(path).measure)


def prepare(graph: NetworkGraph, hardware: Hardware, options: RunOptions) -> NetworkGraph:
    """The network as the hardware runs it: poolings where they are done, of these layers the part
    asked for, widths assigned, biases left out where uncounted."""
    for name, bits in (("weight", options.weight_bits), ("activation", options.activation_bits)):
        if bits is not None and not 1 <= bits <= 64:
            raise InputError(f"--{name}-bits is {bits}; a width is 1 to 64 bits")
    precision = Precision(
        weight_bits=options.weight_bits or hardware.precision.weights,
        activation_bits=options.activation_bits or hardware.precision.activations,
        accumulator_bits=hardware.compute.accumulator_bits,
        force_weights=options.weight_bits is not None,
        force_activations=options.activation_bits is not None,
        local_weight_bits=hardware.precision.local_weights,
    )
    graph = place_pooling(graph, Pooler(hardware.pooling))
    if options.layers is not None:
        graph = part_of(graph, options.layers)
    graph = assign_precision(graph, precision)
    return stored(graph if hardware.count_biases else drop_vectors(graph), hardware)


def memory_options(hardware: Hardware, byte_bits: int = 8) -> MemoryOptions:
    """What the scheduler needs to know of the hardware; `byte_bits` as the network counts them."""
    return MemoryOptions(
        capacity_bytes=hardware.local_memory.capacity_bytes,
        doubled=Buffering(**hardware.local_memory.double_buffer.model_dump()),
        accumulator_bits=hardware.compute.accumulator_bits * byte_bits // 8,
        accumulator_capacity_bytes=hardware.compute.accumulator_memory_bytes,
        alignment_bytes=hardware.local_memory.alignment_bytes,
        byte_bits=byte_bits,
    )


def demanded(graph: NetworkGraph, memory: MemoryOptions, options: RunOptions) -> Demand | None:
    """What is demanded of a merged group, if anything is.  Raises InputError."""
    if options.group.group is not None and options.policy != "merged":
        raise InputError(f"--force-group goes with --policy merged, not with '{options.policy}'")
    return demand_of(graph, memory, options.group)
