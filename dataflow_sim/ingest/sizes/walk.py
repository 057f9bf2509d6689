"""A network walked in order from its new inputs on: every shape anew, frozen numbers rewritten.

Before: the model is well formed, its inputs have numbers for extents, and so has the resolver
that ran over it.  After: whatever had a shape has one, or NetworkError names the first node that
cannot follow.  What depends on data has no shape, and neither has what is behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import numpy_helper

from dataflow_sim.errors import NetworkError
from dataflow_sim.ingest.file.checks import standard_version
from dataflow_sim.ingest.file.nodes import is_standard, names_read, titled
from dataflow_sim.ingest.shapes.resolver import Resolver
from dataflow_sim.ingest.shapes.tails import is_data_dependent
from dataflow_sim.ingest.sizes.axes import result_axes
from dataflow_sim.ingest.sizes.frozen import Shape, is_followed, plain
from dataflow_sim.ingest.sizes.operands import check_operands, misfit
from dataflow_sim.ingest.sizes.rules import RULES, SPREADING, pool_whole_map
from dataflow_sim.ingest.sizes.samples import meet_samples
from dataflow_sim.ingest.sizes.site import (
    Array,
    ForbiddenError,
    Known,
    Names,
    Rewriting,
    Site,
)

_LARGEST_VALUE_ELEMENTS = 4096
# a file may contradict itself in more ways than rules can foresee
_MALFORMED = (ArithmeticError, LookupError, TypeError, ValueError)


@dataclass(slots=True)
class Walked:
    """The nodes and constants of the resized network, the shapes of its maps, and what was done."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)
    rewritings: list[Rewriting] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Target:
    """The new size: shapes of the inputs that change, the batch in the file and now.

    `text` is what messages call it; `whole_pools`: a mean over a whole map stays one.
    """

    inputs: Mapping[str, Shape]
    batch: tuple[int, int] | None
    text: str
    whole_pools: bool


class _Walk:
    def __init__(
        self, model: onnx.ModelProto, before: Resolver, target: Target, label: str
    ) -> None:
        self.target = target
        self.label = label
        self.known = Known(before, target.batch)
        self.names = Names(_names_of(model.graph))
        self.version = standard_version(model.opset_import)
        self.done = Walked()
        self.template = onnx.ModelProto(ir_version=onnx.IR_VERSION)
        self.template.opset_import.extend(model.opset_import)
        self.template.functions.extend(model.functions)
        self.template.graph.name = "node"
        for name, shape in target.inputs.items():
            self.known.note(name, shape, plain(before.shapes[name], shape, sides=True))
        for value in model.graph.input:
            if not self.known.is_constant(value.name):
                self._arrive(value.name)

    def _arrive(self, name: str) -> None:
        """Note the shape that a map has now."""
        shape = self.known.new(name)
        if shape is not None:
            self.done.shapes[name] = shape
            self.known.see(name)

    def visit(self, node: onnx.NodeProto) -> None:
        """Take a node over.  Raises NetworkError where it cannot follow."""
        read = names_read(node)
        moved = any(map(self.known.changed, read))
        if moved or (is_standard(node) and node.op_type in SPREADING):
            site = Site(node, self.known, self.names, self.version)
            try:
                self._resize(site)
            except ForbiddenError as reason:
                raise NetworkError(
                    f"{self.label}: {titled(node)} forbids {self.target.text}: {reason}; export "
                    "the network at that size"
                ) from None
            except _MALFORMED as error:
                raise NetworkError(
                    f"{self.label}: {titled(node)} is malformed: {type(error).__name__}: {error}"
                ) from error
            self._take(site)
        else:
            self.done.nodes.append(node)
        for name in node.output:
            if name and not self.known.is_constant(name):
                self._arrive(name)

    def _take(self, site: Site) -> None:
        done = self.done
        done.nodes.extend((*site.before, site.node))
        done.constants.extend(site.constants)
        done.rewritings.extend(site.rewritings)
        done.repeated.extend(site.repeated)
        done.remarks.extend(site.remarks)

    def _resize(self, site: Site) -> None:
        """Rewrite what is frozen in a node, check what it reads, and note what it writes."""
        node = site.node
        if any(self.known.new(name) is None for name in names_read(node)):
            self._lose(node)
            return
        if is_standard(node):
            rule = RULES.get(node.op_type)
            if rule is not None:
                rule(site)
            elif node.op_type == "AveragePool" and self.target.whole_pools:
                pool_whole_map(site)
            meet_samples(site)
        if not any(map(self.known.changed, names_read(node))):
            return
        if is_standard(node):
            check_operands(site)
        found = self._inferred(site)
        for position, name in enumerate(node.output):
            if name:
                self._note(site, position, found.shapes.get(name), found.values.get(name))

    def _lose(self, node: onnx.NodeProto) -> None:
        """Note that what a node writes has no known shape."""
        for name in node.output:
            if name:
                self.known.note(name, None)

    def _inferred(self, site: Site) -> Resolver:
        """Shapes and values of what a node writes.  Raises ForbiddenError where it cannot."""
        model = onnx.ModelProto()
        model.CopyFrom(self.template)
        graph = model.graph
        graph.node.append(site.node)
        for name in dict.fromkeys(names_read(site.node)):
            value = self.known.value(name) if self.known.is_constant(name) else None
            if value is not None and _is_small(value):
                graph.initializer.append(numpy_helper.from_array(value, name))
            else:
                element = self.known.element_type(name) or onnx.TensorProto.UNDEFINED
                info = onnx.helper.make_tensor_value_info(name, element, self.known.new(name))
                graph.input.append(info)
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in site.node.output if name)
        resolver = Resolver(model, self.label)
        try:
            resolver.run()
        except NetworkError as error:
            read = [name for name in site.node.input if name and self.known.new(name)]
            if not read:
                raise ForbiddenError(str(error).removeprefix(f"{self.label}: ")) from None
            raise misfit(site, read) from None
        return resolver

    def _note(self, site: Site, position: int, shape: Shape | None, value: Array | None) -> None:
        """Note an output, where it differs from what it was in the file."""
        known, name = self.known, site.node.output[position]
        old = known.old(name)
        if shape is None:
            if old is not None and not is_data_dependent(site.node, known.before.constants):
                raise ForbiddenError(
                    f"no shape can be inferred for its output '{name}', which is {old} in the file"
                )
            known.note(name, None)
            return
        if min(shape, default=1) < 1 and min(old or (1,)) >= 1:
            raise ForbiddenError(f"its output would be {shape}; {_maps(site)} too small for it")
        if old is None or len(old) != len(shape):
            known.note(name, shape, value=value)
            return
        known.note(name, shape)  # its axes may be found by its shape
        axes = result_axes(site, position, old, shape)
        before = known.before.values.get(name)
        if known.is_constant(name):
            same = value is not None and before is not None and np.array_equal(value, before)
        else:
            same = not any(map(is_followed, axes))
        if same:
            known.forget(name)
        else:
            known.note(name, shape, axes, value)


def _is_small(value: Array | None) -> bool:
    return (
        value is not None and value.size <= _LARGEST_VALUE_ELEMENTS and value.dtype.kind in "iufb"
    )


def _maps(site: Site) -> str:
    """The maps that a node reads, with their shapes."""
    read = [name for name in site.node.input if name and not site.known.is_constant(name)]
    shapes = " and ".join(f"'{name}' {site.known.new(name)}" for name in read)
    return f"the maps {shapes} are" if len(read) > 1 else f"the map {shapes} is"


def _names_of(graph: onnx.GraphProto) -> set[str]:
    """All names of a graph, those that its bodies read included."""
    names = {tensor.name for tensor in graph.initializer}
    names |= {value.name for value in (*graph.input, *graph.output)}
    for node in graph.node:
        names.update((node.name, *names_read(node), *node.output))
    return names


def _live(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes that an output depends on."""
    wanted = {value.name for value in graph.output}
    live = []
    for node in reversed(graph.node):
        if any(name in wanted for name in node.output):
            live.append(node)
            wanted.update(names_read(node))
    return live[::-1]


def walked(model: onnx.ModelProto, before: Resolver, target: Target, label: str) -> Walked:
    """Walk the live nodes of a model.  Raises NetworkError naming the first that cannot follow."""
    walk = _Walk(model, before, target, label)
    for node in _live(model.graph):
        walk.visit(node)
    return walk.done
