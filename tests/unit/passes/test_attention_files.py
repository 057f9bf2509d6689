"""Every attention of exporters' files is found, as their architectures say; nothing is lost."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from dataflow_sim.ingest.file.load import load_model
from dataflow_sim.ingest.network import ResolvedNetwork
from dataflow_sim.ingest.passes.attention import ATTENTION
from dataflow_sim.ingest.passes.nan_guard import NAN_GUARD
from dataflow_sim.ingest.passes.rotary import OP, ROTARY
from dataflow_sim.ingest.shapes.reader import resolve
from tests.unit.passes.attentions import (
    OWN,
    attentions,
    check_contract,
    macs,
    with_values,
)
from tests.unit.passes.chains import operators, same_values

Shape = tuple[int, ...]
DIMS = {"hf_bert_mini_dynseq": {"batch": 1, "seq": 128}}


def plain(heads: int, queries: int, keys: int, depth: int, groups: int = 0) -> tuple[Shape, ...]:
    """Shapes of query, key and value of one image or sentence."""
    shared = (1, groups or heads, keys, depth)
    return (1, heads, queries, depth), shared, shared


def windows(count: int, heads: int, masks: int) -> tuple[Shape, ...]:
    """Windows of 7 x 7 with a bias per head, and a mask per window where they are shifted."""
    operand = (count, heads, 49, 32)
    return (*(operand,) * 3, *((1, heads, 49, 49), (count, 1, 49, 49))[:masks])


# Blocks of a Swin-Tiny by stage: 2, 2, 6, 2, every second one shifted, but for the last stage,
# which has one window only
SWIN = {
    windows(64, 3, 1): 1,
    windows(64, 3, 2): 1,
    windows(16, 6, 1): 1,
    windows(16, 6, 2): 1,
    windows(4, 12, 1): 3,
    windows(4, 12, 2): 3,
    windows(1, 24, 1): 2,
}
TRIANGLE = (1, 1, 128, 128)
# what attention reads -> how often, layer by layer of each architecture
EXPECTED: dict[str, dict[tuple[Shape, ...], int]] = {
    "hf_bert_base_128": {(*plain(12, 128, 128, 64), TRIANGLE): 12},
    "hf_bert_mini_dynseq": {(*plain(4, 128, 128, 64), TRIANGLE): 4},
    "hf_llama_tiny_gqa_128": {(*plain(8, 128, 128, 32, 2), TRIANGLE): 4},
    "hf_llama_tiny_decode_kv63": {(*plain(8, 1, 64, 32, 2), (1, 1, 1, 64)): 2},
    "hf_mobilebert_128": {(*plain(4, 128, 128, 32), TRIANGLE): 24},
    # the encoder sees the smallest of three maps, 20 x 20; two decoder layers see 100 queries
    "hf_rtdetr_r18_640": {plain(8, 400, 400, 32): 1, plain(8, 100, 100, 32): 2},
    # two blocks in each of four stages; the keys are reduced to 16 x 16 positions
    "hf_segformer_b0_512": {
        plain(1, 128**2, 256, 32): 2,
        plain(2, 64**2, 256, 32): 2,
        plain(5, 32**2, 256, 32): 2,
        plain(8, 16**2, 256, 32): 2,
    },
    "hf_whisper_tiny_encoder": {plain(6, 1500, 1500, 64): 4},
    "timm_deit_tiny": {plain(3, 197, 197, 64): 12},
    "timm_swin_tiny": SWIN,
    "timm_swin_tiny_script17": SWIN,
}
# Softmax nodes that weigh sampled positions or classes, and are no attention
OTHER_SOFTMAX = {"hf_rtdetr_r18_640": 2}


@cache
def network_of(path: Path) -> ResolvedNetwork:
    return resolve(load_model(path), path.stem, DIMS.get(path.stem, {}))


def reference(shared: Path, name: str) -> ResolvedNetwork:
    return network_of(shared / "models" / f"{name}.onnx")


def before_attention(network: ResolvedNetwork) -> ResolvedNetwork:
    return ROTARY.rewrite(NAN_GUARD.rewrite(network)[0])[0]


def rewritten(network: ResolvedNetwork) -> ResolvedNetwork:
    return ATTENTION.rewrite(before_attention(network))[0]


@pytest.mark.parametrize("name", EXPECTED)
def test_every_attention_is_found(shared: Path, name: str) -> None:
    network = reference(shared, name)
    new, changed = ATTENTION.rewrite(before_attention(network))
    found = Counter(tuple(new.shapes[n] for n in node.inputs) for node in attentions(new))
    assert found == EXPECTED[name]
    assert changed == tuple(node.name for node in attentions(new))
    check_contract(new)
    left = operators(new)
    assert left.get("Softmax", 0) == OTHER_SOFTMAX.get(name, 0)
    assert operators(network)["Softmax"] == len(changed) + left.get("Softmax", 0)
    assert ATTENTION.rewrite(new) == (new, ())


@pytest.mark.parametrize("name", EXPECTED)
def test_all_scales_are_one_over_the_root_of_the_depth(shared: Path, name: str) -> None:
    """However they were written: on q, on k, on both, before or behind their views."""
    new = rewritten(reference(shared, name))
    for node in attentions(new):
        depth = new.shapes[node.inputs[0]][3]
        assert node.attributes["scale"] == pytest.approx(depth**-0.5)


@pytest.mark.parametrize("name", EXPECTED)
def test_multiplications_are_conserved(shared: Path, name: str) -> None:
    network = reference(shared, name)
    new = rewritten(network)
    assert macs(new) == macs(network)
    others = [
        [node for node in each.nodes if node.op in ("Gemm", "Conv", "Einsum")]
        for each in (network, new)
    ]
    assert others[0] == others[1]


@pytest.mark.parametrize("name", EXPECTED)
def test_what_is_removed_was_read_by_attention_only(shared: Path, name: str) -> None:
    """Nodes are left as they were, or read past a factor; only new views are added."""
    network = before_attention(reference(shared, name))
    new = ATTENTION.rewrite(network)[0]
    old = {node.name: node for node in network.nodes}
    for node in new.nodes:
        if node.op == OWN:
            assert old[node.name].outputs == node.outputs
        elif node.name in old:
            assert (node.op, node.outputs) == (old[node.name].op, old[node.name].outputs)
            assert node == old[node.name] or node.op == "Reshape"
        else:
            assert (node.op, node.attributes) == ("Transpose", {"perm": (0, 2, 1, 3)})


@pytest.mark.parametrize(
    ("name", "guards", "rotations"),
    [
        ("hf_bert_mini_dynseq", 4, 0),
        ("hf_llama_tiny_decode_kv63", 2, 4),
        ("hf_llama_tiny_gqa_128", 4, 8),
        ("hf_mobilebert_128", 24, 0),
    ],
)
def test_guards_and_rotations(shared: Path, name: str, guards: int, rotations: int) -> None:
    """One guard for each attention that is masked; query and key of each layer are turned."""
    network = reference(shared, name)
    without, changed = NAN_GUARD.rewrite(network)
    assert len(changed) == guards == operators(network)["IsNaN"]
    assert {"IsNaN", "Where"}.isdisjoint(operators(without))
    turned, changed = ROTARY.rewrite(without)
    assert len(changed) == rotations == operators(turned).get(OP, 0)
    assert operators(network).get("Neg", 0) == rotations
    assert "Neg" not in operators(turned)


def test_both_exports_of_a_network_have_the_same_attentions(shared: Path) -> None:
    first, second = (
        [([new.shapes[name] for name in node.inputs], node.attributes) for node in attentions(new)]
        for new in (
            rewritten(reference(shared, name))
            for name in ("timm_swin_tiny", "timm_swin_tiny_script17")
        )
    )
    assert first == second


@pytest.mark.parametrize(
    "name",
    [
        *("hf_llama_tiny_decode_kv63", "hf_llama_tiny_gqa_128", "hf_bert_mini_dynseq"),
        pytest.param("timm_swin_tiny", marks=pytest.mark.slow),
    ],
)
def test_whole_networks_compute_the_same(shared: Path, name: str) -> None:
    network = with_values(reference(shared, name))
    same_values(network, rewritten(network), 1e-3)
