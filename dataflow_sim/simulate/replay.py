"""The replay: a program executed with numpy on real tensors, in exactly S bytes.

The local memory is a bytearray of the program's capacity; a buffer is a window on its
bytes at the address that the program gave it.  Loads and stores copy between it and a
DRAM of named tensors, and steps compute from it alone.  Fresh and freed bytes hold NaN, so that
reading what was never loaded poisons the result, and a step that lacks a row or column it
needs says which.  If the network's outputs come out right, every transfer that the ledger
counted was needed where it stands, at the address where it stands.

Numbers are float32, so the program must have been made for 32-bit weights, maps and
accumulators.  Per-channel constants travel as their channel number: what a step finds in
local memory tells it which channels' constants to apply.

Shares with the lowering nothing but the instructions' types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.layer import Layer, LayerKind, TensorKind, WeightRole
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.program.instructions import (
    Alloc,
    Compute,
    Free,
    Load,
    Program,
    Slice,
    Store,
    Stream,
)
from dataflow_sim.simulate.kernels import Rows, convolve, pixelwise, pointwise, pool, pool_rows

_BITS = 32
Memory = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Replayed:
    """What a replay leaves: the DRAM's tensors by name, and the DRAM bytes that moved."""

    tensors: Mapping[str, npt.NDArray[np.float32]]
    dram_bytes: int


def dram_image(
    graph: NetworkGraph, inputs: Mapping[str, npt.NDArray[np.float32]]
) -> dict[str, npt.NDArray[np.float32]]:
    """The DRAM before a replay: inputs and weights in place, everything else NaN.

    Raises ProgramError when the network does not carry the values of its weights.
    """
    image: dict[str, npt.NDArray[np.float32]] = {}
    for tensor in graph.tensors.values():
        if tensor.kind is TensorKind.INPUT:
            image[tensor.name] = np.asarray(inputs[tensor.name], np.float32).reshape(tensor.shape)
        elif tensor.role is WeightRole.VECTOR:
            numbers = np.arange(tensor.shape[1], dtype=np.float32)[:, None, None]
            image[tensor.name] = np.broadcast_to(numbers, tensor.shape).copy()
        else:
            image[tensor.name] = np.full(tensor.shape, np.nan, np.float32)
    for layer in graph.layers:
        if layer.weight is None or layer.weight_constant is None:
            continue
        value = graph.constants[layer.weight_constant].value
        if value is None:
            raise ProgramError(f"the weights '{layer.weight_constant}' have no values to replay")
        plain = value.T if layer.weight_transposed else value
        image[layer.weight] = plain.reshape(graph.tensors[layer.weight].shape).astype(np.float32)
    return image


@dataclass(slots=True)
class _Machine:
    program: Program
    constants: Mapping[str, npt.NDArray[np.generic]]
    dram: dict[str, npt.NDArray[np.float32]]
    memory: bytearray = field(init=False)
    buffers: dict[int, Memory] = field(default_factory=dict)
    moved_bytes: int = 0

    def __post_init__(self) -> None:
        self.memory = bytearray(self.program.capacity_bytes)

    def run(self) -> Replayed:
        for number, instruction in enumerate(self.program.instructions):
            try:
                self._execute(instruction)
            except (ProgramError, IndexError, ValueError) as error:
                kind = type(instruction).__name__
                raise ProgramError(f"instruction {number} ({kind}): {error}") from error
        return Replayed(self.dram, self.moved_bytes)

    def _execute(self, instruction: Alloc | Free | Load | Store | Compute | Stream) -> None:
        if isinstance(instruction, Load):
            source = self.dram[instruction.tensor][instruction.box.slices]
            self._window(instruction.buffer, instruction.origin, source.shape)[...] = source
            self.moved_bytes += source.nbytes
        elif isinstance(instruction, Store):
            target = self.dram[instruction.tensor][instruction.box.slices]
            target[...] = self._window(instruction.buffer, instruction.origin, target.shape)
            self.moved_bytes += target.nbytes
        elif isinstance(instruction, Compute):
            self._compute(instruction)
        elif isinstance(instruction, Alloc):
            if instruction.bits != _BITS:
                raise ProgramError(f"buffer of {instruction.bits} bits; a replay needs {_BITS}")
            count = int(np.prod(instruction.shape))
            flat = np.frombuffer(self.memory, np.float32, count, instruction.address)
            self.buffers[instruction.buffer] = flat.reshape(instruction.shape)
            flat[...] = np.nan
        elif isinstance(instruction, Free):
            self.buffers.pop(instruction.buffer)[...] = np.nan
        else:
            layer = self.program.layers[instruction.layer]
            raise ProgramError(f"layer '{layer.name}' ({layer.op}) cannot be replayed")

    def _window(
        self, buffer: int, origin: tuple[int, int, int, int], shape: tuple[int, ...]
    ) -> Memory:
        held = self.buffers[buffer]
        index = tuple(slice(o, o + extent) for o, extent in zip(origin, shape, strict=True))
        window = held[index]
        if window.shape != tuple(shape):
            raise ProgramError(f"{shape} at {origin} leaves buffer {buffer} of shape {held.shape}")
        return window

    def _read(self, part: Slice) -> Array:
        return self._window(part.buffer, part.origin, part.box.shape).astype(np.float64)

    def _write(self, part: Slice, value: Array) -> None:
        self._window(part.buffer, part.origin, part.box.shape)[...] = value

    def _channels(self, vectors: Slice | None, start: int, stop: int) -> npt.NDArray[np.int64]:
        """The channels whose constants a step applies: those found in local memory."""
        if vectors is None:
            return np.arange(start, stop)
        found = self._read(vectors)[0, :, 0, 0]
        if np.isnan(found).any():
            raise ProgramError("per-channel constants are read before they are loaded")
        return found.astype(np.int64)

    def _compute(self, step: Compute) -> None:
        layer = self.program.layers[step.layer]
        result = step.result.box
        wanted = ((result.row.start, result.row.stop), (result.column.start, result.column.stop))
        body = wanted
        if layer.pool is not None:
            body = (
                pool_rows(layer.pool, 0, layer.body_shape[2], wanted[0]),
                pool_rows(layer.pool, 1, layer.body_shape[3], wanted[1]),
            )
        source = step.input.box
        tile = self._read(step.input)
        channels = self._channels(step.input_vectors, source.channel.start, source.channel.stop)
        tile = pointwise(layer.pre, tile, self.constants, channels)
        value = self._body(layer, step, tile, body)
        if step.sums is not None and not step.first:
            value = value + self._read(step.sums)
        if not step.last:
            assert step.sums is not None
            self._write(step.sums, value)
            return
        value = self._finish(layer, step, value)
        if layer.pool is not None:
            size = (layer.body_shape[2], layer.body_shape[3])
            value = pool(layer.pool, value, (body[0][0], body[1][0]), size, wanted)
        self._write(step.result, value)

    def _body(self, layer: Layer, step: Compute, tile: Array, body: tuple[Rows, Rows]) -> Array:
        if layer.kind is LayerKind.PIXELWISE:
            return pixelwise(layer, tile)
        if step.kernel is None:
            source = step.input.box
            rows = slice(body[0][0] - source.row.start, body[0][1] - source.row.start)
            columns = slice(body[1][0] - source.column.start, body[1][1] - source.column.start)
            return tile[:, :, rows, columns]
        kernel = self._read(step.kernel)
        groups = max(1, step.result.box.channel.length // layer.output_channels_per_group)
        held = (step.input.box.row, step.input.box.column)
        return convolve(layer, tile, held, kernel, body, groups)

    def _finish(self, layer: Layer, step: Compute, value: Array) -> Array:
        """Bias, then everything that is folded behind the body."""
        box = step.result.box.channel
        channels = self._channels(step.output_vectors, box.start, box.stop)
        attributes = dict(layer.attributes)
        alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
        if layer.kind is LayerKind.CONVOLUTION:
            assert isinstance(alpha, int | float)
            assert isinstance(beta, int | float)
            value = value * alpha
            if layer.bias_constant is not None:
                bias = np.asarray(self.constants[layer.bias_constant], np.float64).ravel()
                value = value + beta * (bias if bias.size == 1 else bias[channels][:, None, None])
        operands = [self._read(part) for part in step.operands]
        return pointwise(layer.post, value, self.constants, channels, operands)


def replay(
    program: Program, graph: NetworkGraph, inputs: Mapping[str, npt.NDArray[np.float32]]
) -> Replayed:
    """Execute a program of the graph on the given inputs.

    Raises ProgramError naming the instruction that reads or writes what it must not.
    """
    values = {name: c.value for name, c in graph.constants.items() if c.value is not None}
    dram = dram_image(graph, inputs)
    for tensor in program.tensors.values():
        if tensor.kind is TensorKind.PARTIAL_SUM:
            dram[tensor.name] = np.full(tensor.shape, np.nan, np.float32)
    return _Machine(program, values, dram).run()
