"""Transformers as layers: what is read of tables, caches and heads, and what moves nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dataflow_sim.graph.analyses import layer_macs
from dataflow_sim.graph.layer import LayerKind, TensorKind
from dataflow_sim.hardware import load_hardware
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.pipeline import run
from tests.support.models import read

DECODE = "hf_llama_tiny_decode_kv63"


@pytest.mark.parametrize(
    "name",
    [
        *("hf_bert_base_128", "hf_llama_tiny_gqa_128", "hf_mobilebert_128", "timm_deit_tiny"),
        *("hf_segformer_b0_512", "hf_whisper_tiny_encoder", "timm_swin_tiny", DECODE),
    ],
)
def test_heads_windows_and_tokens_move_nothing(name: str, shared: Path) -> None:
    graph = read(shared, name)
    assert not [layer.name for layer in graph.layers if layer.op in ("Copy", "Transpose")]
    assert not [layer.name for layer in graph.layers if layer.op in ("Reshape", "Expand")]


def test_tokens_of_a_picture_keep_its_rows(shared: Path) -> None:
    graph = read(shared, "hf_segformer_b0_512")
    shapes = [layer.body_shape for layer in graph.layers[:10]]
    assert (1, 32, 128, 128) in shapes
    products = [layer for layer in graph.layers if layer.op == "MatMul"]
    assert all(layer.kind is LayerKind.CONVOLUTION for layer in products)


def test_an_embedding_reads_the_rows_asked_for(shared: Path) -> None:
    graph = read(shared, "hf_bert_base_128")
    assert graph.tensors["m.embeddings.word_embeddings.weight"].shape == (1, 768, 128, 1)
    # 12 layers of 7,087,872, three tables, the first norm, which the exporter found equal to the
    # two norms of every layer and wrote once; no pooler
    layers = 12 * (7_087_872 - 2 * 2 * 768)
    assert graph.parameters == layers + (30_522 + 512 + 2) * 768 + 2 * 768


def test_token_numbers_keep_the_width_of_the_file(shared: Path) -> None:
    ids = read(shared, "hf_bert_base_128").tensors["ids"]
    assert (ids.bits, ids.quantised, ids.elements) == (64, True, 128)


def test_a_cache_is_read_once_and_grows_by_what_is_new(shared: Path) -> None:
    graph = read(shared, DECODE)
    machine = load_hardware("bare", {"local_memory.capacity": "1MiB"})
    result = run(graph, machine)
    # two layers, keys and values: 63 old places of 2 heads of 32 are read, one is written
    caches = [name for name in graph.inputs if name != "ids"]
    assert [graph.tensors[name].elements for name in caches] == [63 * 64] * 4
    assert result.traffic.to_json()["input_bytes"] == 4 * 63 * 64 + 8
    assert result.traffic.to_json()["output_bytes"] == 4 * 64 + 5000
    outputs = [graph.tensors[name] for name in graph.outputs]
    assert sorted(tensor.elements for tensor in outputs) == [64, 64, 64, 64, 5000]
    assert all(tensor.kind is TensorKind.OUTPUT for tensor in outputs)


def test_attention_counts_queries_times_keys(shared: Path) -> None:
    layers = read(shared, "hf_whisper_tiny_encoder").layers
    attention = [layer for layer in layers if layer.op == "Attention"]
    assert [layer_macs(layer) for layer in attention] == [2 * 6 * 1500 * 1500 * 64] * 4
    assert {layer.body_shape for layer in attention} == {(1, 384, 1500, 1)}


def test_recurrent_weights_are_learned_and_counted(shared: Path) -> None:
    graph = read(shared, "lstm_bidir_dynamo")
    # 4 gates of 256, both ways: inputs, state, and the two biases of each gate; the last layer
    first, second = 2 * 1024 * (80 + 256 + 2), 2 * 1024 * (512 + 256 + 2)
    assert graph.parameters == pytest.approx(first + second + 512 * 40 + 40, rel=0.002)


def values(**shapes: tuple[int, ...]) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]


def cached(axis: int, fresh: bool = False) -> onnx.ModelProto:
    """One query against 63 old keys and a new one, the sequence on an axis of the cache."""
    heads_first = axis == 2
    new, old, grown = ((1, 2, n, 8) if heads_first else (1, n, 2, 8) for n in (1, 63, 64))
    order = [0, 1, 3, 2] if heads_first else [0, 2, 3, 1]
    nodes = [
        helper.make_node("Identity" if fresh else "Relu", ["k"], ["new"]),
        helper.make_node("Concat", ["past", "new"], ["present"], axis=axis),
        helper.make_node("Transpose", ["present"], ["turned"], perm=order),
        helper.make_node("MatMul", ["q", "turned"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["shares"]),
        helper.make_node("MatMul", ["shares", "v"], ["y"]),
    ]
    inputs = values(q=(1, 2, 1, 8), k=new, past=old, v=(1, 2, 64, 8))
    outputs = values(y=(1, 2, 1, 8), present=grown)
    return helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=8,
    )


def standard() -> onnx.ModelProto:
    """The same by the standard's own operator, which also keeps the values."""
    names = ["q", "k", "v", "", "past", "past_v"]
    nodes = [helper.make_node("Attention", names, ["y", "present", "present_v"])]
    one, old, grown = (1, 2, 1, 8), (1, 2, 63, 8), (1, 2, 64, 8)
    graph = helper.make_graph(
        nodes,
        "g",
        values(q=one, k=one, v=one, past=old, past_v=old),
        values(y=one, present=grown, present_v=grown),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=8)


@pytest.mark.parametrize(
    ("model", "written"),
    [
        (cached(1), 16 + 16),
        (cached(2), 16 + 16),
        (cached(2, fresh=True), 16 + 16),  # the new key comes from outside, and goes to the cache
        (standard(), 16 + 2 * 16),
    ],
)
def test_only_what_is_new_of_a_cache_is_written(model: onnx.ModelProto, written: int) -> None:
    result = run(graph_from_model(model, "cached"), load_hardware("bare"))
    traffic = result.traffic.to_json()
    assert traffic["output_bytes"] == written
    assert result.macs == 2 * 64 * (8 + 8)
    assert result.traffic.total_bytes < 2 * 2 * 64 * 8 + 200


def test_channels_picked_apart_are_read_alone() -> None:
    nodes = [
        helper.make_node("Gather", ["x", "picked"], ["some"], axis=1),
        helper.make_node("Relu", ["some"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        values(x=(1, 64, 6, 6)),
        values(y=(1, 3, 6, 6)),
        [numpy_helper.from_array(np.array([5, 40, 9]), "picked")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=8)
    result = run(graph_from_model(model, "picked"), load_hardware("bare"))
    assert result.traffic.total_bytes == result.compulsory_bytes == 2 * 3 * 36
