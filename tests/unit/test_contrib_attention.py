"""Attention and rotary operators of com.microsoft against numpy, from their documentation."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from dataflow_sim.ingest.contrib import standardised
from dataflow_sim.ingest.shapes.reader import resolve
from tests.support.contrib import assert_close, evaluated, feeds, floats, single

Array = npt.NDArray[Any]
OPSETS = (13, 17, 18, 21)
NEVER = -np.inf


def heads(x: Array, count: int) -> Array:
    """(batch, length, count × depth) as (batch, count, length, depth)."""
    batch, length, width = x.shape
    return x.reshape(batch, length, count, width // count).transpose(0, 2, 1, 3)


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    result: Array = e / e.sum(-1, keepdims=True)
    return result


def attended(
    q: Array, k: Array, v: Array, scale: float, added: Array | float
) -> tuple[Array, Array]:
    """The result as (batch, length, heads × depth), and the weights."""
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    weights = softmax(q @ k.swapaxes(-1, -2) * scale + added)
    context = (weights @ v).transpose(0, 2, 1, 3)
    return context.reshape(*context.shape[:2], -1), weights


def causal(length: int, total: int, window: int = 0) -> Array:
    """0 where a query sees a key, else minus infinity; the queries are the last positions."""
    mask = np.full((length, total), NEVER)
    for row in range(length):
        last = total - length + row
        first = max(0, last - window + 1) if window else 0
        mask[row, first : last + 1] = 0
    return mask


# ---------------------------------------------------------------- Attention


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("unidirectional", [0, 1])
@pytest.mark.parametrize("sizes", [None, (8, 8, 12)])
def test_attention(
    opset: int, bias: bool, unidirectional: int, sizes: tuple[int, ...] | None
) -> None:
    parts = sizes or (8, 8, 8)
    x, w = floats(2, 5, 6), floats(6, sum(parts))
    b = floats(sum(parts)) if bias else None
    attributes: dict[str, Any] = {"num_heads": 4, "unidirectional": unidirectional}
    attributes |= {"qkv_hidden_sizes": list(sizes)} if sizes else {}
    (y,) = evaluated("Attention", [x, w, b], attributes, opset, constants=[1])
    projected = x @ w + (0 if b is None else b)
    q, k, v = (heads(p, 4) for p in np.split(projected, np.cumsum(parts)[:2], axis=2))
    mask = causal(5, 5) if unidirectional else 0.0
    assert_close(y, attended(q, k, v, 2**-0.5, mask)[0])


@pytest.mark.parametrize("opset", [13, 21])
@pytest.mark.parametrize("with_past", [False, True])
@pytest.mark.parametrize("unidirectional", [0, 1])
def test_attention_with_a_past(opset: int, with_past: bool, unidirectional: int) -> None:
    x, w, b = floats(2, 3, 8), floats(8, 24), floats(24)
    past = floats(2, 2, 4, 5, 2) if with_past else None
    added = floats(1, 4, 3, 8 if with_past else 3)
    attributes = {"num_heads": 4, "scale": 0.3, "unidirectional": unidirectional}
    y, present = evaluated(
        "Attention", [x, w, b, None, past, added], attributes, opset, ("y", "present"), (1, 2)
    )
    q, k, v = (heads(p, 4) for p in np.split(x @ w + b, 3, axis=2))
    if past is not None:
        k, v = np.concatenate([past[0], k], 2), np.concatenate([past[1], v], 2)
    assert_close(present, np.stack([k, v]))
    mask = added + (causal(3, k.shape[2]) if unidirectional else 0.0)
    assert_close(y, attended(q, k, v, 0.3, mask)[0])


def masks(kind: str) -> tuple[Array, Array]:
    """A mask input for batch 2, length 3, total 5, and which (batch, length, total) it keeps."""
    generator = np.random.default_rng(7)
    if kind == "raw":
        mask = generator.integers(0, 2, (2, 5))
        return mask.astype(np.int32), np.broadcast_to(mask[:, None, :] > 0, (2, 3, 5))
    if kind == "full":
        mask = generator.integers(0, 2, (2, 3, 5))
        return mask.astype(np.int32), mask > 0
    ends, starts = np.array([3, 5]), np.array([1, 2] if kind == "both" else [0, 0])
    place = np.arange(5)
    keep = (place < ends[:, None]) & (place >= starts[:, None])
    given = np.concatenate([ends, starts]) if kind == "both" else ends
    return given.astype(np.int32), np.broadcast_to(keep[:, None, :], (2, 3, 5))


@pytest.mark.parametrize("kind", ["raw", "full", "ends", "both"])
@pytest.mark.parametrize("filter_value", [None, -20.0])
@pytest.mark.parametrize("unidirectional", [0, 1])
def test_masks(kind: str, filter_value: float | None, unidirectional: int) -> None:
    x, w, past = floats(2, 3, 8), floats(8, 24), floats(2, 2, 2, 2, 4)
    mask, keep = masks(kind)
    attributes: dict[str, Any] = {"num_heads": 2, "unidirectional": unidirectional}
    attributes |= {} if filter_value is None else {"mask_filter_value": filter_value}
    (y,) = evaluated("Attention", [x, w, None, mask, past], attributes, 17, constants=[1])
    q, k, v = (heads(p, 2) for p in np.split(x @ w, 3, axis=2))
    k, v = np.concatenate([past[0], k], 2), np.concatenate([past[1], v], 2)
    added = np.where(keep, 0.0, filter_value or -10000.0)[:, None]
    added = added + (causal(3, 5) if unidirectional else 0.0)
    assert_close(y, attended(q, k, v, 0.5, added)[0])
    if kind != "both":
        y, *_ = evaluated(
            "MultiHeadAttention",
            [x, k[:, :, :3].transpose(0, 2, 1, 3).reshape(2, 3, 8), x, None, mask, None,
             past[0], past[1]],
            attributes, 17,
        )  # fmt: skip
        key = np.concatenate([past[0], k[:, :, :3]], 2)
        value = np.concatenate([past[1], heads(x, 2)], 2)
        expected = attended(heads(x, 2), key, value, 0.5, added)[0]
        assert_close(y, expected)


def test_masks_of_packed_sequences_stay() -> None:
    x, w = floats(2, 3, 8), floats(8, 24)
    for mask in (np.zeros(8, np.int32), np.zeros((2, 1, 9, 9), np.int32)):
        model = single("Attention", [x, w, None, mask], {"num_heads": 2}, 17)
        assert standardised(model)[1] == ()
    for attributes in ({"do_rotary": 1}, {"past_present_share_buffer": 1}):
        model = single("Attention", [x, w], {"num_heads": 2, **attributes}, 17)
        assert standardised(model)[1] == ()


# ---------------------------------------------------------------- MultiHeadAttention


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("past", [0, 4])
@pytest.mark.parametrize("unidirectional", [0, 1])
def test_multi_head_attention(opset: int, bias: bool, past: int, unidirectional: int) -> None:
    length, new, count = 3, 3, 2
    q, k, v = floats(2, length, 8), floats(2, new, 8, seed=1), floats(2, new, 12, seed=2)
    b = floats(28) if bias else None
    past_key = floats(2, count, past, 4) if past else None
    past_value = floats(2, count, past, 6) if past else None
    added = floats(2, 1, length, past + new)
    attributes = {"num_heads": count, "unidirectional": unidirectional}
    y, present_key, present_value, weights = evaluated(
        "MultiHeadAttention", [q, k, v, b, None, added, past_key, past_value], attributes, opset,
        ("y", "present_key", "present_value", "weights"), [3] if bias else [],
    )  # fmt: skip
    if b is not None:
        q, k, v = q + b[:8], k + b[8:16], v + b[16:]
    query, key, value = (heads(x, count) for x in (q, k, v))
    if past_key is not None and past_value is not None:
        key = np.concatenate([past_key, key], 2)
        value = np.concatenate([past_value, value], 2)
    assert_close(present_key, key)
    assert_close(present_value, value)
    mask = added + (causal(length, past + new) if unidirectional else 0.0)
    expected, seen = attended(query, key, value, 0.5, mask)
    assert_close(y, expected)
    assert_close(weights, seen)


@pytest.mark.parametrize("bias", [False, True])
def test_packed_projections(bias: bool) -> None:
    packed, b = floats(2, 5, 3, 3, 4), floats(36) if bias else None
    (y,) = evaluated("MultiHeadAttention", [packed, None, None, b], {"num_heads": 3}, 13)
    parts = [packed[:, :, :, i].reshape(2, 5, 12) for i in range(3)]
    if b is not None:
        parts = [part + b[12 * i : 12 * i + 12] for i, part in enumerate(parts)]
    query, key, value = (heads(part, 3) for part in parts)
    expected = attended(query, key, value, 0.5, 0.0)[0]
    assert_close(y, expected)
    if b is not None:
        return
    q, keys = floats(2, 4, 12), floats(2, 5, 3, 2, 4)
    (y,) = evaluated("MultiHeadAttention", [q, keys], {"num_heads": 3}, 13)
    k, v = (keys[:, :, :, i].transpose(0, 2, 1, 3) for i in (0, 1))
    assert_close(y, attended(heads(q, 3), k, v, 0.5, 0.0)[0])
    (y,) = evaluated("MultiHeadAttention", [q, k.copy(), v.copy()], {"num_heads": 3}, 13)
    assert_close(y, attended(heads(q, 3), k, v, 0.5, 0.0)[0])


def test_a_shared_buffer_stays() -> None:
    q = floats(2, 1, 8)
    inputs = [
        q,
        q,
        q,
        None,
        None,
        None,
        floats(2, 2, 9, 4),
        floats(2, 2, 9, 4),
        np.array([3], np.int32),
    ]
    model = single("MultiHeadAttention", inputs, {"num_heads": 2}, 17)
    assert standardised(model)[1] == ()
    assert standardised(single("MultiHeadAttention", [q], {"num_heads": 2}, 17))[1] == ()


# ---------------------------------------------------------------- rotary embedding


def turned(x: Array, cos: Array, sin: Array, positions: Array, interleaved: bool) -> Array:
    """Each pair of (batch, heads, length, depth) turned, one by one."""
    half = cos.shape[1]
    y = x.astype(np.float64).copy()
    for b in range(x.shape[0]):
        for s in range(x.shape[2]):
            for i in range(half):
                first, second = (2 * i, 2 * i + 1) if interleaved else (i, i + half)
                c, n = cos[positions[b, s], i], sin[positions[b, s], i]
                a, z = x[b, :, s, first].copy(), x[b, :, s, second].copy()
                y[b, :, s, first] = a * c - z * n
                y[b, :, s, second] = z * c + a * n
    return y


def caches(length: int, half: int) -> tuple[Array, Array]:
    angles = np.arange(length)[:, None] * 10.0 ** (-np.arange(half) / half)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("width", [0, 4])
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("one_position", [False, True])
def test_rotary_embedding(
    opset: int, interleaved: int, width: int, flat: bool, one_position: bool
) -> None:
    x = floats(2, 3, 5, 8)
    cos, sin = caches(16, (width or 8) // 2)
    places = np.array([[4, 0, 1, 9, 2], [3, 5, 5, 1, 15]])
    shown = np.array([6]) if one_position else places
    if one_position:
        places = np.broadcast_to(6 + np.arange(5), (2, 5))
    attributes = {"interleaved": interleaved}
    if width:
        attributes |= {"rotary_embedding_dim": width, "num_heads": 3}
    entry = x.transpose(0, 2, 1, 3).reshape(2, 5, 24) if flat else x
    inputs = [entry, shown.astype(np.int64), cos, sin]
    (y,) = evaluated("RotaryEmbedding", inputs, attributes, opset, constants=[2, 3])
    expected = turned(x, cos, sin, places, bool(interleaved))
    if flat:
        expected = expected.transpose(0, 2, 1, 3).reshape(2, 5, 24)
    assert_close(y, expected)


def test_rotary_embedding_of_packed_sequences_stays() -> None:
    cos, sin = caches(16, 4)
    inputs = [floats(2, 3, 5, 8), np.zeros((2, 5), np.int64), cos, sin]
    for attributes in ({"is_packed_batching": 1}, {"scale": 0.5}):
        assert standardised(single("RotaryEmbedding", inputs, attributes, 17))[1] == ()


# ---------------------------------------------------------------- GroupQueryAttention


def grouped(
    operands: tuple[Array, Array, Array],
    past: tuple[Array, Array] | None,
    added: Array | float,
    sink: Array | None = None,
    cap: float = 0.0,
) -> tuple[Array, Array, Array]:
    """Attention with shared heads of (batch, heads, length, depth): result, keys, values."""
    q, k, v = operands
    if past is not None:
        k, v = np.concatenate([past[0], k], 2), np.concatenate([past[1], v], 2)
    times = q.shape[1] // k.shape[1]
    wide = [np.repeat(x.astype(np.float64), times, 1) for x in (k, v)]
    scores = q @ wide[0].swapaxes(-1, -2) * q.shape[-1] ** -0.5
    scores = np.tanh(scores / cap) * cap if cap else scores
    e = np.exp(scores + added)
    total = e.sum(-1, keepdims=True)
    if sink is not None:
        total = total + np.exp(sink.astype(np.float64)).reshape(1, -1, 1, 1)
    context = (e / total @ wide[1]).transpose(0, 2, 1, 3)
    return context.reshape(*context.shape[:2], -1), k, v


def lengths(batch: int, total: int) -> list[Array]:
    return [np.full(batch, total - 1, np.int32), np.array(total, np.int32)]


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("shared", [4, 2, 1])
@pytest.mark.parametrize(("past", "length"), [(0, 5), (6, 1), (3, 4)])
@pytest.mark.parametrize("packed", [False, True])
def test_group_query_attention(
    opset: int, shared: int, past: int, length: int, packed: bool
) -> None:
    q, k, v = (floats(2, length, n * 8, seed=i) for i, n in enumerate((4, shared, shared)))
    cache = tuple(floats(2, shared, past, 8, seed=i) for i in (5, 6)) if past else (None, None)
    entry = [np.concatenate([q, k, v], 2), None, None] if packed else [q, k, v]
    y, keys, values = evaluated(
        "GroupQueryAttention", [*entry, *cache, *lengths(2, past + length)],
        {"num_heads": 4, "kv_num_heads": shared}, opset, ("y", "keys", "values"),
    )  # fmt: skip
    operands = heads(q, 4), heads(k, shared), heads(v, shared)
    before = None if cache[0] is None else (cache[0], cache[1])
    expected = grouped(operands, before, causal(length, past + length))
    assert_close(y, expected[0])
    assert_close(keys, expected[1])
    assert_close(values, expected[2])


@pytest.mark.parametrize("opset", [13, 21])
@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("half", [4, 2])
@pytest.mark.parametrize("past", [0, 6])
@pytest.mark.parametrize("stated", [False, True])
def test_rotation_inside(opset: int, interleaved: int, half: int, past: int, stated: bool) -> None:
    length = 3
    q, k, v = (floats(2, length, n * 8, seed=i) for i, n in enumerate((4, 2, 2)))
    cache = tuple(floats(2, 2, past, 8, seed=i) for i in (5, 6)) if past else (None, None)
    cos, sin = caches(20, half)
    positions = np.array([[8, 3, 1], [0, 19, 4]]) if stated else None
    places = past + np.broadcast_to(np.arange(length), (2, 3)) if positions is None else positions
    attributes = {"num_heads": 4, "kv_num_heads": 2, "do_rotary": 1}
    inputs = [q, k, v, *cache, *lengths(2, past + length), cos, sin, positions]
    y, keys, _ = evaluated(
        "GroupQueryAttention", inputs, {**attributes, "rotary_interleaved": interleaved}, opset,
        ("y", "keys", "values"), (7, 8),
    )  # fmt: skip
    query, key = (
        turned(heads(x, n), cos, sin, places, bool(interleaved)) for x, n in ((q, 4), (k, 2))
    )
    before = None if cache[0] is None else (cache[0], cache[1])
    expected = grouped((query, key, heads(v, 2)), before, causal(length, past + length))
    assert_close(y, expected[0])
    assert_close(keys, expected[1])


@pytest.mark.parametrize("window", [1, 3, 20])
def test_window(window: int) -> None:
    q, k, v = (floats(2, 5, n * 8, seed=i) for i, n in enumerate((4, 2, 2)))
    cache = floats(2, 2, 3, 8), floats(2, 2, 3, 8, seed=1)
    attributes = {"num_heads": 4, "kv_num_heads": 2, "local_window_size": window}
    (y,) = evaluated("GroupQueryAttention", [q, k, v, *cache, *lengths(2, 8)], attributes, 17)
    operands = heads(q, 4), heads(k, 2), heads(v, 2)
    expected = grouped(operands, cache, causal(5, 8, window))[0]
    assert_close(y, expected)


@pytest.mark.parametrize("sink", [False, True])
@pytest.mark.parametrize("cap", [0.0, 2.0])
@pytest.mark.parametrize("is_causal", [0, 1])
def test_softness(sink: bool, cap: float, is_causal: int) -> None:
    q, k, v = (floats(2, 5, n * 8, seed=i) for i, n in enumerate((4, 2, 2)))
    added = floats(2, 1, 5, 5, seed=9)
    extra = floats(4) if sink else None
    attributes: dict[str, Any] = {"num_heads": 4, "kv_num_heads": 2, "softcap": cap}
    attributes |= {"causal": is_causal} | ({} if sink else {"smooth_softmax": 1})
    inputs = [q, k, v, None, None, *lengths(2, 5), None, None, None, added, extra]
    (y,) = evaluated("GroupQueryAttention", inputs, attributes, 17)
    mask = added + (causal(5, 5) if is_causal else 0.0)
    operands = heads(q, 4), heads(k, 2), heads(v, 2)
    sinks = np.zeros(4) if extra is None else extra
    assert_close(y, grouped(operands, None, mask, sinks, cap)[0])


def test_normalised_heads() -> None:
    q, k, v = (floats(2, 5, n * 8, seed=i) for i, n in enumerate((4, 2, 2)))
    scales = floats(8), floats(8, seed=1)
    inputs = [q, k, v, None, None, *lengths(2, 5), *(7 * [None]), *scales]
    attributes = {"num_heads": 4, "kv_num_heads": 2, "qk_norm_epsilon": 0.01}
    (y,) = evaluated("GroupQueryAttention", inputs, attributes, 17, constants=[14, 15])

    def normed(x: Array, scale: Array) -> Array:
        result: Array = x / np.sqrt((x.astype(np.float64) ** 2).mean(-1, keepdims=True) + 0.01)
        return result * scale

    operands = normed(heads(q, 4), scales[0]), normed(heads(k, 2), scales[1]), heads(v, 2)
    assert_close(y, grouped(operands, None, causal(5, 5))[0])


def test_caches_of_another_kind_stay() -> None:
    q, k = floats(1, 1, 32), floats(1, 1, 16)
    cache = floats(1, 2, 3, 8)
    inputs = [q, k, k, cache, cache, *lengths(1, 4)]
    for attributes in (
        {"k_quant_type": "PER_TENSOR"},
        {"sliding_window_cache": 1},
        {"do_rotary": 1},
    ):
        heads_ = {"num_heads": 4, "kv_num_heads": 2}
        model = single("GroupQueryAttention", inputs, {**heads_, **attributes}, 17)
        assert standardised(model)[1] == ()
    model = single("GroupQueryAttention", inputs, {"num_heads": 4, "kv_num_heads": 3}, 17)
    assert standardised(model)[1] == ()


def decoder() -> onnx.ModelProto:
    """A grouped attention over symbolic lengths, as decoders are exported, in 16-bit floats."""
    kind = TensorProto.FLOAT16
    node = helper.make_node(
        "GroupQueryAttention",
        ["q", "k", "v", "past_key", "past_value", "seqlens", "total", "cos", "sin"],
        ["y", "key", "value"], "gqa", None, "com.microsoft",
        num_heads=4, kv_num_heads=2, do_rotary=1,
    )  # fmt: skip
    shapes: dict[str, tuple[int, list[Any]]] = {
        "q": (kind, ["batch", "length", 32]),
        "k": (kind, ["batch", "length", 16]),
        "v": (kind, ["batch", "length", 16]),
        "past_key": (kind, ["batch", 2, "past", 8]),
        "past_value": (kind, ["batch", 2, "past", 8]),
        "seqlens": (TensorProto.INT32, ["batch"]),
        "total": (TensorProto.INT32, []),
    }
    cos, sin = (table.astype(np.float16) for table in caches(40, 4))
    graph = helper.make_graph(
        [node],
        "decoder",
        [helper.make_tensor_value_info(name, *stated) for name, stated in shapes.items()],
        [helper.make_empty_tensor_value_info(name) for name in ("y", "key", "value")],
        [onnx.numpy_helper.from_array(cos, "cos"), onnx.numpy_helper.from_array(sin, "sin")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def test_lengths_fold_away() -> None:
    """With its dimensions bound the network has no shape arithmetic left, and its products."""
    model, names = standardised(decoder())
    assert names == ("gqa",)
    network = resolve(model, "decoder", {"batch": 1, "length": 2, "past": 30})
    steering = {"Shape", "Gather", "Range", "Cast", "Sqrt", "Reciprocal", "LessOrEqual", "Where"}
    assert [node.op for node in network.nodes if node.op in steering] == []
    products = [node for node in network.nodes if node.op == "MatMul"]
    assert [network.shapes[node.outputs[0]] for node in products] == [(1, 4, 2, 32), (1, 4, 2, 8)]
    assert network.shapes["y"] == (1, 2, 32)
    assert network.shapes["key"] == (1, 2, 32, 8)
    softmax_ = next(node for node in network.nodes if node.op == "Softmax")
    assert network.bits[softmax_.outputs[0]] == 16


def test_query_and_key_share_their_angles() -> None:
    model, _ = standardised(decoder())
    network = resolve(model, "decoder", {"batch": 1, "length": 2, "past": 30})
    tables = [
        name
        for node in network.nodes
        if node.op == "Mul"
        for name in node.inputs
        if name in network.constants and network.constants[name].shape == (1, 2, 8)
    ]
    assert len(tables) == 4
    assert len(set(tables)) == 2


def test_half_precision() -> None:
    model, _ = standardised(decoder())
    q, k, v = (floats(2, 3, n * 8, seed=i).astype(np.float16) for i, n in enumerate((4, 2, 2)))
    cache = floats(2, 2, 6, 8).astype(np.float16), floats(2, 2, 6, 8, seed=1).astype(np.float16)
    names = ["q", "k", "v", "past_key", "past_value", "seqlens", "total"]
    inputs = dict(zip(names, [q, k, v, *cache, *lengths(2, 9)], strict=True))
    y, *_ = (np.asarray(r) for r in ReferenceEvaluator(model).run(None, inputs))
    assert y.dtype == np.float16
    cos, sin = caches(40, 4)
    places = 6 + np.broadcast_to(np.arange(3), (2, 3))
    operands = (
        turned(heads(q, 4), cos, sin, places, False),
        turned(heads(k, 2), cos, sin, places, False),
        heads(v, 2),
    )
    expected = grouped(operands, cache, causal(3, 9))[0]
    assert_close(y, expected, rtol=0.02, atol=0.02)


def test_unknown_shapes_are_read_from_the_values() -> None:
    """Nothing stated of the inputs but their types."""
    x, w = floats(2, 5, 6), floats(6, 24)
    model = single("Attention", [x, w], {"num_heads": 4, "unidirectional": 1}, 13, constants=[1])
    model.graph.input[0].type.tensor_type.ClearField("shape")
    new, names = standardised(model)
    assert names == ("node",)
    (y,) = ReferenceEvaluator(new).run(None, feeds([x, w], [1]))
    q, k, v = (heads(p, 4) for p in np.split(x @ w, 3, axis=2))
    assert_close(y, attended(q, k, v, 2**-0.5, causal(5, 5))[0])
