"""Changed networks are executed: every program to its end, to the integers of whole layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
import pytest

from dataflow_sim.hardware import load_hardware
from dataflow_sim.ingest import ReadRequest
from dataflow_sim.pipeline import RunOptions
from dataflow_sim.replaying import ReplayOptions, replay_network
from dataflow_sim.whatif import parse
from tests.support.by_hand import SHARED, SHARED_WITH_THE_OUTPUT
from tests.support.small import SMALL
from tests.support.tokens import TOKENS


def assert_executed(name: str, policy: str, texts: Sequence[str], memory: str = "256KiB") -> None:
    """Every program runs to its end, to the very integers of whole layers."""
    found = replay_network(
        name,
        ReadRequest(),
        load_hardware("bare", {"local_memory.capacity": memory}),
        RunOptions(policy=policy),
        ReplayOptions(numbers=("integers",)),
        what_ifs=parse(texts),
    )
    assert found.passed
    assert [each.text for each in found.what_ifs] == list(texts)
    for each in found.executions:
        assert each.passed, each.fault
        assert each.complete
        assert each.elements > 0
        assert each.different == 0
        assert each.moved_bits == each.ledger_bits > 0


CONVOLUTIONAL = (
    "prune=0.5",
    "prune=0.4:by=size",
    "width=1.3",
    "folding=off",
    "weight_bits=4",
    "activation_bits=5",
)
REPLAYED = [
    ("ds_cnn_s", (*CONVOLUTIONAL, "bottleneck=fused", "kernel=3to5")),
    ("mobilenet_v1@0.1-32", ("width=1.3", "bottleneck=fused")),
    ("mobilenet_v3_small@0.1-32", ("kernel=5to3",)),
    ("efficientnet_edgetpu_s@32-0.1", ("separable=on", "bottleneck=inverted")),
    ("squeezenet1_1@32", ("prune=0.5:multiple=8", "separable=on", "concat=copy")),
    ("unet_padded@16-2", ("prune=0.5", "separable=on", "folding=off", "concat=copy")),
    ("fsrcnn_s@8", (*CONVOLUTIONAL, "separable=on", "kernel=5to3", "kernel=3to5")),
    ("bert_tiny@4-1", ("gelu=relu", "layer_norm=no_norm", "prune=0.5")),
    ("mobilebert_tiny_layernorm_gelu@4-1", ("gelu=relu", "layer_norm=no_norm")),
    (
        "deit_tiny@32-1",
        (*("gelu=relu", "layer_norm=no_norm", "width=1.3"), *CONVOLUTIONAL[3:]),
    ),
]


@pytest.mark.parametrize(
    ("name", "text"),
    [pytest.param(name, text, id=f"{name}-{text}") for name, texts in REPLAYED for text in texts],
)
def test_changed_networks_compute_what_their_layers_do(name: str, text: str) -> None:
    assert_executed(name, "layerwise", [text])


@pytest.mark.parametrize(
    ("name", "policy", "memory", "texts"),
    [
        ("padded_chain", "merged", "1KiB", ("prune=0.5", "separable=on")),
        ("residual", "merged", "2KiB", ("width=1.7", "kernel=3to5")),
        ("concatenated", "merged", "1KiB", ("concat=copy", "weight_bits=4")),
        ("densely_connected", "merged", "1KiB", ("folding=behind", "concat=copy")),
        ("densely_connected", "resident", "1KiB", ("folding=behind",)),
        ("depthwise", "merged", "2KiB", ("folding=off", "weight_bits=4", "activation_bits=5")),
        ("pooled_classifier", "resident", "1KiB", ("prune=0.3:by=size", "weight_bits=3")),
        ("squeeze_excite", "resident", "1KiB", ("folding=off", "width=2")),
        ("decoder", "resident", "2KiB", ("prune=0.5", "separable=on", "activation_bits=5")),
        ("volumes", "layerwise", "1KiB", ("width=1.7", "weight_bits=4")),
        ("mixer", "resident", "1KiB", ("layer_norm=no_norm", "gelu=relu", "prune=0.5")),
        ("tiny_mobilenet_v1", "resident", "4KiB", ("width=0.5:multiple=3", "bottleneck=fused")),
    ],
)
def test_several_changes_in_little_memory(
    tmp_path: Path, name: str, policy: str, memory: str, texts: tuple[str, ...]
) -> None:
    """Written to a file, read again, and executed where tiles are small."""
    path = tmp_path / f"{name}.onnx"
    path.write_bytes({**SMALL, **TOKENS}[name]().SerializeToString())
    assert_executed(str(path), policy, [step[1].text for step in parse(texts).steps], memory)


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (SHARED, "prune=0.5"),
        (SHARED, "prune=0.5:by=size"),
        (SHARED, "separable=on"),
        (SHARED_WITH_THE_OUTPUT, "separable=on"),
    ],
)
def test_networks_that_share_a_kernel_are_executed(
    tmp_path: Path, model: onnx.ModelProto, text: str
) -> None:
    path = tmp_path / "shared.onnx"
    path.write_bytes(model.SerializeToString())
    assert_executed(str(path), "layerwise", [text])
