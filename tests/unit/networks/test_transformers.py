"""Transformers: counts in closed form, the exporters' files, and what masks and caches do."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from dataflow_sim.graph.analyses import layer_macs
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import load_hardware
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks.classification import vit
from dataflow_sim.networks.language import bert, gpt2, llama, mobilebert
from dataflow_sim.networks.row import BuiltIn
from dataflow_sim.networks.weights import random_weights
from dataflow_sim.pipeline import run
from tests.support.models import read

Array = npt.NDArray[np.float32]

ROWS: Mapping[str, BuiltIn] = {
    row.name: row for family in (vit, bert, mobilebert, gpt2, llama) for row in family.NETWORKS
}
# the decoder that was exported: 256 features, 8 heads in 2 groups, 5000 tokens known
EXPORTED = llama.Sizes(256, 4, 8, 2, 688, 5000, 128)


@cache
def graph(name: str, **numbers: int) -> NetworkGraph:
    return graph_from_model(ROWS[name].model(name, numbers), name)


def macs(network: NetworkGraph) -> int:
    return sum(map(layer_macs, network.layers))


# ------------------------------------------------------------------ counts


@pytest.mark.parametrize(
    ("name", "tokens", "width"),
    [("bert_base", 100, 768), ("bert_large", 3, 1024), ("gpt2", 77, 768), ("bert_tiny", 1, 128)],
)
def test_a_layer_costs_what_its_matrices_do(name: str, tokens: int, width: int) -> None:
    two, three = (graph(name, tokens=tokens, layers=layers) for layers in (2, 3))
    matrices = 4 * width * width + 2 * width * 4 * width
    biases = 4 * width + 4 * width + width
    assert three.parameters - two.parameters == matrices + biases + 2 * 2 * width
    assert macs(three) - macs(two) == tokens * matrices + 2 * tokens * tokens * width


@pytest.mark.parametrize("name", ["llama2_7b", "llama3_8b", "tinyllama_1b"])
def test_a_gated_layer_costs_what_its_matrices_do(name: str) -> None:
    sizes = llama.SIZES[name]
    two, three = (graph(name, tokens=9, layers=layers) for layers in (2, 3))
    kept = sizes.groups * sizes.width // sizes.heads
    matrices = 2 * sizes.width * (sizes.width + kept) + 3 * sizes.width * sizes.hidden
    assert three.parameters - two.parameters == matrices + 2 * sizes.width
    assert macs(three) - macs(two) == 9 * matrices + 2 * 9 * 9 * sizes.width


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # 12 layers of 12 d^2 + 13 d, patches, positions and class token, last norm, classifier
        *(("vit_b16", 86_567_656), ("deit_tiny", 5_717_416), ("deit_base", 86_567_656)),
        ("bert_base", 12 * 7_087_872 + (30_522 + 512 + 2) * 768 + 2 * 768 + 768 * 769),
        ("gpt2", 12 * 7_087_872 + (50_257 + 1024) * 768 + 2 * 768),
        *(("llama2_7b", 6_738_415_616), ("llama3_8b", 8_030_261_248)),
        ("tinyllama_1b", 1_100_048_384),
    ],
)
def test_parameters_are_those_of_the_released_weights(name: str, parameters: int) -> None:
    assert graph(name).parameters == parameters
    assert not graph(name).warnings


@pytest.mark.parametrize("name", ["bert_tiny", "bert_mini", "bert_small", "bert_medium"])
def test_compact_sizes_are_published_with_the_head_of_the_masked_words(name: str) -> None:
    network = graph(name)
    width = network.tensors[network.outputs[1]].elements
    head = width * width + width + 2 * width + bert.VOCABULARY
    (published,) = ROWS[name].published
    assert network.parameters + head == pytest.approx(published.parameters, rel=0.01)


def test_tokens_change_no_parameters() -> None:
    # the whole table of positions is learned, whatever part of it is read
    for name in ("bert_mini", "gpt2", "mobilebert_tiny", "tinyllama_1b"):
        assert graph(name, tokens=5, layers=1).parameters == graph(name, layers=1).parameters


def test_the_table_of_tokens_is_counted_once_and_read_twice() -> None:
    network = graph("gpt2", tokens=4, layers=1)
    # four of its rows for four tokens, and all of it, transposed, for the logits
    rows, whole = (network.tensors[each] for each in ("embedding.token.weight", "head.weight"))
    assert (rows.elements, whole.elements) == (4 * 768, gpt2.VOCABULARY * 768)
    assert macs(network) == 4 * 7_077_888 + 2 * 16 * 768 + 4 * 768 * gpt2.VOCABULARY
    assert network.parameters == 7_087_872 + (50_257 + 1024) * 768 + 2 * 768


@pytest.mark.parametrize("resolution", [16, 224, 384])
def test_patches_of_a_picture_are_tokens(resolution: int) -> None:
    tokens = (resolution // 16) ** 2 + 1
    network = graph("deit_small", resolution=resolution, layers=2)
    layers = 2 * (12 * 384 * 384 * tokens + 2 * tokens * tokens * 384)
    assert macs(network) == layers + (tokens - 1) * 768 * 384 + 384 * 1000


# ------------------------------------------------------------------ MobileBERT, claim arm-09


def test_mobilebert_is_near_its_published_counts() -> None:
    network = graph("mobilebert")
    assert network.parameters == pytest.approx(25_300_000, rel=0.03)
    assert macs(network) == pytest.approx(2_690_000_000, rel=0.002)
    assert macs(network) == pytest.approx(5_700_000_000 / 2, rel=0.06)
    tiny = graph("mobilebert_tiny")
    assert tiny.parameters == pytest.approx(15_100_000, rel=0.03)
    assert macs(tiny) == pytest.approx(3_100_000_000 / 2, rel=0.02)


def test_mobilebert_differs_from_its_table_by_the_shared_bottleneck() -> None:
    # table 1: queries, keys and values from 512 features; released: queries and keys from 128,
    # which a bottleneck with a norm of its own makes
    table = 2 * (512 * 128 + 128)
    released = (512 * 128 + 128 + 2 * 128) + 2 * (128 * 128 + 128)
    products = 2 * 512 * 128 - (512 * 128 + 2 * 128 * 128)
    assert table - released == 32_384
    network = graph("mobilebert")
    assert network.parameters + 24 * (table - released) == 25_359_104
    assert network.parameters + 24 * (table - released) == pytest.approx(25_300_000, rel=0.01)
    assert macs(network) + 24 * 128 * products == pytest.approx(2_850_000_000, rel=0.02)


@pytest.mark.parametrize("name", ["mobilebert", "mobilebert_tiny"])
def test_other_norms_and_activations_change_no_count_but_more_traffic(name: str) -> None:
    plain, other = graph(name, layers=2), graph(f"{name}_layernorm_gelu", layers=2)
    assert (plain.parameters, macs(plain)) == (other.parameters, macs(other))
    norms = [layer for layer in other.layers if layer.op == "LayerNormalization"]
    # the embedding, and of each layer its bottlenecks, attention, feed-forwards and last sum
    assert len(norms) == 1 + 2 * (8 if name == "mobilebert" else 5)
    assert not [layer for layer in plain.layers if layer.op == "LayerNormalization"]
    machine = load_hardware("bare", {"local_memory.capacity": "64KiB"})
    assert run(plain, machine).traffic.total_bytes < run(other, machine).traffic.total_bytes


# ------------------------------------------------------------------ the exporters' files


@pytest.mark.parametrize(
    ("name", "file", "pooler"),
    [
        ("bert_base", "hf_bert_base_128", 768 * 768),  # the files have no pooler
        ("bert_mini", "hf_bert_mini_dynseq", 256 * 256),
        ("mobilebert", "hf_mobilebert_128", 0),
        ("deit_tiny", "timm_deit_tiny", 0),
    ],
)
def test_macs_equal_the_exported_file(name: str, file: str, pooler: int, shared: Path) -> None:
    assert macs(graph(name)) - pooler == macs(read(shared, file))


def test_exported_decoders_have_the_same_macs_and_layers(shared: Path) -> None:
    built = graph_from_model(llama.prefill("g", 128, 4, EXPORTED.vocabulary, EXPORTED), "g")
    file = read(shared, "hf_llama_tiny_gqa_128")
    assert macs(built) == macs(file) == 551_813_120
    assert sorted(layer.op for layer in built.layers) == sorted(layer.op for layer in file.layers)
    built = graph_from_model(llama.decode("g", 63, 2, EXPORTED.vocabulary, EXPORTED), "g")
    file = read(shared, "hf_llama_tiny_decode_kv63")
    assert macs(built) == macs(file) == 2_729_984
    assert sorted(layer.op for layer in built.layers) == sorted(layer.op for layer in file.layers)
    assert [built.tensors[n].elements for n in built.inputs] == [1, *[2 * 63 * 32] * 4]


# ------------------------------------------------------------------ caches


@pytest.mark.parametrize(
    ("name", "groups", "head"),
    [
        *(("gpt2_decode", 12, 64), ("llama2_7b_decode", 32, 128)),
        *(("llama3_8b_decode", 8, 128), ("tinyllama_1b_decode", 4, 64)),
    ],
)
def test_decoding_reads_the_cache_once_and_writes_what_is_new(
    name: str, groups: int, head: int
) -> None:
    network = graph(name, cache=100, layers=2)
    assert network.parameters == graph(name.removesuffix("_decode"), layers=2).parameters
    caches = [network.tensors[each] for each in network.inputs if each != "ids"]
    assert sum(tensor.elements for tensor in caches) == 2 * 2 * groups * 100 * head
    new = [network.tensors[each].elements for each in network.outputs[1:]]
    assert new == [groups * head] * 4
    result = run(network, load_hardware("bare", {"local_memory.capacity": "1MiB"}))
    traffic = result.traffic.to_json()
    # a byte an element, the number of the token eight
    assert traffic["input_bytes"] == 8 + 4 * groups * 100 * head
    logits = network.tensors[network.outputs[0]].elements
    assert traffic["output_bytes"] == logits + 4 * groups * head


def test_decoding_attends_to_the_cache_and_to_itself() -> None:
    long, short = (graph("llama3_8b_decode", cache=cache, layers=2) for cache in (999, 499))
    # 32 heads of queries look at each further position, keys and values
    assert macs(long) - macs(short) == 2 * 2 * 500 * 32 * 128
    assert not [layer.op for layer in long.layers if layer.op in ("Copy", "Expand", "Concat")]


# ------------------------------------------------------------------ what is computed


def with_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    for tensor, values in random_weights(model, 5):
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model


def with_outputs(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return model


def computed(model: onnx.ModelProto, feeds: Mapping[str, npt.NDArray[np.generic]]) -> list[Array]:
    return list(ReferenceEvaluator(model).run(None, dict(feeds)))


def small_models(
    family: str, monkeypatch: pytest.MonkeyPatch, length: int
) -> tuple[onnx.ModelProto, onnx.ModelProto, list[str]]:
    """Prefill of so many tokens, decoding of the last of them, and the values of its caches."""
    places = [f"layer{layer}.{kind}" for layer in (1, 2) for kind in ("key", "value")]
    if family == "gpt2":
        for size, value in (("VOCABULARY", 50), ("_WIDTH", 48), ("_HEADS", 4)):
            monkeypatch.setattr(gpt2, size, value)
        whole, last = gpt2.gpt2("g", length, 2), gpt2.gpt2_decode("g", length - 1, 2)
        return whole, last, [f"{place}.heads" for place in places]
    sizes = llama.Sizes(32, 2, 4, 2 if family == "grouped" else 4, 48, 50, length)
    whole = llama.prefill("g", length, 2, sizes.vocabulary, sizes)
    last = llama.decode("g", length - 1, 2, sizes.vocabulary, sizes)
    kinds = {"key": "turned", "value": "heads"}
    return whole, last, [f"{place}.{kinds[place.split('.')[1]]}" for place in places]


@pytest.mark.parametrize("family", ["gpt2", "alike", "grouped"])
def test_decoding_the_last_token_gives_what_prefill_gives(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, last, kept = small_models(family, monkeypatch, 6)
    ids = np.array([[3, 14, 15, 9, 26, 5]])
    logits, *caches = computed(with_outputs(with_weights(whole), kept), {"ids": ids})
    pasts = [value.name for value in last.graph.input if value.name != "ids"]
    assert [name.removeprefix("past.") for name in pasts] == [
        name.rpartition(".")[0] for name in kept
    ]
    feeds = {name: each[:, :, :5] for name, each in zip(pasts, caches, strict=True)}
    found, *presents = computed(with_weights(last), {"ids": ids[:, 5:], **feeds})
    np.testing.assert_allclose(found[0, 0], logits[0, 5], rtol=1e-3, atol=1e-4)
    for present, each in zip(presents, caches, strict=True):
        np.testing.assert_allclose(present, each, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", ["gpt2", "grouped"])
def test_no_token_sees_a_later_one(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _, _ = small_models(family, monkeypatch, 6)
    model = with_weights(whole)
    first, second = (
        computed(model, {"ids": np.array([[3, 14, 15, word, 26, 5]])})[0][0] for word in (9, 31)
    )
    assert np.array_equal(first[:3], second[:3])
    assert (np.abs(first[3:] - second[3:]).max(axis=1) > 1e-3).all()


def test_rotary_products_depend_on_the_distance_alone() -> None:
    sizes = llama.Sizes(8, 1, 1, 1, 8, 50, 64)
    products = []
    for start in (0, 17):
        decoder = llama.Decoder("g", sizes, start, 4)
        heads = decoder.net.input("heads", (1, 1, 4, 8))
        model = decoder.net.model(decoder.turned("turned", heads))
        rows = np.random.default_rng(1).standard_normal((1, 1, 4, 8)).astype(np.float32)
        (turned,) = computed(model, {"ids": np.zeros((1, 4), np.int64), "heads": rows})
        products.append(turned[0, 0] @ turned[0, 0].T)
        assert np.allclose(np.linalg.norm(turned, axis=-1), np.linalg.norm(rows, axis=-1))
    here, there = products
    np.testing.assert_allclose(here, there, rtol=1e-4, atol=1e-4)
