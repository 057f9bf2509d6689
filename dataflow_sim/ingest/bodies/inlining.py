"""Graphs of nodes put in the place of the nodes: what If, Loop, Scan and functions share.

Nothing recurses: writing a graph out is a generator, which hands over another one for each
graph inside, and a list of them is the stack.  A graph that cannot be entered yet stays the
body of its node, with what it reads from outside under the new names.

onnx.inliner is not used for functions: of onnx 1.23 it forgets the defaults of attributes,
leaves calls where the function imports another version of the standard operators, and its
names do not say which call a node comes from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import onnx

from dataflow_sim.errors import NetworkError
from dataflow_sim.ingest.bodies.writer import Array, Scope, Site, Writer, merge, shortened
from dataflow_sim.ingest.file.checks import check_functions, function_key, members, standard_version
from dataflow_sim.ingest.file.nodes import STANDARD_DOMAINS, bodies, captured, is_standard, name_of

CONTROL = ("If", "Loop", "Scan")
# what stands in names for the graph of an attribute
STEPS = {"then_branch": "then", "else_branch": "else", "body": ""}
# where an instance of a node that iterations share keeps the name that they share
SHARED_NAME = "dataflow_sim.shared_name"

Task: TypeAlias = Generator["Task", None, None]


def is_control(node: onnx.NodeProto) -> bool:
    """Whether a node is an If, a Loop or a Scan of the standard."""
    return node.op_type in CONTROL and is_standard(node)


def shared_name(node: onnx.NodeProto, path: str) -> str:
    """A node's name without iterations; `path` is the prefix of the graph that it stands in."""
    for entry in node.metadata_props:
        if entry.key == SHARED_NAME:
            return str(entry.value)
    return shortened(path + name_of(node))


@dataclass(frozen=True, slots=True, eq=False)
class Holder:
    """A node that holds graphs or calls a function, where it stands, and the `number`th there.

    `full` is its name with the iterations that it stands in, `shared` without.
    """

    node: onnx.NodeProto
    scope: Scope
    number: int
    full: str
    shared: str

    def inside(self, step: str, key: str, looped: bool = False) -> Scope:
        """The scope of a graph of this node.

        `step` stands in its names, behind that of the node; `key` tells the graphs of the node
        apart, but not the iterations of one graph.
        """
        outer = self.scope
        path = shortened(f"{self.shared}/{key}/" if key else f"{self.shared}/")
        return Scope(
            outer.site.children.setdefault((self.number, key), Site(path)),
            shortened(f"{self.full}/{step}/" if step else f"{self.full}/"),
            outer.names,
            outer.sink,
            outer.origin or f"node '{self.full}' ({self.node.op_type})",
            outer.attributes,
            outer.looped or looped,
            outer.closed,
        )


class Inliner(Writer, ABC):
    """Writes a model out with its functions inlined; subclasses say which bodies are entered."""

    def __init__(self, model: onnx.ModelProto, label: str, known: Mapping[str, Array]) -> None:
        super().__init__(model, label, known)
        self.version = standard_version(model.opset_import)
        self.functions = {function_key(function): function for function in model.functions}
        self.left_closed = False
        self._accepted: set[tuple[str, str, str]] = set()
        self.types: dict[str, onnx.ValueInfoProto] = {}
        self.changed: set[str] = set()  # results whose extents are not those that the file states
        if model.functions:
            check_functions(model, label)

    @abstractmethod
    def enter(self, held: Holder) -> Task | None:
        """The task of entering an If, Loop or Scan; None if it stays closed for the time being."""

    def run(self) -> onnx.ModelProto:
        """Write the whole model out."""
        stack = [self.walk(self.model.graph.node, self.root)]
        while stack:
            inner = next(stack[-1], None)
            if inner is None:
                stack.pop()
            else:
                stack.append(inner)
        self._finish()
        return self.result

    def walk(self, nodes: Sequence[onnx.NodeProto], scope: Scope) -> Task:
        """Write all nodes of a graph out."""
        for number, node in enumerate(nodes):
            called = bool(self.functions) and not scope.closed
            function = self.functions.get(function_key(node)) if called else None
            if function is None and not bodies(node) and not is_control(node):
                self.write(scope, node)
                continue
            full = shortened(scope.prefix + name_of(node))
            held = Holder(node, scope, number, full, shared_name(node, scope.site.path))
            if function is not None:
                yield self._call(held, function)
            else:
                task = self.enter(held) if is_control(node) and not scope.closed else None
                yield self._close(held) if task is None else task

    def fill(
        self,
        held: Holder,
        inner: Scope,
        nodes: Sequence[onnx.NodeProto],
        results: Sequence[tuple[str, str]],
    ) -> Task:
        """Write a graph out; `results` pairs its own names with those that they get outside."""
        for name, target in results:
            if target:
                inner.wanted.setdefault(name, target)
        yield from self.walk(nodes, inner)
        for name, target in results:
            source = self.read(inner, name, held.node) if target else ""
            if target and not source:
                raise self.bad(held.node, held.scope, f"gives nothing for '{target}'")
            if source != target:  # an outer value, an input, a constant, or given twice
                self.add(inner, "Identity", [source], target)

    def reserve_results(self, held: Holder) -> list[str]:
        """The names that a node's outputs get, before what gives them is written."""
        return [self.reserve(held.scope, name) for name in held.node.output]

    def bind_results(self, held: Holder, targets: Iterable[str]) -> None:
        """Let the nodes behind a node read its outputs."""
        for name, target in zip(held.node.output, targets, strict=True):
            self.bind(held.scope, name, target, held.node)

    # ---------------------------------------------------------------- functions

    def _call(self, held: Holder, function: onnx.FunctionProto) -> Task:
        """Write a function out where it is called."""
        node = held.node
        missing = len(function.input) - len(node.input)
        if missing < 0 or len(node.output) > len(function.output):
            raise self.bad(
                node,
                held.scope,
                f"has {len(node.input)} inputs and {len(node.output)} outputs; the function has "
                f"{len(function.input)} and {len(function.output)}",
            )
        self._check_versions(function)
        inputs = [self.read(held.scope, name, node) for name in node.input] + [""] * missing
        given = self.given(node, held.scope)
        inner = held.inside("", "")
        inner.names = {}
        inner.attributes = {
            **{default.name: default for default in function.attribute_proto},
            **given,
        }
        targets = self.reserve_results(held)
        for name, meaning in zip(function.input, inputs, strict=True):
            self.bind(inner, name, meaning, node)
        yield from self.fill(
            held, inner, function.node, list(zip(function.output, targets, strict=False))
        )
        self.bind_results(held, targets)

    def _check_versions(self, function: onnx.FunctionProto) -> None:
        """Let the model import what a function imports, if its nodes mean the same there."""
        key = function_key(function)
        if key in self._accepted:
            return
        self._accepted.add(key)
        imported = {each.domain for each in self.result.opset_import}
        for each in function.opset_import:
            if each.domain not in STANDARD_DOMAINS and each.domain not in imported:
                self.result.opset_import.append(each)
        version = standard_version(function.opset_import)
        for node in members(function.node, self.label) if version != self.version else ():
            if is_standard(node) and not _legal(node, self.version):
                raise NetworkError(
                    f"{self.label}: the function '{function.name}' is written for version "
                    f"{version} of the standard operators, where '{node.op_type}' is another than "
                    f"in the network's version {self.version}; export both with one version"
                )

    # ---------------------------------------------------------------- graphs that stay closed

    def _close(self, held: Holder) -> Task:
        """Write a node with its graphs, which read what is outside by its new names."""
        node, scope = held.node, held.scope
        copy = self.head(scope, node)
        self.left_closed = True
        for name, attribute in self.given(node, scope).items():
            added = copy.attribute.add()
            merge(added, attribute, ("g", "graphs"))
            added.name = name
            if attribute.HasField("g"):
                step = STEPS.get(name, name)
                yield from self._close_graph(held, step, attribute.g, added.g)
            for position, graph in enumerate(attribute.graphs):
                yield from self._close_graph(held, f"{name}{position}", graph, added.graphs.add())
        self.give(scope, node, copy)
        if scope.closed:
            return
        if not is_control(node):
            self.note(copy, new=scope is not self.root)
            return
        self.fresh.update(copy.output)
        if shared_name(copy, "") != held.shared:
            entry = copy.metadata_props.add()
            entry.key, entry.value = SHARED_NAME, held.shared

    def _close_graph(
        self, held: Holder, key: str, source: onnx.GraphProto, made: onnx.GraphProto
    ) -> Task:
        inner = held.inside(key, key)
        inner.closed, inner.sink = True, made.node
        made.name = source.name
        merge(
            made,
            source,
            ("node", "initializer", "sparse_initializer", "input", "output", "value_info"),
        )
        for value in source.input:
            self.bind(inner, value.name, self.reserve(inner, value.name), held.node)
            _renamed(value, inner.names[value.name], made.input.add())
        self.share_initialisers(inner, source, held.node)
        inputs = {value.name for value in source.input}
        for tensor in source.initializer:  # the defaults of inputs
            if tensor.name in inputs:
                default = made.initializer.add()
                default.CopyFrom(tensor)
                default.name = inner.names[tensor.name]
        yield from self.walk(source.node, inner)
        for value in source.output:
            _renamed(value, self.read(inner, value.name, held.node), made.output.add())
        for value in source.value_info:
            if value.name in inner.local and not inner.looped:
                _renamed(value, inner.names[value.name], made.value_info.add())
        inner.leave()

    # ---------------------------------------------------------------- types

    def carry_types(self, inner: Scope, graph: onnx.GraphProto, targets: Sequence[str]) -> None:
        """Keep what a graph states of its values; where iterations may differ, nothing."""
        if inner.looped:
            return
        named = [
            (value, inner.names[value.name])
            for value in graph.value_info
            if value.name in inner.local
        ]
        for value, name in (*named, *zip(graph.output, targets, strict=True)):
            if name and name not in self.types and _extents(value) is not None:
                self.types[name] = _renamed(value, name, onnx.ValueInfoProto())

    def _finish(self) -> None:
        """State what the file says of values, but for what is no longer true."""
        graph = self.result.graph
        stated = {value.name: value for value in (*self.model.graph.value_info, *graph.output)}
        own = {
            name
            for name, value in self.types.items()
            if name in stated and _differ(_extents(value), _extents(stated[name]))
        }
        replaced = self._behind(own)
        stale = self._behind(self.changed) | self.changed | replaced
        for value in graph.output:
            if value.name in own:
                value.type.CopyFrom(self.types[value.name].type)
            elif value.name in replaced:  # not even the number of axes need be the same
                value.type.tensor_type.ClearField("shape")
            elif value.name in stale:
                for dim in value.type.tensor_type.shape.dim:
                    dim.Clear()
        results = {value.name for value in graph.output}
        for value in self.model.graph.value_info:
            if value.name not in stale and value.name not in own:
                graph.value_info.append(value)
        for name, value in self.types.items():
            if name not in stale and name not in results and (name in own or name not in stated):
                graph.value_info.append(value)
        if self.left_closed:
            self.result.functions.extend(self.model.functions)
        # before version 4 of the format every initialiser had to be an input as well
        self.result.ir_version = max(4, self.result.ir_version)

    def _behind(self, names: set[str]) -> set[str]:
        """Values that depend on some others."""
        found: set[str] = set()
        for node in self.result.graph.node if names else ():
            if any(name in names or name in found for name in (*node.input, *captured(node))):
                found.update(node.output)
        return found


def _legal(node: onnx.NodeProto, version: int) -> bool:
    """Whether a node could stand in a network of a version of the standard operators."""
    try:
        schema = onnx.defs.get_schema(node.op_type, version, "")
    except onnx.defs.SchemaError:
        return False
    return schema.min_input <= len(node.input) <= schema.max_input and all(
        attribute.name in schema.attributes for attribute in node.attribute
    )


def _renamed(
    value: onnx.ValueInfoProto, name: str, target: onnx.ValueInfoProto
) -> onnx.ValueInfoProto:
    target.CopyFrom(value)
    target.name = name
    return target


def _extents(value: onnx.ValueInfoProto) -> list[int | None] | None:
    """The extents that a type states, None where it leaves one or all of them open."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]


def _differ(one: list[int | None] | None, other: list[int | None] | None) -> bool:
    """Whether two types contradict each other."""
    if one is None or other is None:
        return False
    return len(one) != len(other) or any(
        a != b and a is not None and b is not None for a, b in zip(one, other, strict=True)
    )
