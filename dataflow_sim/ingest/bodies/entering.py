"""Bodies of If, Loop and Scan as ordinary nodes of the main graph.

    If     one branch takes the place of the node
    Loop   the body takes it, once per trip
    Scan   the same, on one row of its inputs per trip (`ingest.bodies.unrolling`)

What depends on data is assumed, and said: the `then` branch, one trip, no early exit.  What a
constant decides is never assumed: a node whose condition or trip count reads what no one has
folded yet stays closed, until its caller has folded the rest and asks again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from dataflow_sim.ingest.bodies.choices import BodyChoices, check_choices
from dataflow_sim.ingest.bodies.inlining import Holder, Task, is_control
from dataflow_sim.ingest.bodies.unrolling import Unroller, Unrolling, counted
from dataflow_sim.ingest.bodies.writer import Array, Scope
from dataflow_sim.ingest.file.checks import function_key
from dataflow_sim.ingest.file.nodes import MAXIMUM_RANK, bodies

__all__ = ["BodyChoices", "bodies_left", "enter_bodies"]

# from here up a trip count says only that the condition alone ends the loop
_ENDLESS = 2**31 - 1
_FIRST_SCAN_WITHOUT_BATCH = 9
_CHECKED = "dataflow_sim.choices"
_VALUES_SHOWN = 8

Shapes = Mapping[str, tuple[int, ...]]


def bodies_left(model: onnx.ModelProto) -> bool:
    """Whether the main graph has an If, Loop or Scan, or calls a function of the model."""
    functions = {function_key(function) for function in model.functions}
    return any(is_control(node) or function_key(node) in functions for node in model.graph.node)


def enter_bodies(
    model: onnx.ModelProto,
    label: str,
    choices: BodyChoices,
    known: Mapping[str, Array],
    shapes: Shapes,
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """A new model with functions inlined and bodies entered, and a sentence per node entered.

    `known` and `shapes` are all values and shapes that folding the main graph has found.  One
    call enters whatever they decide, at any depth, and at least the first node there is; call
    again, with what folding the result finds, while `bodies_left`.  Weights are not read.
    Raises NetworkError for malformed graphs, for choices that name no node, and for loops
    that become too many nodes.
    """
    if not any(entry.key == _CHECKED for entry in model.metadata_props):
        check_choices(model, label, choices)
    entering = _Entering(model, label, choices, known, shapes)
    result = entering.run()
    if not any(entry.key == _CHECKED for entry in result.metadata_props):
        entry = result.metadata_props.add()
        entry.key, entry.value = _CHECKED, "checked"
    return result, entering.sentences()


class _Entering(Unroller):
    """Enters If, Loop and Scan by choices, known values and shapes."""

    def __init__(
        self,
        model: onnx.ModelProto,
        label: str,
        choices: BodyChoices,
        known: Mapping[str, Array],
        shapes: Shapes,
    ) -> None:
        super().__init__(model, label, known)
        self.choices = choices
        self.shapes = shapes
        self._true = ""

    def enter(self, held: Holder) -> Task | None:
        """The task of entering a node; None while a constant may still decide it."""
        return {"If": self._if, "Loop": self._loop, "Scan": self._scan}[held.node.op_type](held)

    def _graph(self, held: Holder, name: str) -> onnx.GraphProto:
        attribute = self.given(held.node, held.scope).get(name)
        if attribute is None or not attribute.HasField("g"):
            raise self.bad(held.node, held.scope, f"has no graph '{name}'")
        return attribute.g

    # ---------------------------------------------------------------- If

    def _if(self, held: Holder) -> Task | None:
        node, scope = held.node, held.scope
        graphs = {key: self._graph(held, f"{key}_branch") for key in ("then", "else")}
        for key, graph in graphs.items():
            given = {tensor.name for tensor in graph.initializer}
            inputs = [value.name for value in graph.input if value.name not in given]
            if len(graph.output) != len(node.output):
                results = counted(len(node.output), "output")
                raise self.bad(
                    node, scope, f"has {results}, its {key} branch gives {len(graph.output)}"
                )
            if inputs:
                raise self.bad(
                    node, scope, f"gives nothing to '{inputs[0]}', an input of its {key} branch"
                )
        condition = self.read(scope, node.input[0], node) if node.input else ""
        if not condition:
            raise self.bad(node, scope, "has no condition")
        value = self.scalar(scope, condition, node)
        if value is None and self.undecided(condition):
            return None
        chosen = self.choices.branch(held)
        key = chosen or "then"
        if value is not None:
            key = "then" if value else "else"
        other = "else" if key == "then" else "then"
        nodes = counted(len(graphs[key].node), "node")
        rest = f"the {other} branch has {len(graphs[other].node)}"
        option = f"--branch {held.shared}="
        if value is not None:
            ignored = f"; {option}{chosen} cannot change it" if chosen not in (None, key) else ""
            text = f"its condition is constant: the {key} branch{ignored}"
        elif chosen:
            text = f"the {key} branch ({nodes}) is taken, as {option}{key} says; {rest}"
        else:
            text = (
                f"the {key} branch ({nodes}) is assumed, {rest}; take the other with "
                f"{option}{other}"
            )
        self.say(held, text, self.turn())
        return self._branch(held, graphs[key], key)

    def _branch(self, held: Holder, graph: onnx.GraphProto, key: str) -> Task:
        inner = held.inside(key, key)
        targets = self.reserve_results(held)
        self.share_initialisers(inner, graph, held.node)
        names = [value.name for value in graph.output]
        yield from self.fill(held, inner, graph.node, list(zip(names, targets, strict=True)))
        self.carry_types(inner, graph, targets)
        inner.leave()
        self.bind_results(held, targets)

    # ---------------------------------------------------------------- Loop and Scan

    def _formals(self, held: Holder, body: onnx.GraphProto, states: int, others: int) -> list[str]:
        """The names of a body's inputs; raises where numbers of inputs or outputs differ."""
        node = held.node
        given = {tensor.name for tensor in body.initializer}
        inputs = [value.name for value in body.input]
        if len(inputs) != states + others:
            inputs = [name for name in inputs if name not in given]
        leading = int(node.op_type == "Loop")
        results = len(body.output) - leading
        if (
            len(inputs) != states + others
            or results < states
            or results != len(node.output)
            or states < 0
        ):
            raise self.bad(
                node,
                held.scope,
                f"has {counted(len(node.input), 'input')} and "
                f"{counted(len(node.output), 'output')}, which do not fit the "
                f"{counted(len(inputs), 'input')} and {counted(len(body.output), 'output')} of "
                "its body",
            )
        return inputs

    def _initial(self, held: Holder, names: Sequence[str]) -> list[str]:
        """What the states and rows of a loop are at first."""
        if not all(names):
            raise self.bad(held.node, held.scope, "leaves out an input that its body reads")
        return [self.read(held.scope, name, held.node) for name in names]

    def _loop(self, held: Holder) -> Task | None:
        node, scope = held.node, held.scope
        body = self._graph(held, "body")
        count = len(node.input) - 2
        formals = self._formals(held, body, count, 2)
        limit, condition = (self.read(scope, name, node) for name in node.input[:2])
        runs = self.scalar(scope, condition, node) if condition else True
        stated = self.scalar(scope, limit, node) if limit else None
        chosen = self.choices.trips_of(held)
        if runs is None and self.undecided(condition):
            return None
        ends = runs is not None and not runs
        if not ends and chosen is None and stated is None and limit and self.undecided(limit):
            return None
        stated = None if stated is None or stated >= _ENDLESS else max(0, int(stated))
        trips, reason = self._trips(held, chosen, stated, "as the file states")
        if ends:
            trips, reason = 0, "its condition is false from the start: no trip"
        read = {name for each in body.node for name in each.input}
        read.update(value.name for value in body.output)
        everything = any(bodies(each) for each in body.node)

        def arguments(inner: Scope, trip: int, states: Sequence[str]) -> Sequence[str]:
            number = proceed = ""
            if everything or formals[0] in read:
                number = self._number(inner, body, formals[0], trip)
            if everything or formals[1] in read:
                self._true = self._true or self.constant("true", np.array(True))
                proceed = self._true
            return number, proceed, *states

        axes = [0] * (len(body.output) - 1 - count)
        return self.unroll(
            Unrolling(
                held=held,
                body=body,
                formals=formals,
                arguments=arguments,
                states=self._initial(held, node.input[2:]),
                axes=axes,
                backward=[False] * len(axes),
                conditional=True,
                taken_apart=0,
                trips=trips,
                stated=stated,
                reason=reason,
            )
        )

    def _number(self, inner: Scope, body: onnx.GraphProto, name: str, trip: int) -> str:
        """The constant that is the number of a trip; some files make it a list of one."""
        formal = next(value for value in body.input if value.name == name)
        rank = min(1, len(formal.type.tensor_type.shape.dim))
        return self.constant(inner.prefix + name, np.full((1,) * rank, trip, np.int64))

    def _trips(
        self, held: Holder, chosen: int | None, stated: int | None, source: str
    ) -> tuple[int, str]:
        """How many trips are made, and why, as a sentence says it."""
        option = f"--trips {held.shared}="
        if chosen is not None:
            return chosen, f"{counted(chosen, 'trip')}, as {option}{chosen} says"
        if stated is not None:
            return stated, f"{counted(stated, 'trip')}, {source}"
        return 1, f"its trips depend on data: 1 trip is assumed; give their number with {option}N"

    def _scan(self, held: Holder) -> Task | None:
        node, scope = held.node, held.scope
        if self.version < _FIRST_SCAN_WITHOUT_BATCH:
            raise self.bad(
                node,
                scope,
                f"is that of version {self.version} of the standard operators, which scans "
                f"batches; export for version {_FIRST_SCAN_WITHOUT_BATCH} or newer",
            )
        body = self._graph(held, "body")
        given = self.given(node, scope)
        rows = int(given["num_scan_inputs"].i) if "num_scan_inputs" in given else 0
        count = len(node.input) - rows
        if rows < 1:
            raise self.bad(node, scope, f"has num_scan_inputs={rows}; it is at least 1")
        formals = self._formals(held, body, count, rows)
        stacked = len(body.output) - count
        axes = self._listed(held, "scan_input_axes", rows)
        backward = self._listed(held, "scan_input_directions", rows)
        scanned = self._initial(held, node.input[count:])
        extent, later = self._extent(held, scanned, axes)
        chosen = self.choices.trips_of(held)
        if extent is None and later and chosen is None:
            return None
        trips, reason = self._trips(held, chosen, extent, "the extent of what it scans")
        if extent is not None and trips > extent:
            raise self.bad(
                node, scope, f"scans {extent:,} rows; --trips {held.shared}={trips} is more"
            )

        sources = list(zip(scanned, formals[count:], axes, backward, strict=True))

        def arguments(inner: Scope, trip: int, states: Sequence[str]) -> Sequence[str]:
            return *states, *self._rows(inner, trip, sources, extent or 0)

        return self.unroll(
            Unrolling(
                held=held,
                body=body,
                formals=formals,
                arguments=arguments,
                states=self._initial(held, node.input[:count]),
                axes=self._listed(held, "scan_output_axes", stacked),
                backward=[bool(b) for b in self._listed(held, "scan_output_directions", stacked)],
                conditional=False,
                taken_apart=rows,
                trips=trips,
                stated=extent,
                reason=reason,
            )
        )

    def _rows(
        self, inner: Scope, trip: int, sources: Sequence[tuple[str, str, int, int]], extent: int
    ) -> list[str]:
        """The rows that a trip reads; of an unknown extent the last one is counted from behind."""
        indices: dict[int, str] = {}
        rows = []
        for name, formal, axis, backward in sources:
            place = extent - 1 - trip if backward else trip
            if place not in indices:
                indices[place] = self.constant(f"{inner.prefix}place", np.array(place, np.int64))
            target = self.fresh_name(inner.prefix + formal)
            rows.append(self.add(inner, "Gather", [name, indices[place]], target, axis=axis))
        return rows

    def _listed(self, held: Holder, name: str, length: int) -> list[int]:
        """An attribute with one integer per scanned value; zeros where it is left out."""
        attribute = self.given(held.node, held.scope).get(name)
        values = [int(value) for value in attribute.ints] if attribute is not None else []
        values = values or [0] * length
        least, most = (0, 1) if name.endswith("directions") else (-MAXIMUM_RANK, MAXIMUM_RANK)
        if len(values) != length or not all(least <= value <= most for value in values):
            raise self.bad(
                held.node,
                held.scope,
                f"has {name}={values[:_VALUES_SHOWN]}; it needs {length} integers from {least} to "
                f"{most}",
            )
        return values

    def _extent(
        self, held: Holder, scanned: Sequence[str], axes: Sequence[int]
    ) -> tuple[int | None, bool]:
        """How many rows a Scan has; None where no shape says so, and whether one may yet."""
        extents: dict[int, str] = {}
        later = False
        for name, axis in zip(scanned, axes, strict=True):
            shape = self.shapes.get(name)
            if shape is None and name in self.tensors:
                shape = tuple(self.tensors[name].dims)
            if shape is None:
                later = later or name in self.fresh
                continue
            if not -len(shape) <= axis < len(shape):
                raise self.bad(
                    held.node, held.scope, f"scans axis {axis} of '{name}', whose shape is {shape}"
                )
            extents.setdefault(shape[axis], name)
        if len(extents) > 1:
            (one, first), (two, second) = list(extents.items())[:2]
            raise self.bad(
                held.node,
                held.scope,
                f"scans {one:,} rows of '{first}' and {two:,} of '{second}'; they must be as many",
            )
        return next(iter(extents), None), later
