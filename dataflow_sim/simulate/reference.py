"""The network's own answer: another evaluator's, on weights drawn from a seed.

Weights that the file does not carry are drawn as small integers, so that sums of products
are exact in float32 and a replay can be compared bit for bit where the operators allow.

The evaluator is onnxruntime where it is installed, its optimisations off, so that it computes what
the file says node by node; else, or where it does not take the network, ONNX's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from onnx.helper import tensor_dtype_to_np_dtype
from onnx.reference import ReferenceEvaluator

from dataflow_sim.errors import InputError, ProgramError
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.simulate.reference_operators import OPERATORS, UP_TO_18

FloatArrays = dict[str, npt.NDArray[np.float32]]
Arrays = dict[str, npt.NDArray[Any]]
_FATAL = 4  # what onnxruntime says of itself


def _variances(model: onnx.ModelProto) -> set[str]:
    return {
        node.input[4]
        for node in model.graph.node
        if node.op_type == "BatchNormalization" and len(node.input) > 4
    }


def with_weights(model: onnx.ModelProto, seed: int, unit_gain: bool = False) -> onnx.ModelProto:
    """A copy of the model in which every external float initialiser has values.

    Values are integers in [-2, 2], variances in [1, 2].  With `unit_gain` kernels are
    divided by the square root of what they reduce over, so that the values of a deep
    network stay in range.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    generator = np.random.default_rng(seed)
    variances = _variances(copy)
    for tensor in copy.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        low, high = (1, 3) if tensor.name in variances else (-2, 3)
        values = generator.integers(low, high, tuple(tensor.dims)).astype(np.float32)
        if unit_gain and values.ndim > 1:
            values /= np.sqrt(2 * values[0].size, dtype=np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return copy


def random_inputs(shapes: Mapping[str, tuple[int, ...]], seed: int) -> FloatArrays:
    """Small integer inputs of the given shapes, as float32."""
    generator = np.random.default_rng(seed)
    return {
        name: generator.integers(-3, 4, shape).astype(np.float32)
        for name, shape in sorted(shapes.items())
    }


def drawn_inputs(
    model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]], seed: int
) -> dict[str, npt.NDArray[np.generic]]:
    """Inputs of the given shapes: normal numbers, rows of the table that an input indexes, else 1.

    An input that the model does not name, as one of a part of it, is real.
    """
    kinds = {
        value.name: tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        for value in model.graph.input
    }
    rows = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if tensor.dims}
    tables = {
        node.input[1]: rows[node.input[0]]
        for node in model.graph.node
        if node.op_type == "Gather" and node.input[0] in rows
    }
    found: dict[str, npt.NDArray[np.generic]] = {}
    for place, (name, shape) in enumerate(sorted(shapes.items())):
        generator = np.random.default_rng([seed, place])
        kind = kinds.get(name, np.dtype(np.float32))
        if np.issubdtype(kind, np.floating):
            found[name] = generator.standard_normal(shape).astype(kind)
        elif name in tables:
            found[name] = generator.integers(0, tables[name], shape).astype(kind)
        else:
            found[name] = np.ones(shape, kind)
    return found


def whole_inputs(model: onnx.ModelProto) -> dict[str, np.dtype[Any]]:
    """The types of a model's inputs that are whole numbers."""
    kinds = {
        value.name: tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        for value in model.graph.input
    }
    return {name: kind for name, kind in kinds.items() if np.issubdtype(kind, np.integer)}


def evaluate_model(
    model: onnx.ModelProto, inputs: Mapping[str, npt.NDArray[np.generic]]
) -> tuple[str, Arrays]:
    """Who evaluated the network, and its outputs by name.

    Raises InputError where nobody can.
    """
    found = _by_runtime(model, inputs)
    if found is not None:
        return "onnxruntime", found
    return "ONNX's reference evaluator", evaluate_reference(model, inputs)


def with_derived_constants(graph: NetworkGraph, model: onnx.ModelProto) -> NetworkGraph:
    """The network with the values of those constants that nodes of its model compute.

    The reader evaluates small ones only.  A constant that the model does not compute stays without.
    """
    known = {tensor.name for tensor in model.graph.initializer}
    needed: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if all(name in known for name in node.input if name) and node.op_type not in _RANDOM:
            needed.append(node)
            known.update(node.output)
    made = {name for node in needed for name in node.output}
    wanted = [n for n, each in graph.constants.items() if each.value is None and n in made]
    if not wanted:
        return graph
    inner = helper.make_graph(
        needed,
        "constants",
        [],
        [helper.make_value_info(name, onnx.TypeProto()) for name in wanted],
        list(model.graph.initializer),
    )
    computing = helper.make_model(inner, opset_imports=list(model.opset_import))
    values = ReferenceEvaluator(computing).run(wanted, {})
    constants = dict(graph.constants)
    for name, value in zip(wanted, values, strict=True):
        constants[name] = replace(constants[name], value=np.asarray(value))
    return replace(graph, constants=constants)


# what is drawn anew every time
_RANDOM = frozenset(
    (
        *("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike"),
        *("RandomUniform", "RandomUniformLike"),
    )
)


def evaluate_operator(
    where: str,
    op: str,
    version: int,
    attributes: Mapping[str, object],
    inputs: Sequence[npt.NDArray[np.generic] | None],
    places: Sequence[int],
) -> dict[int, npt.NDArray[np.generic]]:
    """Some outputs of one operator by their places, as ONNX's reference evaluator computes them.

    An input that is left out is None.  Raises ProgramError, which begins with `where`, for what
    the evaluator does not know or is drawn by chance.
    """
    if op in _RANDOM:
        raise ProgramError(f"{where} is drawn by chance and cannot be replayed")
    names = ["" if each is None else f"i{place}" for place, each in enumerate(inputs)]
    given = {name: each for name, each in zip(names, inputs, strict=True) if each is not None}
    outputs = [f"o{place}" if place in places else "" for place in range(max(places) + 1)]
    stated: dict[str, Any] = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in attributes.items()
    }
    wanted = [name for name in outputs if name]
    try:
        node = helper.make_node(op, names, outputs, **stated)
        graph = helper.make_graph(
            [node],
            op,
            [helper.make_tensor_value_info(n, _element(v), v.shape) for n, v in given.items()],
            [helper.make_value_info(name, onnx.TypeProto()) for name in wanted],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)])
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(model).run(wanted, given)
    except Exception as error:  # whatever the evaluator raises says that it does not know it
        raise ProgramError(f"{where} cannot be replayed: {error}") from error
    return {place: np.asarray(value) for place, value in zip(sorted(places), results, strict=True)}


def _element(array: npt.NDArray[np.generic]) -> int:
    return int(helper.np_dtype_to_tensor_dtype(array.dtype))


def _by_runtime(
    model: onnx.ModelProto, inputs: Mapping[str, npt.NDArray[np.generic]]
) -> Arrays | None:
    """What onnxruntime computes; None where it is not there, or refuses the network."""
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return _by_name(model, list(session.run(None, dict(inputs))))
    except Exception:  # its own errors have no common base, and each means that it does not take it
        return None


def evaluate_reference(
    model: onnx.ModelProto, inputs: Mapping[str, npt.NDArray[np.generic]]
) -> Arrays:
    """Outputs of the network by name, as ONNX's reference evaluator computes them.

    Raises InputError naming an operator that it does not know.
    """
    old = any(each.domain in ("", "ai.onnx") and each.version < 19 for each in model.opset_import)
    try:
        evaluator = ReferenceEvaluator(model, new_ops=[*OPERATORS, *(UP_TO_18 if old else ())])
    except (NotImplementedError, RuntimeError) as error:
        raise InputError(
            f"ONNX's own evaluator does not know an operator; install onnxruntime: {error}"
        ) from error
    return _by_name(model, list(evaluator.run(None, dict(inputs))))


def _by_name(model: onnx.ModelProto, results: Sequence[Any]) -> Arrays:
    names = [value.name for value in model.graph.output]
    return {name: np.asarray(value) for name, value in zip(names, results, strict=True)}
