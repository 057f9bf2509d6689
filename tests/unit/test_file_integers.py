"""The integers of a quantised file in memory: codecs, sums, what is refused, what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.passes import Precision, assign_precision
from dataflow_sim.graph.quantisation import Quantisation
from dataflow_sim.graph.region import Box, Span, whole
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.program.instructions import Compute
from dataflow_sim.schedule.types import SINGLE, MemoryOptions
from dataflow_sim.simulate.codec import FLOAT32, TWOS_COMPLEMENT
from dataflow_sim.simulate.file_integers import Affine, FileIntegers, Sums
from dataflow_sim.simulate.quantised import decode, encode
from dataflow_sim.simulate.replay import replay_quantised
from dataflow_sim.simulate.whole import evaluate_layers
from tests.support.groups import grouped
from tests.support.quantised_networks import WIDTHS, quantised_case, result_of
from tests.support.runs import least_budget, proved, scheduled
from tests.unit.passes.quantised import Net, draw


def meaning(bits: int, signed: bool, zero: int = 0, scale: float = 0.25) -> Quantisation:
    return Quantisation(np.array(scale), np.array(zero), bits, signed)


# ---------------------------------------------------------------- codecs


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("bits", "wide"), [(2, 2), (4, 4), (4, 8), (8, 8), (8, 24), (16, 16)])
def test_every_integer_lies_in_its_bits(bits: int, wide: int, signed: bool) -> None:
    """In two's complement or without a sign, in as many bits as it has, or more."""
    each = meaning(bits, signed, zero=1)
    integers = np.arange(each.least, each.greatest + 1)
    shape = (1, len(integers), 1, 1)
    box = whole(shape)
    values = decode(integers.reshape(shape), each)
    patterns = Affine(each).encode(values, box, wide)
    assert patterns.dtype.kind == "u"
    np.testing.assert_array_equal(patterns.ravel(), integers & ((1 << wide) - 1))
    np.testing.assert_array_equal(Affine(each).decode(patterns, box, wide), values)


def test_kernels_by_their_output_channels() -> None:
    each = Quantisation(np.array([0.5, 0.25, 0.125]), np.array([0, 1, -1]), 8, True, axis=0)
    integers = np.random.default_rng(0).integers(-128, 128, (3, 2, 1, 2))
    values = decode(integers, each)
    box = Box(Span(1, 3), Span(0, 2), Span(0, 1), Span(1, 2))
    patterns = Affine(each).encode(values[box.slices], box, 8)
    np.testing.assert_array_equal(patterns, integers[box.slices] & 255)
    np.testing.assert_array_equal(Affine(each).decode(patterns, box, 8), values[box.slices])


def test_sums_by_their_channels() -> None:
    each = Quantisation(np.array([0.3, 0.7]), np.array(0), 32, True, axis=1)
    box = Box(Span(0, 1), Span(1, 2), Span(0, 1), Span(0, 3))
    values = np.array([[[[-7, 0, 12345]]]]) * 0.7
    patterns = Sums(each).encode(values, box, 24)
    np.testing.assert_array_equal(patterns.ravel(), [2**24 - 7, 0, 12345])
    np.testing.assert_array_equal(Sums(each).decode(patterns, box, 24), values)


# ---------------------------------------------------------------- what is refused


def test_real_numbers_in_few_bits() -> None:
    """A map that the file leaves real, and one that is forced to fewer bits than its integers."""
    net = Net(x=(1, 4, 6, 5))
    first = net.add("Conv", net.pair("x", 1.1), net.weight(4, 4, 1, 1))
    graph = graph_from_model(net.model(net.add("Softmax", first, axis=1)), "real")
    with pytest.raises(ProgramError, match=r"need 32 bits, .* of: Conv\d, Softmax\d$"):
        FileIntegers(assign_precision(graph, Precision(8, 8, 32)))
    FileIntegers(assign_precision(graph, Precision(8, 32, 32)))
    forced = assign_precision(graph, Precision(8, 4, 32, force_activations=True))
    with pytest.raises(ProgramError, match=r"of: x, Conv\d"):
        FileIntegers(forced)


def test_accumulators_too_narrow_for_the_file() -> None:
    net = Net(x=(1, 6, 4, 4))
    end = net.pair(net.add("Conv", net.pair("x", 1.137), net.weight(3, 6, 3, 3)), 1.511)
    graph = assign_precision(graph_from_model(net.model(end), "narrow"), WIDTHS)
    integers, inputs = FileIntegers(graph), {"x": draw(1, 6, 4, 4)}
    _, wide = scheduled(graph, least_budget(graph, False))
    assert any(isinstance(x, Compute) and not x.last for x in wide.instructions)
    result_of(integers, wide, inputs)
    _, narrow = scheduled(graph, least_budget(graph, False), accumulator=12)
    with pytest.raises(ProgramError, match=r"instruction \d+ .*than 12 bits hold; raise compute"):
        replay_quantised(narrow, integers, inputs)


# ---------------------------------------------------------------- sums


def mixed_scales() -> NetworkGraph:
    """A convolution of two maps of different scales side by side."""
    net = Net(x=(1, 4, 5, 4))
    x = net.pair("x", 1.137)
    sides = [net.pair(net.add("Relu", x), 1.1), net.pair(net.add("Neg", x), 1.3)]
    joined = net.add("Concat", *sides, axis=1)
    end = net.pair(net.add("Conv", joined, net.weight(3, 8, 3, 3), pads=(1, 1, 1, 1)), 1.511)
    return assign_precision(graph_from_model(net.model(end), "mixed"), WIDTHS)


def test_sums_of_several_scales_wait_as_real_numbers() -> None:
    graph = mixed_scales()
    integers, inputs = FileIntegers(graph), {"x": draw(1, 4, 5, 4)}
    last = graph.layers[-1]
    assert not integers.is_exact
    assert integers.codec_of_sums(last) is FLOAT32
    _, program = scheduled(graph, least_budget(graph, False))
    assert any(isinstance(x, Compute) and not x.last for x in program.instructions)
    replayed = replay_quantised(program, integers, inputs)
    made = evaluate_layers(graph, integers, integers.image(inputs))[last.output]
    each = graph.tensors[last.output].quantisation
    assert each is not None
    steps = encode(replayed.tensors[last.output], each) - encode(made, each)
    assert np.abs(steps).max() <= 1
    assert (steps == 0).mean() > 0.98


def test_running_sums_of_a_quantised_map_are_integers() -> None:
    """A mean over the height that a merged group carries from row to row."""
    net = Net(x=(1, 4, 6, 5))
    made = net.add("Conv", net.pair("x", 1.137), net.weight(8, 4, 1, 1), net.bias(8))
    end = net.pair(net.add("GlobalAveragePool", net.pair(made, 1.511)), 0.817)
    graph = assign_precision(graph_from_model(net.model(end), "mean"), WIDTHS)
    integers, inputs = FileIntegers(graph), {"x": draw(1, 4, 6, 5)}
    program = proved(graph, grouped(graph, MemoryOptions(0, SINGLE, 32), running=True))
    assert any(isinstance(x, Compute) and x.body_rows for x in program.instructions)
    assert isinstance(integers.codec_of_sums(graph.layers[0], running=True), Sums)
    replayed = replay_quantised(program, integers, inputs)
    whole_maps = evaluate_layers(graph, integers, integers.image(inputs))
    (name,) = graph.outputs
    np.testing.assert_array_equal(replayed.tensors[name], whole_maps[name])
    assert len(np.unique(whole_maps[name])) > 4


# ---------------------------------------------------------------- inputs and results


def test_inputs_are_any_of_their_integers() -> None:
    found = quantised_case("mixed", "signed integers")
    integers = FileIntegers(found.graph)
    each = integers.meaning_of_input("input")
    assert each is not None
    shapes = {"input": (1, 3, 80, 60), "nothing": (2,)}
    drawn = integers.drawn(shapes, {}, seed=3)
    assert set(drawn) == {"input"}
    assert drawn["input"].dtype == np.float32
    steps = encode(drawn["input"].astype(np.float64), each)
    assert set(steps.ravel()) == set(range(-128, 128))
    whole_numbers = integers.drawn(shapes, {"input": np.dtype(np.int8)}, seed=3)["input"]
    assert whole_numbers.dtype == np.int8
    np.testing.assert_array_equal(whole_numbers, steps)
    assert (integers.drawn(shapes, {}, seed=4)["input"] != drawn["input"]).any()


def test_results_of_integers_are_what_they_mean() -> None:
    net = Net(x=(1, 4, 6, 5))
    end, _, _ = net.quantise(net.add("Conv", net.pair("x", 1.1), net.weight(3, 4, 1, 1)), 1.5)
    integers = FileIntegers(assign_precision(graph_from_model(net.model(end), "end"), WIDTHS))
    given = np.arange(-4, 4, dtype=np.int8)
    each = integers.graph.tensors[end].quantisation
    assert each is not None
    np.testing.assert_array_equal(integers.numbers_of(end, given), decode(given, each))
    assert integers.numbers_of("another", given) is given
    real = given.astype(np.float32)
    assert integers.numbers_of(end, real) is real


def test_integers_as_inputs_are_what_they_mean() -> None:
    net = Net(x=(1, 4, 6, 5))
    net.inputs[0].type.tensor_type.elem_type = TensorProto.UINT8
    x = net.add("DequantizeLinear", "x", 0.01, np.array(120, np.uint8))
    graph = graph_from_model(net.model(net.pair(net.add("Relu", x), 1.1)), "given")
    integers = FileIntegers(assign_precision(graph, WIDTHS))
    given = np.random.default_rng(1).integers(0, 256, (1, 4, 6, 5)).astype(np.uint8)
    image = integers.image({"x": given})["x"]
    np.testing.assert_allclose(image, (given.astype(float) - 120) * 0.01, rtol=1e-6)
    codec = integers.codec("x")
    assert isinstance(codec, Affine)
    assert codec.meaning == integers.graph.tensors["x"].quantisation


def test_constants_travel_as_their_channels() -> None:
    found = quantised_case("mixed", "pairs")
    integers = FileIntegers(found.graph)
    vectors = [layer.output_vectors for layer in found.graph.layers if layer.output_vectors]
    assert vectors
    for name in vectors:
        assert integers.codec(name) is TWOS_COMPLEMENT
        value = integers.image(found.inputs)[name]
        assert integers.held(name, value) is value
    assert integers.codec("anything.partial_sums") is TWOS_COMPLEMENT
