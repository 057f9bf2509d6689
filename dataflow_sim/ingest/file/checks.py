"""What must hold of a model before anything is inferred from it.

Nothing here recurses: a file decides how deep its bodies and its functions are nested.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx

from dataflow_sim.errors import NetworkError
from dataflow_sim.ingest.file.nodes import (
    STANDARD_DOMAINS,
    bodies,
    captured,
    check_extents,
    check_node,
    name_of,
    titled,
)
from dataflow_sim.ingest.file.wire import MAXIMUM_NESTING, MAXIMUM_NODES

_DEEPEST_CALLS = 64
_ELEMENT_TYPES = frozenset(onnx.TensorProto.DataType.values()) - {onnx.TensorProto.UNDEFINED}

FunctionKey = tuple[str, str, str]


def members(nodes: Iterable[onnx.NodeProto], label: str) -> Iterator[onnx.NodeProto]:
    """Nodes and all nodes of their bodies; refuses bodies nested too deep, and too many nodes."""
    count = 0
    for outermost in nodes:
        todo = [(outermost, 0)]
        while todo:
            node, depth = todo.pop()
            count += 1
            if depth > MAXIMUM_NESTING:
                raise NetworkError(
                    f"{label}: node '{name_of(outermost)}' nests more than {MAXIMUM_NESTING} "
                    "graphs in one another; flatten its branches and loops"
                )
            if count > MAXIMUM_NODES:
                raise NetworkError(
                    f"{label}: the graph has more than {MAXIMUM_NODES:,} nodes; cut the network, "
                    "or simplify it before it is read"
                )
            yield node
            for body in bodies(node):
                todo.extend((member, depth + 1) for member in body.node)


def function_key(node: onnx.NodeProto | onnx.FunctionProto) -> FunctionKey:
    """What a call and the function that it means have in common: domain, name, overload."""
    domain = "" if node.domain in STANDARD_DOMAINS else str(node.domain)
    name = node.name if isinstance(node, onnx.FunctionProto) else node.op_type
    return (domain, str(name), str(node.overload))


def _inlined(calls: Iterable[FunctionKey], sizes: dict[FunctionKey, int]) -> int:
    """Nodes once the calls are written out, at most one more than are read."""
    return min(MAXIMUM_NODES + 1, sum(sizes.get(key, 1) for key in calls))


def _sizes_of_functions(
    calls: dict[FunctionKey, list[FunctionKey]], label: str
) -> dict[FunctionKey, int]:
    """For each function its nodes once its calls are written out."""
    sizes: dict[FunctionKey, int] = {}
    depths: dict[FunctionKey, int] = {}
    for first in calls:
        path = {first: iter(calls[first])} if first not in sizes else {}
        while path:
            key, left = next(reversed(path.items()))
            inner = next((k for k in left if k in calls and k not in sizes), None)
            if inner is None:
                depths[key] = 1 + max((depths.get(k, 0) for k in calls[key]), default=0)
                sizes[key] = _inlined(calls[key], sizes)
                del path[key]
                if depths[key] > _DEEPEST_CALLS:
                    raise NetworkError(
                        f"{label}: the function '{key[1]}' calls others more than "
                        f"{_DEEPEST_CALLS} deep; write some of the calls out"
                    )
            elif inner in path:
                raise NetworkError(
                    f"{label}: the function '{inner[1]}' calls itself, through '{key[1]}'; "
                    "functions must not recurse"
                )
            else:
                path[inner] = iter(calls[inner])
    return sizes


def check_functions(model: onnx.ModelProto, label: str) -> int:
    """The number of nodes once all calls of local functions are written out; 0 without any.

    Computed bottom-up, without writing anything out.  Raises NetworkError where functions
    call one another in a circle or too deep, where one is defined twice, or where more than
    `MAXIMUM_NODES` nodes would come of it.
    """
    calls: dict[FunctionKey, list[FunctionKey]] = {}
    for function in model.functions:
        key = function_key(function)
        if key in calls:
            raise NetworkError(f"{label}: the function '{key[1]}' is defined twice")
        calls[key] = [function_key(node) for node in members(function.node, label)]
    sizes = _sizes_of_functions(calls, label)
    if not sizes:
        return 0
    total = _inlined((function_key(n) for n in members(model.graph.node, label)), sizes)
    if total > MAXIMUM_NODES:
        largest = max(sizes, key=lambda key: sizes[key])
        raise NetworkError(
            f"{label}: written out, the calls of its functions (the largest is '{largest[1]}') are "
            f"more than {MAXIMUM_NODES:,} nodes; simplify the network before it is read"
        )
    return total


def _check_versions(imports: Iterable[onnx.OperatorSetIdProto], what: str, label: str) -> None:
    """Operator sets that this reader knows, each imported once."""
    newest = onnx.defs.onnx_opset_version()
    seen: set[str] = set()
    for each in imports:
        if not isinstance(each.domain, str):
            raise NetworkError(f"{label}: {what} imports an operator set whose name is no text")
        domain = "" if each.domain in STANDARD_DOMAINS else each.domain
        if domain in seen:
            raise NetworkError(f"{label}: {what} imports the operator set '{each.domain}' twice")
        seen.add(domain)
        if domain == "" and not 1 <= each.version <= newest:
            raise NetworkError(
                f"{label}: {what} imports version {each.version} of the standard operators; this "
                f"installation of onnx knows 1 to {newest}: export for one of them, or update onnx"
            )


def standard_version(imports: Iterable[onnx.OperatorSetIdProto]) -> int:
    """The version of the standard operators that a model or a function imports; else 1."""
    return max((each.version for each in imports if each.domain in STANDARD_DOMAINS), default=1)


def _check_type(value: onnx.ValueInfoProto, label: str, extents_too: bool = True) -> None:
    """A stated type: its name is text, its extents are possible."""
    if not isinstance(value.name, str):
        raise NetworkError(f"{label}: the name of a value, {value.name!r}, is no text")
    tensor = value.type.tensor_type
    dims = tensor.shape.dim
    if not all(isinstance(dim.dim_param, str) for dim in dims):
        raise NetworkError(f"{label}: '{value.name}' has a dimension whose name is no text")
    if extents_too:
        extents = (dim.dim_value if dim.HasField("dim_value") else None for dim in dims)
        check_extents(extents, f"'{value.name}' has", label)


def _check_tensor(tensor: onnx.TensorProto, label: str) -> None:
    """An initialiser: its name is text, its type known, its extents are possible."""
    if not isinstance(tensor.name, str):
        raise NetworkError(f"{label}: the name of an initialiser, {tensor.name!r}, is no text")
    if tensor.data_type not in _ELEMENT_TYPES:
        raise NetworkError(
            f"{label}: initialiser '{tensor.name}' has the element type {tensor.data_type}, which "
            "ONNX does not define"
        )
    check_extents(tensor.dims, f"initialiser '{tensor.name}' has", label)


def _check_once(names: Iterable[str], what: str, label: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise NetworkError(f"{label}: {what} '{name}' is there twice")
        seen.add(name)


def _check_parts(model: onnx.ModelProto, label: str) -> None:
    """Every node, type and initialiser by itself, those of bodies and functions included."""
    version = standard_version(model.opset_import)
    graphs = [model.graph]
    for node in members(model.graph.node, label):
        check_node(node, version, label)
        graphs.extend(bodies(node))
    for function in model.functions:
        texts = (function.name, function.domain, *function.input, *function.output)
        if not all(isinstance(text, str) for text in texts):
            raise NetworkError(
                f"{label}: the function {function.name!r} has names that are no text"
            )
        what = f"the function '{function.name}'"
        _check_versions(function.opset_import, what, label)
        version = standard_version(function.opset_import)
        for node in members(function.node, label):
            check_node(node, version, label)
            graphs.extend(bodies(node))
        for value in function.value_info:
            _check_type(value, label)
    for graph in graphs:
        for value in (*graph.value_info, *graph.output):
            _check_type(value, label)
        for value in graph.input:
            # those of the network itself count only once they are read, and bound
            _check_type(value, label, extents_too=graph is not model.graph)
        for tensor in graph.initializer:
            _check_tensor(tensor, label)
        for sparse in graph.sparse_initializer:
            _check_tensor(sparse.values, label)
            check_extents(sparse.dims, f"initialiser '{sparse.values.name}' has", label)


def _check_order(graph: onnx.GraphProto, label: str) -> None:
    """Every value is written once, and before it is read."""
    known = {tensor.name for tensor in graph.initializer}
    known |= {tensor.values.name for tensor in graph.sparse_initializer}
    known |= {value.name for value in graph.input} | {""}
    for node in graph.node:
        for name in (*node.input, *captured(node)):
            if name not in known:
                raise NetworkError(
                    f"{label}: {titled(node)} reads '{name}', which no earlier node, input or "
                    "initialiser gives; the graph is cyclic, unsorted or cut"
                )
        for name in node.output:
            if name and name in known:
                raise NetworkError(f"{label}: {titled(node)} writes '{name}' again")
            known.add(name)
    for value in graph.output:
        if value.name not in known:
            raise NetworkError(f"{label}: no node writes the output '{value.name}'")


def check_graph(model: onnx.ModelProto, label: str) -> None:
    """What a model holds is legal by itself, and every value is written once and then read.

    Raises NetworkError naming the node, the value or the version.
    """
    if not 1 <= model.ir_version <= onnx.IR_VERSION:
        raise NetworkError(
            f"{label}: the file states version {model.ir_version} of the ONNX format; this "
            f"installation of onnx knows 1 to {onnx.IR_VERSION}: export again, or update onnx"
        )
    if not model.graph.output:
        raise NetworkError(f"{label}: the graph has no outputs; name at least one")
    _check_versions(model.opset_import, "the file", label)
    _check_parts(model, label)
    check_functions(model, label)
    _check_once((tensor.name for tensor in model.graph.initializer), "initialiser", label)
    _check_once((value.name for value in model.graph.input), "input", label)
    _check_order(model.graph, label)
