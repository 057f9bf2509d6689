"""A body written out trip by trip: what Loop and Scan share.

    states     s0 ──► loop/0 ──► loop/1 ──► loop/2 ──► result
                        │          │          │
    rows                └──────────┴──────────┴── Concat ──► result

Weights are those of the body in every trip.  What a trip gives beside its states is a row of a
result; all rows are stacked along a new axis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from dataflow_sim.ingest.bodies.inlining import Holder, Inliner, Task
from dataflow_sim.ingest.bodies.writer import Array, Scope

_AXES_ARE_INPUTS = 13  # of Unsqueeze, from this version on
_MOST_INPUTS = 4_096  # of one Concat


def counted(number: int, what: str) -> str:
    """A number of things, as sentences write it."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


@dataclass(frozen=True, slots=True, eq=False)
class Unrolling:
    """A body to be written out trip by trip.

    `formals` names its inputs, `arguments` says what they are in a trip; of its outputs the
    first is the condition where `conditional`, the next are the `states`, and the others are
    stacked along `axes`, those in `backward` from the last trip to the first.  `stated` is the
    number of trips that the file gives, and `reason` where `trips` comes from.
    """

    held: Holder
    body: onnx.GraphProto
    formals: Sequence[str]
    arguments: Callable[[Scope, int, Sequence[str]], Sequence[str]]
    states: Sequence[str]
    axes: Sequence[int]
    backward: Sequence[bool]
    conditional: bool
    taken_apart: int
    trips: int
    stated: int | None
    reason: str


class Unroller(Inliner):
    """Writes bodies out trip by trip, and collects sentences for the user."""

    def __init__(self, model: onnx.ModelProto, label: str, known: Mapping[str, Array]) -> None:
        super().__init__(model, label, known)
        self._entered = 0
        self._said: dict[str, tuple[int, int]] = {}  # when it was first said, and how often
        self._axes: dict[int, str] = {}

    def turn(self) -> int:
        """A number that grows from one node that is entered to the next."""
        self._entered += 1
        return self._entered

    def say(self, held: Holder, text: str, turn: int) -> None:
        """Note what was done with a node; one sentence for all of whom the same is true."""
        text = f"{held.node.op_type} '{held.shared}': {text}"
        first, times = self._said.get(text, (turn, 0))
        self._said[text] = (min(first, turn), times + 1)

    def sentences(self) -> tuple[str, ...]:
        """What was noted, in the order in which the nodes were entered."""
        said = sorted(self._said.items(), key=lambda item: item[1])
        return tuple(
            text if times == 1 else f"{text} ({times:,} times)" for text, (_, times) in said
        )

    def unroll(self, plan: Unrolling) -> Task:
        """Write a body out as often as the plan says."""
        held, node = plan.held, plan.held.node
        turn = self.turn()
        self._check_room(plan)
        targets = self.reserve_results(held)
        leading = int(plan.conditional)
        names = [value.name for value in plan.body.output]
        states = list(plan.states)
        rows: list[list[str]] = [[] for _ in plan.axes]
        proceeds: bool | int | None = True
        early, trip = False, 0
        while trip < plan.trips and (proceeds is None or proceeds):
            inner = held.inside(str(trip), "", looped=True)
            arguments = plan.arguments(inner, trip, states)
            for name, meaning in zip(plan.formals, arguments, strict=True):
                self.bind(inner, name, meaning, node)
            self.share_initialisers(inner, plan.body, node)
            trip += 1
            if trip == plan.trips:
                for name, target in zip(names[leading:], targets[: len(states)], strict=False):
                    if target:
                        inner.wanted.setdefault(name, target)
            yield from self.walk(plan.body.node, inner)
            results = [self.read(inner, name, node) for name in names]
            states = results[leading : leading + len(states)]
            for stack, name in zip(rows, results[leading + len(states) :], strict=True):
                stack.append(name)
            if plan.conditional:
                proceeds = self.scalar(held.scope, results[0], node)
                early = early or (proceeds is None and trip < plan.trips)
            inner.leave()
        self._end(plan, targets, states, rows)
        self.bind_results(held, targets)
        ended = trip < plan.trips
        reason = f"its condition ends it after {counted(trip, 'trip')}" if ended else plan.reason
        if early:
            reason += "; that is the most there can be, since leaving early is not modelled"
        self.say(held, reason, turn)
        if plan.stated is not None and trip != plan.stated:
            self.changed.update(filter(None, targets))
        elif plan.stated is None:
            self.changed.update(filter(None, targets[len(states) :]))

    def _check_room(self, plan: Unrolling) -> None:
        """Refuse a loop that would become too many nodes before it does."""
        per_trip = sum(each.op_type != "Constant" for each in plan.body.node)
        per_trip += plan.taken_apart + len(plan.axes)
        nodes = max(1, per_trip) * plan.trips
        if nodes > self.room():
            held = plan.held
            raise self.too_large(
                f"node '{held.full}' ({held.node.op_type}), {counted(plan.trips, 'trip')} of "
                f"{counted(per_trip, 'node')},",
                counted(nodes, "node"),
                held.shared,
            )

    def _end(
        self,
        plan: Unrolling,
        targets: Sequence[str],
        states: Sequence[str],
        rows: Sequence[Sequence[str]],
    ) -> None:
        """Give the results of all trips the names of the node's outputs."""
        inner = plan.held.inside("", "")
        for state, target in zip(states, targets, strict=False):
            if target and state != target:
                self.add(inner, "Identity", [state], target)
        stacked = targets[len(states) :]
        results = plan.body.output[len(plan.body.output) - len(rows) :]
        for target, names, axis, back, result in zip(
            stacked, rows, plan.axes, plan.backward, results, strict=True
        ):
            if target:
                self._stack(inner, names[::-1] if back else names, target, axis, result)

    def _stack(
        self,
        inner: Scope,
        rows: Sequence[str],
        target: str,
        axis: int,
        result: onnx.ValueInfoProto,
    ) -> None:
        """Stack what the trips give along a new axis."""
        tensor = result.type.tensor_type
        if not rows:
            shape = [max(0, dim.dim_value) for dim in tensor.shape.dim]
            shape.insert(axis % (len(shape) + 1), 0)
            kind = tensor.elem_type or onnx.TensorProto.FLOAT
            empty = onnx.TensorProto(data_type=kind, dims=shape)
            self.add(inner, "Constant", [], target, value=empty)
            return
        stacked = []
        for row in rows:
            name = target if len(rows) == 1 else self.fresh_name(f"{row}.row")
            if self.version < _AXES_ARE_INPUTS:
                self.add(inner, "Unsqueeze", [row], name, axes=[axis])
            else:
                if axis not in self._axes:
                    self._axes[axis] = self.constant("axes", np.array([axis], np.int64))
                self.add(inner, "Unsqueeze", [row, self._axes[axis]], name)
            stacked.append(name)
        while len(stacked) > _MOST_INPUTS:
            pieces = [
                stacked[at : at + _MOST_INPUTS] for at in range(0, len(stacked), _MOST_INPUTS)
            ]
            stacked = [
                self.add(inner, "Concat", piece, self.fresh_name(f"{target}.part"), axis=axis)
                for piece in pieces
            ]
        if len(rows) > 1:
            self.add(inner, "Concat", stacked, target, axis=axis)
