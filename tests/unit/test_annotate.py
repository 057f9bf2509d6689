"""The annotated copy: the original but for its metadata, and the figures are those of the file."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from pathlib import Path

import onnx
import pytest
from google.protobuf.message import EncodeError
from onnx import TensorProto, helper

from dataflow_sim.errors import InputError
from dataflow_sim.ingest import graph_from_model, read_network
from dataflow_sim.ingest.file import annotate
from dataflow_sim.ingest.file.annotate import (
    PREFIX,
    Annotation,
    LayerFigures,
    annotated,
    external_locations,
    positions,
    write_annotated,
)
from dataflow_sim.inspection import annotation, inspect, write_annotated_copy
from tests.support.small import SMALL

KEYS = {
    *("macs", "weight_elements", "input_elements", "output_elements", "live_elements"),
    *("operations_per_weight_byte", "folded"),
}


def props(holder: onnx.ModelProto | onnx.NodeProto) -> dict[str, str]:
    """The figures in the metadata of a model or a node, without their prefix."""
    keys = [entry.key for entry in holder.metadata_props]
    assert len(keys) == len(set(keys))
    return {
        entry.key.removeprefix(PREFIX): entry.value
        for entry in holder.metadata_props
        if entry.key.startswith(PREFIX)
    }


def stripped(model: onnx.ModelProto) -> bytes:
    """A model without figures, serialised."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for holder in (copy, *copy.graph.node):
        kept = [entry for entry in holder.metadata_props if not entry.key.startswith(PREFIX)]
        del holder.metadata_props[:]
        holder.metadata_props.extend(kept)
    return bytes(copy.SerializeToString())


def copy_of(model: onnx.ModelProto, name: str = "net") -> onnx.ModelProto:
    return annotated(model, annotation(inspect(graph_from_model(model, name))))


def shapes_of(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    found = {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in values}
    return found | {tensor.name: tuple(tensor.dims) for tensor in inferred.initializer}


@pytest.mark.parametrize("name", SMALL)
def test_only_the_metadata_differs_and_the_inspection_is_the_same(name: str) -> None:
    model = SMALL[name]()
    before = model.SerializeToString()
    copy = copy_of(model, name)
    assert model.SerializeToString() == before
    assert stripped(copy) == before
    assert inspect(graph_from_model(copy, name)) == inspect(graph_from_model(model, name))
    assert copy_of(copy, name).SerializeToString() == copy.SerializeToString()


@pytest.mark.parametrize("name", SMALL)
def test_every_convolution_carries_what_its_own_node_says(name: str) -> None:
    model = SMALL[name]()
    shapes = shapes_of(model)
    copy = copy_of(model, name)
    for node in copy.graph.node:
        figures = props(node)
        if node.op_type == "Conv":
            kernel = shapes[node.input[1]]
            assert int(figures["macs"]) == prod(shapes[node.output[0]]) * prod(kernel[1:])
            assert int(figures["weight_elements"]) == prod(kernel)
            # kernels are at least as many as the constants beside them; none is left out
            least = prod(kernel) + (prod(shapes[node.input[2]]) if len(node.input) > 2 else 0)
            ratio = float(figures["operations_per_weight_byte"])
            assert ratio <= 2 * int(figures["macs"]) / least + 0.005
        assert set(figures) in (set(), KEYS)


@pytest.mark.parametrize("name", SMALL)
def test_figures_of_the_nodes_add_up_to_those_of_the_model(name: str) -> None:
    copy = copy_of(SMALL[name](), name)
    totals = props(copy)
    layers = [props(node) for node in copy.graph.node if props(node)]
    assert len(layers) == int(totals["layers"])
    for key in ("macs", "weight_elements", "input_elements", "output_elements"):
        assert sum(int(layer[key]) for layer in layers) == int(totals[key])
    peak = max(int(layer["live_elements"]) for layer in layers)
    assert peak == int(totals["live_peak_elements"])
    graph = graph_from_model(SMALL[name](), name)
    assert int(totals["parameters"]) == graph.parameters


def test_texts_of_one_node() -> None:
    copy = copy_of(SMALL["residual"]())
    nodes = {node.name: props(node) for node in copy.graph.node}
    assert nodes["a"] == {
        "macs": "32400",
        "weight_elements": "324",
        "input_elements": "600",
        "output_elements": "600",
        "live_elements": "1200",
        "operations_per_weight_byte": "200.00",
        "folded": "Relu",
    }
    assert nodes["a.relu"] == {}
    assert props(copy)["input_shapes"] == "input 1x6x10x10"
    pool = next(n for n in copy_of(SMALL["concatenated"]()).graph.node if n.name == "p")
    assert props(pool)["operations_per_weight_byte"] == props(pool)["folded"] == "-"


def node(name: str, outputs: Iterable[str]) -> onnx.NodeProto:
    return helper.make_node("Relu", ["x"], list(outputs), name=name)


def test_nodes_are_found_by_name_then_by_what_they_write() -> None:
    nodes = [
        node("", ["unnamed"]),
        node("same", ["s1"]),
        node("same", ["s2"]),
        node("plain", ["p", "q"]),
        node("taken", ["t"]),
        node("view", ["moved"]),
    ]
    model = helper.make_model(helper.make_graph(nodes, "g", [], []))
    layers = [
        LayerFigures("unnamed", ("elsewhere",), ()),
        LayerFigures("same", ("s1",), ()),
        LayerFigures("same#2", ("s2",), ()),
        LayerFigures("other", ("none", "q"), ()),
        LayerFigures("taken", ("r",), ()),
        LayerFigures("late", ("t",), ()),
        LayerFigures("nowhere", ("",), ()),
        LayerFigures("moved copy 2", ("moved copy",), ()),
        LayerFigures("moved rearranged", ("elsewhere",), ()),
    ]
    assert positions(model, layers) == (0, 1, 2, 3, 4, None, None, 5, None)


def test_other_metadata_stays_and_older_figures_go() -> None:
    model = SMALL["residual"]()
    for holder in (model, model.graph.node[0], model.graph.node[1]):
        holder.metadata_props.add(key="author", value="someone")
        holder.metadata_props.add(key=PREFIX + "stale", value="1")
    copy = copy_of(model)
    assert stripped(copy) == stripped(model)
    for holder in (copy, copy.graph.node[0], copy.graph.node[1]):
        keys = [entry.key for entry in holder.metadata_props]
        assert keys[0] == "author"
        assert PREFIX + "stale" not in keys
    assert len(copy.graph.node[1].metadata_props) == 1


def external(name: str, location: str) -> onnx.TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="offset", value="16")
    return tensor


def test_external_data_is_found_wherever_it_stands() -> None:
    model = SMALL["residual"]()
    del model.graph.initializer[:]
    assert external_locations(model) == ()
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=external("c", "c.bin"))],
        "inner",
        [],
        [],
        [external("w", "w.bin")],
    )
    model.graph.initializer.extend([external("a", "a.bin"), external("b", "a.bin")])
    model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=inner))
    sparse = model.graph.sparse_initializer.add()
    sparse.values.CopyFrom(external("s", "s.bin"))
    function = model.functions.add()
    function.node.append(helper.make_node("Constant", [], ["f"], value=external("f", "f.bin")))
    assert external_locations(model) == ("a.bin", "s.bin", "w.bin", "c.bin", "f.bin")


def saved(directory: Path) -> Path:
    """A network whose weights lie in a file that is absent."""
    model = SMALL["depthwise"]()
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "absent.bin"
    path = directory / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_external_data_stays_and_a_copy_elsewhere_is_warned_of(tmp_path: Path) -> None:
    path = saved(tmp_path)
    result = inspect(read_network(path))
    (tmp_path / "other").mkdir()
    beside, elsewhere = tmp_path / "copy.onnx", tmp_path / "other" / "copy.onnx"
    assert write_annotated_copy(result, path, beside) == ()
    (warning,) = write_annotated_copy(result, path, elsewhere)
    assert "'absent.bin'" in warning
    assert f"'{tmp_path}'" in warning
    assert beside.read_bytes() == elsewhere.read_bytes()
    copy = onnx.load(elsewhere, load_external_data=False)
    assert stripped(copy) == path.read_bytes()
    assert external_locations(copy) == ("absent.bin",)


def test_layers_without_a_node_are_named(tmp_path: Path) -> None:
    path, target = saved(tmp_path), tmp_path / "copy.onnx"
    lost = [LayerFigures(f"lost{number}", (), ()) for number in range(6)]
    layers = (LayerFigures("dw", (), (("macs", "1"),)), *lost)
    (warning,) = write_annotated(path, target, Annotation((), layers))
    assert warning.startswith("6 of 7 layers are no node of the file")
    assert "'lost3' .." in warning
    assert "lost4" not in warning
    nodes = {
        each.name: props(each) for each in onnx.load(target, load_external_data=False).graph.node
    }
    assert nodes["dw"] == {"macs": "1"}


def test_a_write_that_fails_leaves_the_old_copy_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, target = saved(tmp_path), tmp_path / "copy.onnx"
    target.write_bytes(b"older")

    def full(self: Path, other: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(InputError, match=r"copy\.onnx' cannot be written \(No space left"):
        write_annotated(path, target, Annotation((), ()))
    assert target.read_bytes() == b"older"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["copy.onnx", "net.onnx"]


def test_a_copy_too_large_for_its_format_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(model: onnx.ModelProto, annotation: Annotation) -> object:
        class Large:
            def SerializeToString(self) -> bytes:  # noqa: N802 (the name in Protocol Buffers)
                raise EncodeError("Failed to serialize proto")

        return Large()

    path, target = saved(tmp_path), tmp_path / "copy.onnx"
    monkeypatch.setattr(annotate, "annotated", too_large)
    with pytest.raises(InputError, match="more than 2 GiB"):
        write_annotated(path, target, Annotation((), ()))
    assert [each.name for each in tmp_path.iterdir()] == ["net.onnx"]


MODELS = ("timm_efficientnet_b0", "tv_resnet50_script17", "lstm_bidir_dynamo", "torch_cond_if")


@pytest.mark.parametrize("name", MODELS)
def test_exported_networks(name: str, shared: Path, tmp_path: Path) -> None:
    path, target = shared / "models" / f"{name}.onnx", tmp_path / "copy.onnx"
    result = inspect(read_network(path))
    warnings = write_annotated_copy(result, path, target)
    assert [text.split(",")[0] for text in warnings] == [
        "the weights are found only beside the original"
    ]
    copy = onnx.load(target, load_external_data=False)
    original = onnx.load(path, load_external_data=False)
    assert stripped(copy) == original.SerializeToString()
    again = inspect(graph_from_model(copy, path.stem))
    assert again == result
    macs = [int(props(node)["macs"]) for node in copy.graph.node if props(node)]
    assert len(macs) == len(result.layers)
    assert sum(macs) == result.macs


def test_a_copy_of_a_legal_file_is_legal(light_models: Path, tmp_path: Path) -> None:
    path, target = light_models / "light_squeezenet.onnx", tmp_path / "copy.onnx"
    assert write_annotated_copy(inspect(read_network(path)), path, target) == ()
    onnx.checker.check_model(target, full_check=True)
    assert stripped(onnx.load(target)) == onnx.load(path).SerializeToString()
