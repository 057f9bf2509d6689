"""The models that passes are tested with compute what their nodes say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from dataflow_sim.graph.network import Constant
from dataflow_sim.graph.pointwise import Attribute
from dataflow_sim.ingest.network import Node, ResolvedNetwork
from dataflow_sim.ingest.shapes.reader import resolve
from tests.support.resolved_models import Array, constants_of, evaluate, inputs_of, model_of
from tests.support.small import SMALL

Shape = tuple[int, ...]


def single(
    op: str,
    maps: Mapping[str, Shape],
    output: Shape,
    constants: Sequence[Constant] = (),
    attributes: Mapping[str, Attribute] | None = None,
    inputs: tuple[str, ...] = (),
    opset: int = 20,
) -> ResolvedNetwork:
    """A network of one node that writes "y"."""
    names = inputs or (*maps, *(constant.name for constant in constants))
    return ResolvedNetwork(
        name="single",
        opset=opset,
        nodes=(Node("node", op, names, ("y",), attributes or {}),),
        inputs=tuple(maps),
        outputs=("y",),
        shapes={**maps, **{c.name: c.shape for c in constants}, "y": output},
        constants={constant.name: constant for constant in constants},
        sources={constant.name: constant.name for constant in constants},
    )


def rotated(x: Array) -> Array:
    half = x.shape[-1] // 2
    return np.concatenate((-x[..., half:], x[..., :half]), axis=-1)


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    found: Array = powers / powers.sum(axis=-1, keepdims=True)
    return found


def table(length: int, depth: int, repeated: bool) -> Array:
    angles = np.arange(length * depth, dtype=np.float32).reshape(length, depth) / 7
    return np.tile(angles[:, : depth // 2], 2) if repeated else angles


@pytest.mark.parametrize(
    ("shape", "leading", "repeated", "op"),
    [
        ((2, 3, 5, 8), (), True, "RotaryEmbedding"),
        ((2, 3, 5, 8), (1, 1), True, "RotaryEmbedding"),
        ((2, 3, 5, 8), (), False, "Concat"),
        ((3, 5, 8), (1,), True, "Concat"),
    ],
)
def test_rotary_embedding(shape: Shape, leading: Shape, repeated: bool, op: str) -> None:
    angles = table(shape[-2], shape[-1], repeated).reshape(*leading, *shape[-2:])
    constants = [
        Constant("cos", angles.shape, np.cos(angles)),
        Constant("sin", angles.shape, np.sin(angles)),
    ]
    network = single("dataflow_sim::RotaryEmbedding", {"x": shape}, shape, constants)
    assert op in {node.op_type for node in model_of(network).graph.node}
    x = inputs_of(network, 3)["x"]
    expected = x * np.cos(angles) + rotated(x) * np.sin(angles)
    np.testing.assert_allclose(evaluate(network, 3)["y"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("masks", [(), ((4,),), ((5, 4), (2, 1, 1, 4)), ((6, 5, 4), (1, 6, 1, 1))])
def test_attention(causal: int, masks: tuple[Shape, ...]) -> None:
    shapes = {"q": (2, 6, 5, 8), "k": (2, 3, 4, 8), "v": (2, 3, 4, 7)}
    constants = [Constant(f"mask{i}", shape) for i, shape in enumerate(masks)]
    attributes: dict[str, Attribute] = {"scale": 0.4, "is_causal": causal}
    network = single(
        "dataflow_sim::Attention", shapes, (2, 6, 5, 7), constants, attributes, opset=20
    )
    values = inputs_of(network, 1)
    drawn = constants_of(network)
    expected = np.empty((2, 6, 5, 7))
    total = np.zeros((2, 6, 5, 4))
    for constant in constants:
        total = total + drawn[constant.name].astype(np.float64)
    if causal:
        total = total + np.where(np.tri(5, 4) > 0, 0, -np.inf)
    for head in range(6):
        q = values["q"][:, head].astype(np.float64)
        k, v = (values[n][:, head // 2].astype(np.float64) for n in "kv")
        scores = 0.4 * np.einsum("btd,bsd->bts", q, k) + total[:, head]
        expected[:, head] = np.einsum("bts,bse->bte", softmax(scores), v)
    np.testing.assert_allclose(evaluate(network, 1)["y"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("op", ["RMSNormalization", "LayerNormalization"])
@pytest.mark.parametrize("axis", [-1, -2])
def test_normalization_without_scale(op: str, axis: int) -> None:
    attributes: dict[str, Attribute] = {"axis": axis, "epsilon": 1e-3, "stash_type": 1}
    network = single(op, {"x": (2, 5, 6)}, (2, 5, 6), (), attributes, ("x", ""))
    x = inputs_of(network)["x"].astype(np.float64)
    axes = tuple(range(3 + axis, 3))
    centred = x - x.mean(axis=axes, keepdims=True) if op == "LayerNormalization" else x
    spread = np.sqrt((centred**2).mean(axis=axes, keepdims=True) + 1e-3)
    np.testing.assert_allclose(evaluate(network)["y"], centred / spread, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("op", "formula"),
    [
        ("Swish", lambda x: x / (1 + np.exp(-x))),
        ("HardSwish", lambda x: x * np.clip(x + 3, 0, 6) / 6),
        ("Mish", lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    ],
)
def test_activations_of_newer_operator_sets(op: str, formula: np.ufunc) -> None:
    network = single(op, {"x": (3, 4)}, (3, 4))
    x = inputs_of(network)["x"].astype(np.float64)
    np.testing.assert_allclose(evaluate(network)["y"], formula(x), rtol=1e-5, atol=1e-6)


def test_older_operator_sets_are_refused_where_nodes_would_change() -> None:
    network = single("Swish", {"x": (3, 4)}, (3, 4), opset=17)
    with pytest.raises(ValueError, match="operator set 24"):
        model_of(network)
    assert model_of(single("Relu", {"x": (3, 4)}, (3, 4), opset=17)).opset_import[0].version == 17


def test_foreign_operators_are_refused() -> None:
    with pytest.raises(ValueError, match="no ONNX form"):
        model_of(single("com.microsoft::Gelu", {"x": (3, 4)}, (3, 4)))


def test_constants_are_drawn_by_name() -> None:
    first = single("Mul", {"x": (3,)}, (3,), [Constant("w", (3,))])
    other = single("Add", {"x": (3,)}, (3,), [Constant("v", (3,)), Constant("w", (3,))])
    drawn, again = constants_of(first), constants_of(other)
    np.testing.assert_array_equal(drawn["w"], again["w"])
    assert not np.array_equal(again["v"], again["w"])


def test_inputs_that_pick_rows_are_indices() -> None:
    network = single(
        "Gather", {"ids": (7,)}, (7, 2), [Constant("rows", (5, 2))], inputs=("rows", "ids")
    )
    ids = inputs_of(network)["ids"]
    np.testing.assert_array_equal(evaluate(network)["y"], constants_of(network)["rows"][ids])


@pytest.mark.parametrize("name", ["residual", "pooled_classifier", "squeeze_excite", "shuffled"])
def test_a_resolved_network_computes_what_its_file_does(name: str) -> None:
    model = SMALL[name]()
    network = resolve(model, name, {})
    nodes = [node for node in model.graph.node if not set(node.output) & set(network.constants)]
    values = constants_of(network)
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    del whole.graph.node[:], whole.graph.initializer[:]
    whole.graph.node.extend(nodes)
    whole.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in values.items())
    names = list(network.outputs)
    expected = ReferenceEvaluator(whole).run(names, inputs_of(network, 2))
    found = evaluate(network, 2)
    for key, value in zip(names, expected, strict=True):
        np.testing.assert_allclose(found[key], np.asarray(value), rtol=1e-5, atol=1e-5)


def test_constants_without_numbers_are_drawn_as_they_are_used() -> None:
    steering = Constant("c", (4,), None, False)
    kinds = (
        (single("Gather", {"x": (7, 2)}, (4, 2), [steering]), np.int64),
        (single("Where", {"x": (4,)}, (4,), [steering], inputs=("c", "x", "x")), np.bool_),
        (single("Add", {"x": (4,)}, (4,), [steering]), np.float32),
    )
    for network, kind in kinds:
        assert constants_of(network)["c"].dtype == kind
        evaluate(network)
