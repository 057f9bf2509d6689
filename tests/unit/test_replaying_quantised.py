"""The stage of `replay` on quantised files: what it runs, on what widths, against what."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from dataflow_sim.errors import InputError
from dataflow_sim.hardware import Hardware, load_hardware
from dataflow_sim.ingest import ReadRequest
from dataflow_sim.pipeline import RunOptions
from dataflow_sim.replaying import ReplayOptions, replay_network
from dataflow_sim.results_of_replay import Execution
from tests.support.quantised_networks import quantised_case
from tests.unit.passes.quantised import Net

WHOLE = "every layer on whole maps"


def machine(capacity: str = "8KiB") -> Hardware:
    return load_hardware("bare", {"local_memory.capacity": capacity})


def replays(
    path: Path, *numbers: str, options: RunOptions | None = None, seconds: float | None = None
) -> dict[str, Execution]:
    asked = ReplayOptions(numbers, seed=2, seconds=seconds)
    found = replay_network(str(path), ReadRequest(), machine(), options, asked)
    assert found.passed == all(not each.fault for each in found.executions)
    return {each.numbers: each for each in found.executions}


def saved(model: onnx.ModelProto, directory: Path) -> Path:
    path = directory / "net.onnx"
    model.ir_version = 10
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("style", ["pairs on every map", "integers"])
def test_a_quantised_file_is_replayed_on_its_own_integers(style: str, tmp_path: Path) -> None:
    found = quantised_case("mixed", style)
    made = replays(saved(found.model, tmp_path))
    assert list(made) == ["integers", "quantised"]
    each = made["quantised"]
    assert (each.fault, each.left_out, each.complete) == ("", "", True)
    assert (each.weight_bits, each.activation_bits) == ((8,), (8,))
    assert each.moved_bits == each.ledger_bits == made["integers"].moved_bits
    assert each.peak_bytes == made["integers"].peak_bytes
    assert each.against == f"{WHOLE} (all the same); onnxruntime"
    maps = sum(t.elements for t in found.graph.tensors.values() if t.kind in ("map", "output"))
    assert each.elements == maps + found.expected.size
    assert each.different == 0
    assert each.largest_difference < 1e-2


def test_a_part_and_a_limit_of_time(tmp_path: Path) -> None:
    path = saved(quantised_case("mixed", "integers").model, tmp_path)
    part = replays(path, "quantised", options=RunOptions(layers="2:4"))["quantised"]
    assert (part.fault, part.against, part.different) == ("", WHOLE, 0)
    stopped = replays(path, "quantised", seconds=1e-9)["quantised"]
    assert (stopped.fault, stopped.against, stopped.complete) == ("", WHOLE, False)


def test_what_the_file_leaves_real_has_32_bits(tmp_path: Path) -> None:
    net = Net(x=(1, 4, 6, 5))
    made = net.add("Conv", net.pair("x", 1.137), net.weight(6, 4, 3, 3), net.bias(6))
    path = saved(net.model(net.add("Softmax", made, axis=1)), tmp_path)
    each = replays(path)["quantised"]
    assert (each.fault, each.weight_bits, each.activation_bits) == ("", (8,), (8, 32))
    assert each.against.startswith(WHOLE)


@pytest.mark.parametrize("kib", ["8KiB", "100B"])
def test_a_product_of_two_maps_and_what_is_normal_over_rows(kib: str, tmp_path: Path) -> None:
    """Layers that are streamed read and write the file's integers too."""
    net = Net(a=(1, 2, 6, 5), b=(1, 2, 5, 7))
    product = net.pair(net.add("MatMul", net.pair("a", 1.137), net.pair("b", 1.9)), 6.3)
    path = saved(net.model(net.pair(net.add("Softmax", product, axis=2), 1.01)), tmp_path)
    asked = ReplayOptions(("quantised",), seed=2)
    (each,) = replay_network(str(path), ReadRequest(), machine(kib), None, asked).executions
    assert (each.fault, each.different, each.complete) == ("", 0, True)
    assert each.against == f"{WHOLE} (all the same); onnxruntime"
    assert (each.weight_bits, each.activation_bits) == ((), (8,))
    assert each.whole_layers == ()


def test_why_a_file_has_no_replay_on_its_integers(tmp_path: Path) -> None:
    net = Net(x=(1, 4, 6, 5))
    first = net.add("Relu", "x")
    sides = [net.pair(first, 1.1), net.add("Neg", net.pair(first, 1.3))]
    path = saved(net.model(net.add("Add", *sides)), tmp_path)
    made = replays(path)
    assert list(made) == ["integers", "float32"]
    assert (made["float32"].fault, made["float32"].against) == ("", WHOLE)
    told = "which integers all its maps are: 'Relu0' is quantised in several ways"
    with pytest.raises(InputError, match=told):
        replays(path, "quantised")
    plain = Net(x=(1, 4, 6, 5))
    path = saved(plain.model(plain.add("Relu", "x")), tmp_path)
    with pytest.raises(InputError, match="its maps are real numbers; leave it out"):
        replays(path, "quantised")
    path = saved(quantised_case("mixed", "integers").model, tmp_path)
    forced = replays(path, options=RunOptions(activation_bits=4))
    assert forced["integers"].complete
    assert "the file states no integers of" in forced["quantised"].left_out


def test_weights_alone_in_integers_are_real_numbers_too(tmp_path: Path) -> None:
    """Their numbers, against ONNX in single precision."""
    net = Net(x=(1, 4, 6, 5))
    made = net.add("Conv", "x", net.weight(6, 4, 3, 3), net.bias(6), pads=(1, 1, 1, 1))
    path = saved(net.model(made), tmp_path)
    each = replays(path, "float32")["float32"]
    assert (each.fault, each.against, each.different) == ("", "onnxruntime", 0)
    assert each.elements == np.prod((1, 6, 6, 5))
