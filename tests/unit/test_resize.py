"""Networks at another size: what an exporter froze follows, what was learned forbids it.

The truth is the same network built, or the same formula evaluated, at the new size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from dataflow_sim.errors import NetworkError
from dataflow_sim.ingest.sizes.resize import resized
from dataflow_sim.networks import build_network
from tests.support import frozen
from tests.support.frozen import CHANNELS, FOLLOWING, Net, Size

Shapes = dict[str, tuple[int, ...]]
SMALL = Size(8, 8)


def shapes_of(model: onnx.ModelProto) -> Shapes:
    """The shapes that ONNX's own inference of the whole graph finds."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    found: Shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        found[value.name] = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
    return found


def maps_of(model: onnx.ModelProto) -> Shapes:
    """The shapes of what nodes write."""
    shapes = shapes_of(model)
    return {name: shapes[name] for node in model.graph.node for name in node.output if name}


def evaluated(model: onnx.ModelProto, feed: npt.NDArray[np.float32]) -> list[Any]:
    return list(ReferenceEvaluator(model).run(None, {"image": feed}))


def refused(model: onnx.ModelProto, size: tuple[int, int] | None, batch: int | None = None) -> str:
    with pytest.raises(NetworkError) as caught:
        resized(model, "net", size, batch)
    return str(caught.value)


# ------------------------------------------------------- against the network built anew


@pytest.mark.parametrize("build", FOLLOWING, ids=lambda each: each.__name__)
@pytest.mark.parametrize(
    "size", [Size(8, 8, 3), Size(12, 20), Size(16, 12, 2), Size(8, 16), Size(16, 4)], ids=str
)
def test_computes_what_the_network_built_at_that_size_computes(
    build: Callable[[Size], onnx.ModelProto], size: Size
) -> None:
    model = build(SMALL)
    given = model.SerializeToString()
    result, statements = resized(model, "net", (size.rows, size.columns), size.batch)
    assert model.SerializeToString() == given
    onnx.checker.check_model(result, full_check=True)
    wanted = build(size)
    shapes = maps_of(result)
    assert {name: shapes[name] for name in maps_of(wanted)} == maps_of(wanted)
    feed = frozen.random("feed", size.batch, 3, size.rows, size.columns)
    for found, truth in zip(evaluated(result, feed), evaluated(wanted, feed), strict=True):
        np.testing.assert_allclose(found, truth, rtol=1e-5, atol=1e-6)
    new = (size.batch, 3, size.rows, size.columns)
    assert statements[0] == f"input 'image' (1, 3, 8, 8) becomes {new}"


def test_a_stated_output_of_a_transposed_convolution_follows() -> None:
    result, _ = resized(frozen.upsampled(SMALL), "net", (12, 20), 2)
    assert maps_of(result) == maps_of(frozen.upsampled(Size(12, 20, 2)))


def test_first_states_of_a_recurrence_are_repeated() -> None:
    result, statements = resized(frozen.recurrent(Size(1, 1)), "net", None, 3)
    feed = frozen.random("feed", 3, 12, CHANNELS)
    truth = evaluated(frozen.recurrent(Size(1, 1, 3)), feed)
    np.testing.assert_allclose(evaluated(result, feed)[0], truth[0], rtol=1e-5, atol=1e-6)
    assert statements[-1] == "constant 'hidden' and 1 more are repeated for each of the 3 samples"


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "resnet50", "densenet121"])
def test_built_in_networks_have_the_maps_of_the_network_built_at_that_size(name: str) -> None:
    result, _ = resized(build_network(name), name, (160, 160), None)
    assert shapes_of(result) == shapes_of(build_network(f"{name}@resolution=160"))


@pytest.mark.parametrize("name", ["mobilenet_v2", "vgg16"])
def test_a_batch_multiplies_the_first_axis_of_every_map(name: str) -> None:
    model = build_network(name)
    result, _ = resized(model, name, None, 5)
    wanted = {key: (5 * shape[0], *shape[1:]) for key, shape in maps_of(model).items()}
    assert maps_of(result) == wanted


def test_what_the_file_says_is_followed_in_the_middle_of_a_batch() -> None:
    """From a batch of 2 to one of 6: 2 heads of 4 channels are no batch."""
    result, _ = resized(frozen.attention(Size(8, 8, 2)), "net", None, 6)
    assert maps_of(result) == maps_of(frozen.attention(Size(8, 8, 6)))


def test_a_constant_that_nodes_share_is_one_of_each_node() -> None:
    """Both Reshapes read (1, 8, 64): here 64 are places, there they are channels."""
    net = Net(SMALL)
    shape = net.constant("shape", np.array([1, 8, 64], np.int64))
    tokens = net.node("Reshape", net.convolution("image", 3), shape)
    pooled = net.node("GlobalAveragePool", "image")
    deep = net.node("Conv", pooled, net.weight("deep", 512, 3, 1, 1))
    model = net.model(tokens, net.node("Reshape", deep, shape))
    result, _ = resized(model, "net", (8, 16), None)
    found = maps_of(result)
    assert [found[value.name] for value in model.graph.output] == [(1, 8, 128), (1, 8, 64)]


def test_shapes_that_the_network_computes_follow_by_themselves() -> None:
    net = Net(SMALL)
    value = net.convolution("image", 3)
    batch = net.node("Gather", net.node("Shape", value), [0])
    target = net.node("Concat", batch, [CHANNELS, -1], axis=0)
    model = net.model(net.node("Reshape", value, target))
    result, statements = resized(model, "net", (12, 20), 2)
    assert maps_of(result)["reshape4"] == (2, CHANNELS, 240)
    assert len(statements) == 1
    assert [tensor.name for tensor in result.graph.initializer] == [
        tensor.name for tensor in model.graph.initializer
    ]


@pytest.mark.parametrize("stride", [1, 7])
def test_a_mean_over_the_whole_map_stays_one_where_nothing_else_works(stride: int) -> None:
    net = Net(Size(14, 14))
    pooled = net.node(
        "AveragePool", net.convolution("image", 3, 2), kernel_shape=[7, 7], strides=[stride] * 2
    )
    flat = net.node("Reshape", pooled, [1, CHANNELS])
    model = net.model(net.node("Gemm", flat, net.weight("dense", CHANNELS, 5)))
    result, statements = resized(model, "net", (28, 20), None)
    assert maps_of(result)["averagepool1"] == (1, CHANNELS, 1, 1)
    assert statements[1] == (
        "node 'averagepool1' (AveragePool) has (14, 10) instead of the frozen (7, 7)"
    )


# ----------------------------------------------------------------------- inputs


def test_the_same_size_leaves_every_byte() -> None:
    model = frozen.attention(SMALL)
    for size, batch in ((None, None), ((8, 8), None), (None, 1), ((8, 8), 1)):
        result, statements = resized(model, "net", size, batch)
        assert result is not model
        assert result.SerializeToString() == model.SerializeToString()
        assert statements == ()


def convolved(*shapes: tuple[int | str, ...], element: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """Inputs read by a convolution each, those with channels last through a Transpose."""
    inputs, nodes, outputs = [], [], []
    weight = helper.make_tensor_value_info("weight", TensorProto.FLOAT, [2, 3, 1, 1])
    for place, shape in enumerate(shapes):
        name = f"image{place}"
        inputs.append(helper.make_tensor_value_info(name, element, shape))
        nodes.append(helper.make_node("Cast", [name], [f"{name}.cast"], to=TensorProto.FLOAT))
        name = f"{name}.cast"
        if shape[1] != 3:
            nodes.append(helper.make_node("Transpose", [name], [f"{name}t"], perm=[0, 3, 1, 2]))
            name = f"{name}t"
        nodes.append(helper.make_node("Conv", [name, "weight"], [f"out{place}"]))
        outputs.append(helper.make_tensor_value_info(f"out{place}", TensorProto.FLOAT, None))
    graph = helper.make_graph(nodes, "net", [*inputs, weight], outputs)
    graph.initializer.append(TensorProto(name="weight", data_type=1, dims=[2, 3, 1, 1]))
    graph.initializer[0].data_location = TensorProto.EXTERNAL
    graph.initializer[0].external_data.add(key="location", value="nowhere.bin")
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def inputs_of(model: onnx.ModelProto) -> dict[str, tuple[int | str, ...]]:
    return {
        value.name: tuple(
            dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim
        )
        for value in model.graph.input
    }


def test_channels_last_and_bytes_are_images() -> None:
    model = convolved((1, 8, 6, 3), element=TensorProto.UINT8)
    result, _ = resized(model, "net", (10, 12), 2)
    assert inputs_of(result)["image0"] == (2, 10, 12, 3)
    assert maps_of(result)["out0"] == (2, 2, 10, 12)


def test_a_plane_as_narrow_as_colours_is_told_by_its_reader() -> None:
    net = Net(SMALL, (1, CHANNELS, 9, 4))
    result, _ = resized(net.model(net.convolution("image")), "net", (12, 5), None)
    assert inputs_of(result)["image"] == (1, CHANNELS, 12, 5)


def test_a_single_image_has_three_axes() -> None:
    net = Net(SMALL, (3, 8, 8))
    model = net.model(net.convolution(net.node("Unsqueeze", "image", [0]), 3))
    result, _ = resized(model, "net", (12, 5), None)
    assert maps_of(result)["conv1"] == (1, CHANNELS, 12, 5)
    assert resized(model, "net", None, 1)[1] == ()


def test_extents_that_nobody_states() -> None:
    model = convolved((1, 3, 8, 8))
    dims = model.graph.input[0].type.tensor_type.shape.dim
    dims[0].Clear()
    assert refused(model, (10, 12)) == (
        "net: axis 0 of input 'image0' (?, 3, 8, 8) has neither an extent nor a name to bind; "
        "write one into the file"
    )
    assert maps_of(resized(model, "net", (10, 12), 2)[0])["out0"] == (2, 2, 10, 12)
    dims[0].dim_value = 0
    assert "axis 0 of input 'image0' (0, 3, 8, 8) is 0: an extent is 1 to" in (
        refused(model, (10, 12))
    )


def test_two_images_get_the_same_size_and_other_inputs_the_batch() -> None:
    model = convolved((1, 3, 8, 6), (1, 3, 8, 6))
    model.graph.input.append(helper.make_tensor_value_info("gain", TensorProto.FLOAT, [1, 2, 1, 1]))
    model.graph.node.append(helper.make_node("Mul", ["out0", "gain"], ["scaled"]))
    model.graph.output[0].name = "scaled"
    result, statements = resized(model, "net", (10, 12), 4)
    found = inputs_of(result)
    assert (found["image0"], found["image1"], found["gain"]) == (
        *[(4, 3, 10, 12)] * 2,
        (4, 2, 1, 1),
    )
    assert len(statements) == 3


def test_names_of_dimensions_are_bound_wherever_they_stand() -> None:
    model = convolved(("n", 3, "h", "w"), ("n", 3, "h", "w"))
    result, statements = resized(model, "net", (10, 12), None)
    assert inputs_of(result)["image1"] == ("n", 3, 10, 12)
    assert statements[0] == "input 'image0' (n, 3, h, w) becomes (n, 3, 10, 12)"
    result, _ = resized(model, "net", (10, 12), 3)
    assert maps_of(result)["out1"] == (3, 2, 10, 12)


def test_a_named_batch_is_bound_before_numbers_of_the_file_change() -> None:
    result, _ = resized(convolved(("n", 3, 8, 8)), "net", (10, 12), 3)
    assert maps_of(result)["out0"] == (3, 2, 10, 12)
    assert refused(convolved(("n", 3, 8, 8)), (10, 12)) == (
        "net: unbound dimensions 'n' (axis 0 of 'image0'); to change numbers of the file, give "
        "each with --dim NAME=VALUE, that of the batch with --batch"
    )


def test_one_name_cannot_be_two_extents() -> None:
    assert refused(convolved((1, 3, "side", "side")), (10, 12)) == (
        "net: axis 3 of 'image0' (1, 3, side, side) is to become 12, but its dimension 'side' is "
        "10 elsewhere; give both the same extent"
    )


def test_images_of_two_sizes_are_refused() -> None:
    assert refused(convolved((1, 3, 8, 8), (1, 3, 4, 4)), (10, 12)) == (
        "net: its image inputs differ in size: 'image0' (1, 3, 8, 8), 'image1' (1, 3, 4, 4); "
        "--input-size gives one size to all; export the network again"
    )


@pytest.mark.parametrize(
    ("size", "batch", "what"),
    [
        ((0, 5), None, "--input-size with rows of 0"),
        ((5, 2**24 + 1), None, "--input-size with columns of 16777217"),
        (None, 0, "--batch 0"),
    ],
)
def test_impossible_extents(size: tuple[int, int] | None, batch: int | None, what: str) -> None:
    message = refused(convolved((1, 3, 8, 8)), size, batch)
    assert message == f"net: {what}: an extent is 1 to 16,777,216"


def test_a_sequence_has_no_size() -> None:
    assert refused(frozen.recurrent(Size(1, 1)), (8, 8)) == (
        "net: it has no image input, which --input-size could change; its inputs are 'image' "
        "(1, 12, 8); the length of a sequence is bound with --dim NAME=VALUE if it has a name, "
        "else export the network again"
    )


# ----------------------------------------------------------- what forbids another size


def test_a_flattened_map_forbids_another_size_but_no_batch() -> None:
    assert refused(frozen.flattened(SMALL), (12, 8)) == (
        "net: node 'gemm2' (Gemm) forbids 12x8: its constant 'dense' (5, 512) does not fit the map "
        "(1, 768); export the network at that size"
    )
    result, _ = resized(frozen.flattened(SMALL), "net", None, 4)
    assert maps_of(result) == maps_of(frozen.flattened(Size(8, 8, 4)))


def with_constant(op: str, *shape: int) -> onnx.ModelProto:
    net = Net(SMALL)
    value = net.convolution("image", 3)
    more = {"axis": 1} if op == "Concat" else {}
    return net.model(net.node(op, value, net.weight("learned", *shape), **more))


@pytest.mark.parametrize(
    ("op", "shape", "size"),
    [
        ("Add", (1, 8, 8, 8), (16, 8)),
        ("Add", (8, 1), (16, 8)),
        ("Add", (8, 1), (1, 8)),  # which would be broadcast
        ("MatMul", (8, 5), (8, 16)),
        ("Concat", (1, 2, 8, 8), (16, 8)),
        ("LayerNormalization", (8, 8), (16, 8)),
    ],
)
def test_learned_sizes_forbid(op: str, shape: tuple[int, ...], size: tuple[int, int]) -> None:
    assert refused(with_constant(op, *shape), size) == (
        f"net: node '{op.lower()}1' ({op}) forbids {size[0]}x{size[1]}: its constant 'learned' "
        f"{shape} does not fit the map {(1, 8, *size)}; export the network at that size"
    )


def test_windows_that_do_not_divide_forbid() -> None:
    assert (
        "node 'reshape8' (Reshape) forbids 10x8: the map 'concat7', now (1, 10, 8, 8), cannot "
        in (refused(frozen.windows(SMALL), (10, 8)))
    )


def test_the_first_node_is_named() -> None:
    net = Net(SMALL)
    value = net.node("Add", net.convolution("image", 3), net.weight("first", 8, 8))
    model = net.model(net.node("Add", value, net.weight("second", 8, 8)))
    assert "its constant 'first' (8, 8) does not fit" in refused(model, (9, 9))


def test_a_product_that_nobody_followed_is_not_cut() -> None:
    """CumSum is followed by its shape alone; Einsum is not."""
    net = Net(SMALL)
    flat = net.node("Reshape", net.convolution("image", 3), [1, CHANNELS, 64])
    turned = net.node("Einsum", flat, equation="bct->btc")
    model = net.model(net.node("Reshape", turned, [1, 8, 8, CHANNELS]))
    assert refused(model, (16, 16)).startswith(
        "net: node 'reshape3' (Reshape) forbids 16x16: the map 'einsum2', now (1, 256, 8), cannot"
    )


@pytest.mark.parametrize(
    ("op", "inputs", "words"),
    [
        ("Gather", [list(range(8))], "its constant 'gather1/1' (8,) does not fit the map"),
        ("Squeeze", [[0]], "it drops axis 0 of 'conv0', now (2, 8, 16, 8)"),
    ],
)
def test_places_in_a_map_forbid(op: str, inputs: list[list[int]], words: str) -> None:
    net = Net(SMALL)
    more = {"axis": 2} if op == "Gather" else {}
    model = net.model(net.node(op, net.convolution("image", 3), *inputs, **more))
    assert words in refused(model, (16, 8), 2)


def test_a_sample_picked_from_the_batch_forbids_a_batch() -> None:
    net = Net(SMALL)
    first = net.constant("first", np.array(0, np.int64))
    model = net.model(net.node("Gather", net.convolution("image", 3), first, axis=0))
    assert "node 'gather1' (Gather) forbids batch 2: it picks samples" in refused(model, None, 2)


def test_a_map_too_small_for_its_window_forbids() -> None:
    net = Net(SMALL)
    model = net.model(net.node("MaxPool", net.convolution("image", 3), kernel_shape=[5, 5]))
    assert "node 'maxpool1' (MaxPool) forbids 4x8: " in refused(model, (4, 8))
