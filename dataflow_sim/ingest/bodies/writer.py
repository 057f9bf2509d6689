"""A model written anew: its names, its constants, its nodes, and what is known of its values.

The graphs of the old model are read in the order of execution.  What a name of the file means
at that place stands in one table, which a scope changes when a graph begins and restores when
it ends: a look-up costs the same at any depth.  Values and nodes of inner graphs are named
after the node that held them, `cond/then/conv` or `loop/3/add`.  Their constants move to the
main graph, once for all iterations, so that their names leave those out: `loop/weights`.

A value is a constant, varies with the inputs, or is undecided: behind nodes that no one has
folded yet it may still turn out to be a constant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import Message
from onnx import numpy_helper

from dataflow_sim.errors import NetworkError
from dataflow_sim.ingest.file.nodes import is_standard, name_of

MAXIMUM_UNROLLED_NODES = 50_000
# all that nodes out of inner graphs may hold; a node of an exporter has below 1 KB
_MAXIMUM_BYTES = 2**28
_LONGEST_NAME = 240
_LISTED: Mapping[str, type[np.generic]] = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
    "value_string": np.object_,
    "value_strings": np.object_,
}

Array = npt.NDArray[Any]
Tensor = onnx.TensorProto | onnx.SparseTensorProto


def shortened(name: str) -> str:
    """A name without its middle, where graphs are nested so deep that it would grow too long."""
    if len(name) <= _LONGEST_NAME:
        return name
    kept = _LONGEST_NAME // 2 - 1
    return f"{name[:kept]}..{name[-kept:]}"


def merge(target: Message, source: Message, left_out: Iterable[str]) -> None:
    """Copy all fields of a message but some; those with graphs are for the caller to walk."""
    for descriptor, value in source.ListFields():
        if descriptor.name in left_out:
            continue
        if isinstance(value, bool | int | float | str | bytes):
            setattr(target, descriptor.name, value)
        else:
            getattr(target, descriptor.name).MergeFrom(value)


@dataclass(slots=True, eq=False)
class Site:
    """A graph of the file where it stands: one for all iterations of the loops around it.

    `path` is the prefix of its constants; `children` are the graphs inside, by the position of
    the node that holds them and what tells them apart there.
    """

    path: str = ""
    children: dict[tuple[int, str], Site] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Scope:
    """A graph that is being written out.

    `names` says what names of the file mean here; `local` holds those that this graph gives;
    `wanted` are results that get the names of the outer node's outputs; `attributes` are those
    of the function around it.  `looped` says that it may be written more than once, `closed`
    that it stays the graph of a node, in `sink`; `origin` is the outermost node that held it.
    """

    site: Site
    prefix: str
    names: dict[str, str]
    sink: Any
    origin: str = ""
    attributes: Mapping[str, onnx.AttributeProto] | None = None
    looped: bool = False
    closed: bool = False
    wanted: dict[str, str] = field(default_factory=dict)
    local: set[str] = field(default_factory=set)
    undo: list[tuple[str, str | None]] = field(default_factory=list)

    def leave(self) -> None:
        """Give the names of this graph back what they mean outside."""
        for name, former in reversed(self.undo):
            if former is None:
                del self.names[name]
            else:
                self.names[name] = former


def _is_external(tensor: Tensor) -> bool:
    return (
        isinstance(tensor, onnx.TensorProto) and tensor.data_location == onnx.TensorProto.EXTERNAL
    )


def _constant_of(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """The tensor of a Constant node; None for a sparse one, and for other nodes."""
    if node.op_type != "Constant" or not is_standard(node) or len(node.attribute) != 1:
        return None
    attribute = node.attribute[0]
    if attribute.name == "value" and attribute.HasField("t"):
        tensor: onnx.TensorProto = attribute.t
        return tensor
    if attribute.name not in _LISTED or attribute.ref_attr_name:
        return None
    try:
        value = onnx.helper.get_attribute_value(attribute)
        return numpy_helper.from_array(np.array(value, _LISTED[attribute.name]))
    except (ValueError, TypeError, OverflowError):
        return None  # of another type than its name says


class Writer:
    """The new model.  `known` are values that are folded already, by name."""

    def __init__(self, model: onnx.ModelProto, label: str, known: Mapping[str, Array]) -> None:
        self.model = model
        self.label = label
        self.known = known
        graph = model.graph
        self.result = onnx.ModelProto()
        merge(self.result, model, ("graph", "functions", "training_info"))
        merge(self.result.graph, graph, ("node", "value_info"))
        self.tensors = {tensor.name: tensor for tensor in graph.initializer}
        given = {*self.tensors, *(tensor.values.name for tensor in graph.sparse_initializer)}
        # weights that the file leaves elsewhere are never folded, as if they were inputs
        self.varying = {
            *(value.name for value in graph.input if value.name not in given),
            *(name for name, tensor in self.tensors.items() if _is_external(tensor)),
        }
        self.varying.difference_update(known)
        given.update(value.name for value in graph.input)
        self.fresh: set[str] = set()  # values that no one has had a chance to fold
        self._aliases: dict[str, str] = {}
        self._taken = given.union(*(node.output for node in graph.node))
        self._taken_nodes = {node.name for node in graph.node}
        self._counts: dict[str, int] = {}
        self._unrolled_nodes = self._bytes = 0
        self.root = Scope(Site(), "", {name: name for name in given}, self.result.graph.node)
        self.root.local.update(given)

    # ---------------------------------------------------------------- names

    def _unique(self, name: str, taken: set[str]) -> str:
        name = first = shortened(name)
        while name in taken:
            self._counts[first] = self._counts.get(first, 1) + 1
            name = f"{first}~{self._counts[first]}"
        taken.add(name)
        return name

    def fresh_name(self, name: str) -> str:
        """A name that no value of the model has."""
        return self._unique(name, self._taken)

    def bad(self, node: onnx.NodeProto, scope: Scope, text: str) -> NetworkError:
        """An error that names a node, with the nodes that hold it, and its operator."""
        name = shortened(scope.prefix + name_of(node))
        return NetworkError(f"{self.label}: node '{name}' ({node.op_type}) {text}")

    def reserve(self, scope: Scope, name: str) -> str:
        """The name in the new model of a value that this graph is going to give."""
        target = scope.wanted.pop(name, None)
        if target is not None or not name or scope is self.root:
            return target or name
        if scope.closed:
            return self.fresh_name(name) if name in self._taken else name
        return self.fresh_name(scope.prefix + name)

    def bind(self, scope: Scope, name: str, meaning: str, node: onnx.NodeProto) -> None:
        """Give a name of the file its meaning from here on.  Raises where it has one already."""
        if not name:
            return
        if name in scope.local:
            raise self.bad(node, scope, f"writes '{name}' again")
        scope.local.add(name)
        scope.undo.append((name, scope.names.get(name)))
        scope.names[name] = meaning

    def read(self, scope: Scope, name: str, node: onnx.NodeProto) -> str:
        """What a name of the file means here.  Raises NetworkError where it means nothing."""
        if not name:
            return ""
        meaning = scope.names.get(name)
        if meaning is None:
            raise self.bad(
                node,
                scope,
                f"reads '{name}', which no earlier node, input or initialiser gives; the graph "
                "is cyclic, unsorted or cut",
            )
        return meaning

    # ---------------------------------------------------------------- constants

    def constant(self, name: str, value: Array) -> str:
        """Write a constant that the file does not have; returns its name."""
        tensor = numpy_helper.from_array(value, self.fresh_name(name))
        self.result.graph.initializer.append(tensor)
        self.tensors[tensor.name] = tensor
        return str(tensor.name)

    def share(self, scope: Scope, name: str, tensor: Tensor, node: onnx.NodeProto) -> None:
        """Give a constant of an inner graph a place in the main graph, once for all iterations."""
        shared = scope.site.constants.get(name)
        if shared is None:
            shared = scope.site.constants[name] = self.fresh_name(scope.site.path + name)
            if isinstance(tensor, onnx.SparseTensorProto):
                sparse = self.result.graph.sparse_initializer.add()
                sparse.CopyFrom(tensor)
                sparse.values.name = shared
                self.varying.add(shared)
            else:
                copy = self.result.graph.initializer.add()
                copy.CopyFrom(tensor)
                copy.name = shared
                self.tensors[shared] = copy
                if _is_external(copy):
                    self.varying.add(shared)
        self.bind(scope, name, shared, node)

    def share_initialisers(
        self, scope: Scope, graph: onnx.GraphProto, node: onnx.NodeProto
    ) -> None:
        """Share the initialisers of a body, but for those that its inputs replace."""
        named: list[tuple[str, Tensor]] = [(tensor.name, tensor) for tensor in graph.initializer]
        named += [(tensor.values.name, tensor) for tensor in graph.sparse_initializer]
        inputs = {value.name for value in graph.input if value.name in scope.local}
        for name, tensor in named:
            if name not in inputs:
                self.share(scope, name, tensor, node)

    # ---------------------------------------------------------------- what is known of values

    def undecided(self, name: str) -> bool:
        """Whether a value may turn out to be a constant, once what is new has been folded."""
        name = self._aliases.get(name, name)
        return not (name in self.known or name in self.tensors or name in self.varying)

    def scalar(self, scope: Scope, name: str, node: onnx.NodeProto) -> bool | int | None:
        """The value of a constant with one element; None where it is not known.

        Raises NetworkError for a constant of another size, or that is no whole number.
        """
        name = self._aliases.get(name, name)
        value = self.known.get(name)
        if value is None and name in self.tensors and name not in self.varying:
            tensor = self.tensors[name]
            try:
                value = numpy_helper.to_array(tensor) if prod(tensor.dims) == 1 else np.empty(0)
            except (ValueError, TypeError, LookupError) as error:
                raise self.bad(node, scope, f"reads '{name}', which is damaged: {error}") from None
        if value is None:
            return None
        value = np.asarray(value)
        if value.size != 1 or value.dtype.kind not in "biu":
            raise self.bad(
                node, scope, f"reads '{name}', which is not one whole number or truth value"
            )
        return bool(value.item()) if value.dtype.kind == "b" else int(value.item())

    def note(self, node: onnx.NodeProto, new: bool) -> None:
        """Follow what is known through a node of the new model.

        A node that was in the main graph before has had its chance to be folded, unless it
        reads something new.
        """
        read = [name for name in node.input if name]
        results = [name for name in node.output if name and name not in self.known]
        new = new or any(name in self.fresh for name in read)
        if new:
            self.fresh.update(results)
        op = node.op_type if is_standard(node) else ""
        tensor = _constant_of(node)
        if tensor is not None:
            self.tensors.update((name, tensor) for name in results)
        elif op == "Identity" and len(read) == len(results) == 1:
            self._aliases[results[0]] = self._aliases.get(read[0], read[0])
        elif not new or (
            op not in ("Shape", "Size")
            and any(self._aliases.get(name, name) in self.varying for name in read)
        ):
            self.varying.update(results)

    # ---------------------------------------------------------------- nodes

    def given(self, node: onnx.NodeProto, scope: Scope) -> dict[str, onnx.AttributeProto]:
        """The attributes of a node, those of the function around it put in."""
        found: dict[str, onnx.AttributeProto] = {}
        for attribute in node.attribute:
            source: onnx.AttributeProto | None = attribute
            if attribute.ref_attr_name and scope.attributes is not None:
                source = scope.attributes.get(attribute.ref_attr_name)
            if source is not None:
                found[attribute.name] = source
        return found

    def head(self, scope: Scope, node: onnx.NodeProto) -> onnx.NodeProto:
        """A new node with the inputs of one of the file, without attributes and outputs."""
        inputs = [self.read(scope, name, node) for name in node.input]
        copy: onnx.NodeProto = scope.sink.add()
        # exporters write whole stack traces into the last two
        remarks = ("doc_string", "metadata_props") if scope.looped else ()
        merge(copy, node, ("attribute", "input", "output", "name", *remarks))
        copy.input.extend(inputs)
        if node.name:
            kept = scope is self.root or scope.closed
            full = scope.prefix + node.name
            copy.name = node.name if kept else self._unique(full, self._taken_nodes)
        self._charge(scope, copy)
        return copy

    def give(self, scope: Scope, node: onnx.NodeProto, copy: onnx.NodeProto) -> None:
        """Name the outputs of a new node."""
        for name in node.output:
            meaning = self.reserve(scope, name)
            self.bind(scope, name, meaning, node)
            copy.output.append(meaning)

    def write(self, scope: Scope, node: onnx.NodeProto) -> None:
        """Write a node without graphs; constants of inner graphs move to the main graph."""
        tensor = _constant_of(node) if scope is not self.root else None
        if tensor is not None and len(node.output) == 1 and node.output[0]:
            self.share(scope, node.output[0], tensor, node)
            return
        copy = self.head(scope, node)
        for name, attribute in self.given(node, scope).items():
            added = copy.attribute.add()
            added.CopyFrom(attribute)
            added.name = name
            self._charge(scope, added)
        self.give(scope, node, copy)
        if not scope.closed:
            self.note(copy, new=scope is not self.root)

    def add(
        self, scope: Scope, op: str, inputs: Sequence[str], target: str, **attributes: Any
    ) -> str:
        """Write a node that the file does not have; returns `target`, the name of its result."""
        name = self._unique(f"{scope.prefix}{op}", self._taken_nodes)
        node = onnx.helper.make_node(op, inputs, [target], name, **attributes)
        scope.sink.append(node)
        self._charge(scope, node)
        self.note(node, new=True)
        return target

    def _charge(self, scope: Scope, part: onnx.NodeProto | onnx.AttributeProto) -> None:
        """Keep to the limits of what inner graphs may become.  Raises NetworkError."""
        if scope is self.root:
            return
        self._bytes += part.ByteSize()
        if self._bytes > _MAXIMUM_BYTES:
            raise NetworkError(
                f"{self.label}: {scope.origin} would take more than {_MAXIMUM_BYTES:,} bytes with "
                "its graphs written out; give fewer trips with --trips NODE=N, or cut the network"
            )
        if scope.looped and isinstance(part, onnx.NodeProto):
            self._unrolled_nodes += 1
            if self._unrolled_nodes > MAXIMUM_UNROLLED_NODES:
                raise self.too_large(
                    scope.origin, f"more than {MAXIMUM_UNROLLED_NODES:,} nodes", "NODE"
                )

    def room(self) -> int:
        """How many more nodes loops may become."""
        return MAXIMUM_UNROLLED_NODES - self._unrolled_nodes

    def too_large(self, what: str, amount: str, loop: str) -> NetworkError:
        """An error for graphs that become too much once they are written out."""
        return NetworkError(
            f"{self.label}: {what} would take {amount}; all loops together may become "
            f"{MAXIMUM_UNROLLED_NODES:,} nodes: give fewer trips with --trips {loop}=N"
        )
