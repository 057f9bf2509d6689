"""A network at another size of its images, and with another batch, than its file states.

Exporters freeze the size into constants: targets of reshapes, sizes that maps are scaled to,
bounds of slices.  The network is walked once with its shapes in the file and its new ones side by
side, and each frozen number is derived from the axis that it stands for.  What has learned the
size (position embeddings, masks, weights behind a flattened map) forbids another one.

Assumed: every sample of a batch is computed alone.  Not touched: numbers frozen inside the bodies
of If, Loop and Scan and inside local functions; where they do not fit, the node is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx

from dataflow_sim.errors import NetworkError
from dataflow_sim.ingest.contrib import standardised
from dataflow_sim.ingest.file.nodes import bodies
from dataflow_sim.ingest.shapes.inference import tensor_type
from dataflow_sim.ingest.shapes.resolver import Resolver
from dataflow_sim.ingest.sizes.inputs import (
    Extents,
    RealInput,
    check_numbers,
    real_inputs,
    shown,
    wanted_extents,
)
from dataflow_sim.ingest.sizes.site import Rewriting
from dataflow_sim.ingest.sizes.walk import Target, Walked, walked

_INPUTS_SHOWN = 4


def resized(
    model: onnx.ModelProto, label: str, size: tuple[int, int] | None, batch: int | None
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """The model with images of a size (rows, columns), and a batch; None leaves as it is.

    Returns a new model and sentences of what was changed in it.  Symbolic dimensions on the axes
    concerned are bound, others stay; where numbers of the file change, no other dimension may be
    symbolic, and operators of other domains are standard ones in the result.  Weights are never
    read.  Raises NetworkError where there is no image or no batch, or naming the first node that
    forbids the new size.
    """
    wanted = wanted_extents(model, label, size, batch)
    inputs = real_inputs(model)
    changed = [each for each in inputs if wanted[each.name] != each.extents]
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if not changed:
        return copy, ()
    _bind(copy, {each.name: _named_only(each, wanted[each.name]) for each in changed})
    numbers = {
        each.name: wanted[each.name] for each in changed if _renumbered(each, wanted[each.name])
    }
    statements = _of_inputs(changed, wanted)
    if not numbers:
        return copy, statements
    copy, _ = standardised(copy)
    _forget_shapes_in_bodies(copy)
    walk = _walked(copy, label, numbers, _asked(size, batch))
    result = _written(copy, numbers, walk)
    _check(result, walk, label)
    return result, (*statements, *_of_nodes(walk, batch))


def _renumbered(source: RealInput, wanted: Extents) -> bool:
    """Whether an extent that is a number becomes another."""
    pairs = zip(source.extents, wanted, strict=True)
    return any(isinstance(old, int) and old != new for old, new in pairs)


def _named_only(source: RealInput, wanted: Extents) -> Extents:
    """The extents of an input with names bound, and numbers as in the file."""
    pairs = zip(source.extents, wanted, strict=True)
    return tuple(old if isinstance(old, int) else new for old, new in pairs)


def _set_extents(value: onnx.ValueInfoProto, extents: Extents) -> bool:
    """Write numbers into the type of an input; whether any is new."""
    changed = False
    for dim, extent in zip(value.type.tensor_type.shape.dim, extents, strict=True):
        if isinstance(extent, int) and not (dim.HasField("dim_value") and dim.dim_value == extent):
            dim.dim_value = extent
            changed = True
    return changed


def _bind(model: onnx.ModelProto, extents: Mapping[str, Extents]) -> None:
    """Write extents of inputs, in place; what the file says of other shapes is void then."""
    changed = False
    for value in model.graph.input:
        if value.name in extents:
            changed = _set_extents(value, extents[value.name]) or changed
    if changed:
        _forget_shapes(model.graph)


def _forget_extents(values: Iterable[onnx.ValueInfoProto]) -> None:
    """Drop the extents of stated types, and keep how many there are."""
    for value in values:
        if value.type.HasField("tensor_type"):
            for dim in value.type.tensor_type.shape.dim:
                dim.Clear()


def _forget_shapes(graph: onnx.GraphProto) -> None:
    del graph.value_info[:]
    _forget_extents(graph.output)


def _forget_shapes_in_bodies(model: onnx.ModelProto) -> None:
    """Drop what bodies and functions state of shapes, in place."""
    for function in model.functions:
        del function.value_info[:]
    pending = [*model.graph.node, *(node for each in model.functions for node in each.node)]
    while pending:
        for body in bodies(pending.pop()):
            _forget_shapes(body)
            _forget_extents(body.input)
            pending.extend(body.node)


def _asked(size: tuple[int, int] | None, batch: int | None) -> str:
    """The size as messages call it."""
    plane = "" if size is None else f"{size[0]}x{size[1]}"
    if batch is None:
        return plane
    return f"{plane} with batch {batch}" if plane else f"batch {batch}"


def _walked(model: onnx.ModelProto, label: str, wanted: Mapping[str, Extents], text: str) -> Walked:
    """The network walked at its new size.

    Where a node forbids it, means over whole maps are tried as such: exporters freeze them, too.
    """
    check_numbers(real_inputs(model), label)
    shapes = {name: tuple(int(e) for e in extents if e) for name, extents in wanted.items()}
    before = Resolver(model, label)
    before.run()
    batch = next(
        (
            (before.shapes[name][0], shape[0])
            for name, shape in shapes.items()
            if before.shapes[name][0] != shape[0]
        ),
        None,
    )
    try:
        return walked(model, before, Target(shapes, batch, text, whole_pools=False), label)
    except NetworkError:
        pools = Target(shapes, batch, text, whole_pools=True)
        if any(node.op_type == "AveragePool" for node in model.graph.node):
            with_pools = _or_none(model, before, pools, label)
            if with_pools is not None:
                return with_pools
        raise


def _or_none(model: onnx.ModelProto, before: Resolver, target: Target, label: str) -> Walked | None:
    try:
        return walked(model, before, target, label)
    except NetworkError:
        return None


def _written(
    model: onnx.ModelProto, wanted: Mapping[str, Extents], walk: Walked
) -> onnx.ModelProto:
    """The model with the inputs, nodes and constants of the walk."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    _bind(result, wanted)
    _forget_shapes(result.graph)
    del result.graph.node[:]
    result.graph.node.extend(walk.nodes)
    result.graph.initializer.extend(walk.constants)
    for value in result.graph.output:
        if value.name in walk.shapes and value.type.HasField("tensor_type"):
            kind = tensor_type(value.type.tensor_type.elem_type, walk.shapes[value.name])
            value.type.CopyFrom(kind)
    if result.ir_version < 4:  # every initialiser is an input there
        for tensor in walk.constants:
            info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            result.graph.input.append(info)
    return result


def _check(result: onnx.ModelProto, walk: Walked, label: str) -> None:
    """Inference over the whole result finds the shapes of the walk.  Raises NetworkError."""
    after = Resolver(result, label)
    after.run()
    for name, shape in walk.shapes.items():
        if after.shapes.get(name) != shape:
            raise NetworkError(
                f"{label}: at the new size '{name}' is {shape}, but inference of the whole network "
                f"says {after.shapes.get(name)}; export the network at that size"
            )


def _of_inputs(changed: list[RealInput], wanted: Mapping[str, Extents]) -> tuple[str, ...]:
    """Sentences of the inputs that change."""
    told = [f"input {each} becomes {shown(wanted[each.name])}" for each in changed]
    more = len(told) - _INPUTS_SHOWN
    if more > 0:
        told[_INPUTS_SHOWN:] = [f"so do {more} more, each in its batch"]
    return tuple(told)


def _of_nodes(walk: Walked, batch: int | None) -> tuple[str, ...]:
    """Sentences of what was rewritten, one an operator."""
    by_op: dict[str, list[Rewriting]] = {}
    for rewriting in walk.rewritings:
        by_op.setdefault(rewriting.op, []).append(rewriting)
    told = []
    for op, rewritings in sorted(by_op.items()):
        first = rewritings[0]
        many = "" if len(rewritings) == 1 else f"; {len(rewritings):,} {op} nodes in all"
        told.append(
            f"node '{first.node}' ({op}) has {shown(first.now)} instead of the frozen "
            f"{shown(first.before)}{many}"
        )
    if walk.repeated:
        names = list(dict.fromkeys(walk.repeated))
        more = f" and {len(names) - 1:,} more are" if len(names) > 1 else " is"
        told.append(f"constant '{names[0]}'{more} repeated for each of the {batch} samples")
    return (*told, *walk.remarks)
