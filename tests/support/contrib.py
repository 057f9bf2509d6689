"""One node of another domain, rewritten into standard ones and evaluated by onnx."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from dataflow_sim.ingest.contrib import standardised

Array = npt.NDArray[Any]


def single(
    op: str,
    inputs: Sequence[Array | None],
    attributes: Mapping[str, Any],
    opset: int,
    outputs: Sequence[str] = ("y",),
    constants: Sequence[int] = (),
    domain: str = "com.microsoft",
) -> onnx.ModelProto:
    """A model of one node named "node"; input i is "i<i>", an initialiser if in `constants`.

    None leaves an input out; outputs are named as given, "" leaves one out.
    """
    names = ["" if array is None else f"i{i}" for i, array in enumerate(inputs)]
    node = helper.make_node(op, names, list(outputs), name="node", domain=domain, **attributes)
    given = {i: array for i, array in enumerate(inputs) if array is not None}
    graph = helper.make_graph(
        [node],
        "single",
        [
            helper.make_tensor_value_info(
                f"i{i}", helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
            )
            for i, array in given.items()
            if i not in constants
        ],
        [helper.make_empty_tensor_value_info(name) for name in outputs if name],
        [numpy_helper.from_array(given[i], f"i{i}") for i in constants],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=imports)


def assert_close(actual: Any, expected: Any, rtol: float = 2e-5, atol: float = 5e-6) -> None:
    """Equal but for the rounding of 32-bit floats."""
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), rtol=rtol, atol=atol)


def feeds(inputs: Sequence[Array | None], constants: Sequence[int] = ()) -> dict[str, Array]:
    """What to feed the graph inputs of `single`."""
    return {
        f"i{i}": array for i, array in enumerate(inputs) if array is not None and i not in constants
    }


def checked(model: onnx.ModelProto, strict: bool = True) -> onnx.ModelProto:
    """The model rewritten; its only node is gone, and every new one is legal at its opset."""
    before = model.SerializeToString()
    new, names = standardised(model)
    assert model.SerializeToString() == before
    assert names == ("node",)
    assert all(node.domain == "" for node in new.graph.node)
    assert new.graph.node[-1].name == "node"
    assert new.graph.node[-1].output[0] == model.graph.node[0].output[0]
    assert new.opset_import == model.opset_import
    typed = onnx.shape_inference.infer_shapes(
        new, strict_mode=True, check_type=strict, data_prop=True
    )
    for value in typed.graph.output:
        assert value.type.tensor_type.elem_type
    context = onnx.checker.C.CheckerContext()
    context.ir_version = new.ir_version
    context.opset_imports = {o.domain: o.version for o in new.opset_import}
    for node in new.graph.node:
        onnx.checker.check_node(node, context)
    return new


def evaluated(
    op: str,
    inputs: Sequence[Array | None],
    attributes: Mapping[str, Any] | None = None,
    opset: int = 21,
    outputs: Sequence[str] = ("y",),
    constants: Sequence[int] = (),
    domain: str = "com.microsoft",
    strict: bool = True,
) -> list[Array]:
    """The outputs of the rewritten node."""
    model = single(op, inputs, attributes or {}, opset, outputs, constants, domain)
    results = ReferenceEvaluator(checked(model, strict)).run(None, feeds(inputs, constants))
    return [np.asarray(result) for result in results]


def floats(*shape: int, seed: int = 0) -> Array:
    """Standard normal numbers."""
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32)


def integers(kind: Any, *shape: int, seed: int = 0) -> Array:
    """Numbers from the whole range of an integer type."""
    bounds = np.iinfo(kind)
    generator = np.random.default_rng((seed, *shape))
    return np.asarray(generator.integers(bounds.min, bounds.max + 1, shape), kind)


def product(a: Array, b: Array) -> Array:
    """A matrix product in 64 bits."""
    return np.asarray(a, np.float64) @ np.asarray(b, np.float64)


def convolved(x: Array, w: Array, stride: int, pad: int, groups: int) -> Array:
    """Convolution of (n, c, h, w), place by place."""
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    size, depth = w.shape[2], w.shape[1]
    extents = [(extent - size) // stride + 1 for extent in padded.shape[2:]]
    y = np.zeros((x.shape[0], w.shape[0], *extents))
    for m in range(w.shape[0]):
        first = m // (w.shape[0] // groups) * depth
        for row in range(extents[0]):
            for column in range(extents[1]):
                part = padded[:, first : first + depth, row * stride :, column * stride :]
                y[:, m, row, column] = (part[:, :, :size, :size] * w[m]).sum((1, 2, 3))
    return y
