"""From a schedule to a program: every tile, every transfer, every address.

Layers run one after the other; each one's buffers lie from address zero upwards and are
freed at its end, so that a layer's height in local memory is the sum of its buffers.
"""

from __future__ import annotations

from collections.abc import Callable

from dataflow_sim.errors import ProgramError
from dataflow_sim.garbage import without_collection
from dataflow_sim.graph.layer import Layer, LayerKind, Tensor, TensorKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.region import Box, Span
from dataflow_sim.program.emitter import ORIGIN, Emitter
from dataflow_sim.program.instructions import Load, Program, Slice, Store, Stream
from dataflow_sim.program.loop_nest import LoopNest, sums_tensor_name, tiles
from dataflow_sim.schedule.problem import layer_problem, longest_axis, stream_tensors
from dataflow_sim.schedule.types import PartialSums, Schedule


def _lower_stream(
    graph: NetworkGraph, index: int, layer: Layer, steps: int, emitter: Emitter, double: bool
) -> None:
    """An opaque layer: every tensor is cut along its longest axis and streamed through."""
    cuts: dict[str, list[Box]] = {}
    slots = {}
    for name in stream_tensors(graph, layer):
        tensor = graph.tensors[name]
        axis = longest_axis(tensor.shape)
        spans = [Span(0, extent) for extent in tensor.shape]
        boxes = []
        for span in tiles(tensor.shape[axis], -(-tensor.shape[axis] // steps)):
            spans[axis] = span
            boxes.append(Box(*spans))
        cuts[name] = boxes
        count = 2 if double and steps > 1 else 1
        slots[name] = emitter.alloc(f"{layer.name}: {name}", boxes[0].shape, tensor.bits, count)
    for step in range(steps):
        here = {name: boxes[step] for name, boxes in cuts.items() if step < len(boxes)}
        parts = {name: Slice(slots[name].advance(), ORIGIN, box) for name, box in here.items()}
        writes = {name: part for name, part in parts.items() if name in layer.outputs}
        reads = {name: part for name, part in parts.items() if name not in writes}
        for name, part in reads.items():
            emitter.instructions.append(Load(name, part.box, part.buffer, ORIGIN))
        emitter.instructions.append(Stream(index, tuple(reads.values()), tuple(writes.values())))
        for name, part in writes.items():
            emitter.instructions.append(Store(name, part.box, part.buffer, ORIGIN))


Progress = Callable[[int, int], None]


def _no_progress(done: int, total: int) -> None:
    """Say nothing."""


def lower(graph: NetworkGraph, schedule: Schedule, progress: Progress = _no_progress) -> Program:
    """Lower a schedule of the graph to a program; `progress` hears of steps done and in all.

    Raises ProgramError when a layer's buffers do not add up to what the schedule says.
    """
    with without_collection():
        return _lower(graph, schedule, progress)


def _lower(graph: NetworkGraph, schedule: Schedule, progress: Progress) -> Program:
    done, total = 0, sum(chosen.tiling.steps for chosen in schedule.layers)
    emitter = Emitter()
    tensors = dict(graph.tensors)
    memory = schedule.memory
    for index, (layer, chosen) in enumerate(zip(graph.layers, schedule.layers, strict=True)):
        tiling = chosen.tiling
        if layer.kind is LayerKind.OPAQUE:
            _lower_stream(graph, index, layer, tiling.steps, emitter, memory.double_buffer)
        else:
            problem = layer_problem(graph, layer, memory)
            LoopNest(index, layer, problem, tiling, emitter).lower()
        if tiling.partial_sums is PartialSums.SPILLED:
            name = sums_tensor_name(layer)
            bits = memory.accumulator_bits
            tensors[name] = Tensor(name, TensorKind.PARTIAL_SUM, layer.body_shape, bits)
        if emitter.height != chosen.local_bytes:
            raise ProgramError(
                f"layer '{layer.name}': its buffers take {emitter.height:,} bytes, the schedule "
                f"says {chosen.local_bytes:,}"
            )
        emitter.free_all()
        done += tiling.steps
        progress(done, total)
    return Program(
        name=graph.name,
        capacity_bytes=memory.capacity_bytes,
        layers=graph.layers,
        tensors=tensors,
        instructions=tuple(emitter.instructions),
    )
