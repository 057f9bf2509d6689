"""The work of a step, from its regions alone: what the units of an engine have to do for it.

    array     MACs, and the extents they come from: groups, channels in and out of a group, pixels
    vector    operations on elements: one for each element of a shortcut that is added, one for each
              tap of a pooling; without a kernel one for each element that comes in, and twice as
              many where statistics come first; two for each score of attention
    special   exponentials and their like: one for each score of attention, each element of a
              softmax, each element that a sigmoid, tanh or GELU is taken of, and the gates of a
              recurrent layer

Batch norms, biases and rectifiers in front of or behind a kernel are the array's own output stage:
they take no operation.  A step of a layer whose MACs are stated has them in proportion to the part
of its loops that it walks.

Steps of equal extents have equal work, which is found once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from fractions import Fraction

from dataflow_sim.graph.layer import POINT, Layer, View
from dataflow_sim.graph.sweep import Access, SweepKind
from dataflow_sim.program.instructions import Compute, Memory, Program, Slice, Stream
from dataflow_sim.simulate.accesses import reads_of, writes_of
from dataflow_sim.simulate.macs import body_of, macs_of

_SPECIAL = frozenset(
    ("Sigmoid", "Tanh", "Erf", "Exp", "Gelu", "Softplus", "Elu", "Selu", "Celu", "Mish", "Swish")
)
_GATES = {"LSTM": 5, "GRU": 3, "RNN": 1}  # sigmoids and tanhs for each element of the state
_SOFTMAX = frozenset(("Softmax", "LogSoftmax"))
BufferOf = Callable[[int], tuple[Memory, int]]


@dataclass(frozen=True, slots=True)
class Work:
    """What a step of a layer does; extents are those of the step.

    `rows` are those of the body, `pixels` all of its images, rows and columns.  `local_bits` pass
    in and out of local memory; 0 unless they are asked for.
    """

    layer: int
    macs: Fraction
    groups: int
    input_channels: int
    output_channels: int
    rows: int
    pixels: int
    vector_operations: int
    special_operations: int
    local_bits: int = 0


@dataclass(slots=True)
class Works:
    """All different works that steps have, numbered as they come; with or without local bits."""

    local: bool = False
    found: list[Work] = field(default_factory=list)
    _number: dict[Hashable, int] = field(default_factory=dict)

    def of(self, program: Program, step: Compute | Stream, buffer_of: BufferOf) -> int:
        """The number of a step's work."""
        local = _local_bits(step, buffer_of) if self.local else 0
        key = (local, *(_key(step) if isinstance(step, Compute) else _stream_key(step)))
        number = self._number.get(key)
        if number is None:
            layer = program.layers[step.layer]
            if isinstance(step, Compute):
                work = _work(layer, step, local)
            else:
                work = _stream_work(program, layer, step, local)
            number = self._number[key] = len(self.found)
            self.found.append(work)
        return number


def _key(step: Compute) -> tuple[Hashable, ...]:
    batch, channel, row, column = step.result.box if not step.more else step.made
    kernel = tuple((p.box.batch.length, p.box.channel.length) for p in step.kernel)
    sums = None if step.sums is None else step.sums.box[2:]
    what = (step.layer, kernel, sums, step.last, step.body_rows)
    return (*what, batch.length, channel.length, row, column)


def _stream_key(step: Stream) -> tuple[Hashable, ...]:
    inputs = tuple(tuple(part.box for part in parts) for parts in step.inputs)
    return (step.layer, inputs, tuple(len(parts) for parts in step.outputs))


def _local_bits(step: Compute | Stream, buffer_of: BufferOf) -> int:
    """Bits of operands read once and results written once, in local memory."""
    found = 0
    for part in (*reads_of(step), *writes_of(step)):
        memory, bits = buffer_of(part.buffer)
        found += part.box.elements * bits if memory is Memory.LOCAL else 0
    return found


def _special(layer: Layer) -> int:
    """Special operations for each element that a layer makes."""
    own = (layer.op in _SOFTMAX | _SPECIAL) + _GATES.get(layer.op, 0)
    return sum(step.op in _SPECIAL for step in layer.post.steps) + own


def _special_before(layer: Layer, step: Compute) -> int:
    """Special operations on what a step reads, before its kernel."""
    each = sum(step.op in _SPECIAL for step in layer.pre.steps)
    return each * sum(part.box.elements for part in step.input) if each else 0


def _passes(layer: Layer) -> int:
    """Operations for each element that comes into a layer without a kernel."""
    return 2 if layer.op in _SOFTMAX or layer.op.endswith("Normalization") else 1


def _work(layer: Layer, step: Compute, local_bits: int) -> Work:
    images, rows, columns = body_of(layer, step)
    made = step.made
    pixels = images * rows.length * columns.length
    channels = made.channel.length if step.sums is None else step.sums.box.channel.length
    depth = step.kernel[0].box.channel.length if step.kernel else 0
    groups = max(1, channels // max(1, layer.output_channels_per_group))
    taps_rows, taps_columns = layer.window.kernel
    vector = 0
    pools_only = layer.pool is not None and not layer.operands and layer.window == POINT
    if step.kernel == () and step.input and not pools_only:
        vector += pixels * channels * taps_rows * taps_columns * _passes(layer)
    if layer.pool is not None and step.body_rows is not None:
        vector += pixels * channels
    elif layer.pool is not None and step.last:
        window = layer.pool.window.kernel
        vector += made.elements * window[0] * window[1]
    if layer.input_pool is not None:
        window = layer.input_pool.window.kernel
        taken = sum(part.box.elements for part in step.input)
        stride = layer.input_pool.window.stride
        vector += taken * window[0] * window[1] // (stride[0] * stride[1])
    if step.last:
        vector += pixels * channels * len(step.operands)
    return Work(
        layer=step.layer,
        macs=Fraction(macs_of(layer, step)),
        groups=groups,
        input_channels=depth,
        output_channels=-(-channels // groups),
        rows=rows.length,
        pixels=pixels,
        vector_operations=vector,
        special_operations=(pixels * channels * _special(layer) if step.last else 0)
        + _special_before(layer, step),
        local_bits=local_bits,
    )


def _part(view: View, parts: tuple[Slice, ...], axis: int) -> Fraction:
    """The part of a view's extent along an axis that a step reads of it."""
    if not parts:
        return Fraction(0)
    low = min(part.box[axis].start for part in parts)
    high = max(part.box[axis].stop for part in parts)
    return Fraction(high - low, view.shape[axis])


def _walked(layer: Layer, step: Stream) -> Fraction:
    """The part of a sweep's loops that a step walks."""
    assert layer.sweep is not None
    sweep, found = layer.sweep, Fraction(1)
    views: list[tuple[Access, View, tuple[Slice, ...]]] = list(
        zip(sweep.views, layer.views, step.inputs, strict=True)
    )
    for loop in "BGP":
        for access, view, parts in views:
            axes = [cut.axis for cut in access if cut.loop == loop]
            if axes and parts:
                found *= _part(view, parts, axes[0])
                break
    columns: dict[int | None, Fraction] = {}
    for access, view, parts in views:
        for cut in access:
            if cut.loop == "N" and cut.part not in columns:
                size = sweep.extent("N", cut.part)
                columns[cut.part] = _part(view, parts, cut.axis) * size / sweep.columns
    return found * sum(columns.values(), Fraction(0)) if columns else found


def _stream_work(program: Program, layer: Layer, step: Stream, local_bits: int) -> Work:
    taken = sum(part.box.elements for parts in step.inputs for part in parts)
    made = sum(part.box.elements for part in step.writes)
    sweep, macs, special, scores = layer.sweep, Fraction(0), made * _special(layer), 0
    if layer.stated_macs and sweep is not None and sweep.kind is not SweepKind.TWICE:
        share = _walked(layer, step)
        macs = layer.stated_macs * share
        if sweep.kind is SweepKind.ATTENTION:
            scores = int(sweep.batch * sweep.groups * sweep.rows * sweep.columns * share)
            special += scores
    elif layer.stated_macs:
        everything = sum(program.tensors[name].elements for name in layer.outputs)
        macs = Fraction(layer.stated_macs * made, everything)
    vector = 0 if macs else taken * _passes(layer)
    if sweep is not None and sweep.kind is SweepKind.ATTENTION:
        vector += 2 * scores
    return Work(step.layer, macs, 1, 0, 0, 0, 0, vector, special, local_bits)
