"""Files that contradict themselves or would exhaust the machine: one message each, soon, and no
other file opened.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnx.inliner
import pytest
from onnx import TensorProto, helper

from dataflow_sim.errors import NetworkError
from dataflow_sim.ingest.file.load import load_model
from dataflow_sim.ingest.shapes.reader import resolve
from tests.support.hostile_files import (
    FIELD_NODE,
    HUGE,
    RELU,
    branches,
    field,
    file_of_graph,
    ints,
    model,
    nested,
    node,
    read,
    refused,
)


def changed(**versions: int) -> onnx.ModelProto:
    found = onnx.ModelProto()
    found.CopyFrom(RELU)
    for name, version in versions.items():
        if name == "opset":
            found.opset_import[0].version = version
        else:
            found.ir_version = version
    return found


def twice(what: str) -> onnx.ModelProto:
    found = onnx.ModelProto()
    found.CopyFrom(RELU)
    graph = found.graph
    if what == "input":
        graph.input.append(graph.input[0])
    elif what == "initialiser":
        graph.initializer.extend([ints("c", 1), ints("c", 1)])
    elif what == "output":
        graph.node.append(graph.node[0])
    else:
        found.opset_import.append(found.opset_import[0])
    return found


def raw(**fields: Any) -> TensorProto:
    return TensorProto(**{"name": "w", "data_type": TensorProto.FLOAT, **fields})


ADD = [node("Add", "x", "w")]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (changed(opset=0), "version 0 of the standard operators"),
        (changed(opset=9999), "version 9999 of the standard operators"),
        (changed(opset=-1), "version -1 of the standard operators"),
        (changed(ir=10**9), "version 1000000000 of the ONNX format"),
        (changed(ir=0), "version 0 of the ONNX format"),
        (twice("input"), "input 'x' is there twice"),
        (twice("initialiser"), "initialiser 'c' is there twice"),
        (twice("output"), "writes 'y' again"),
        (twice("opset"), "imports the operator set '' twice"),
        (model([node("Relu", "nowhere")]), "'it'.* reads 'nowhere'"),
        (model([node("Relu", "y")]), "'it'.* reads 'y'.* cyclic"),
        (model([branches(1)]), "'deep'.* reads 'c'"),
        (model([node("Relu", "x")], outputs=["z"]), "no node writes the output 'z'"),
        (model(ADD, [raw(dims=[4], data_type=999)]), "'w' has the element type 999"),
        (model(ADD, [raw(dims=[4], data_type=0)]), "'w' has the element type 0"),
        (model(ADD, [raw(dims=[3], raw_data=bytes(8))]), "'w' has 8 bytes.* needs 12"),
        (model(ADD, [raw(dims=[4], float_data=[1.0])]), "'w' cannot be read"),
        (model(ADD, [raw(dims=[4], string_data=[b"1.0"] * 4)]), "'w' cannot be read"),
        (model(ADD, [raw(dims=[-1], raw_data=bytes(8))]), "'w' has the extent -1 on axis 0"),
        (model(ADD, [raw(dims=[HUGE])]), f"'w' has the extent {HUGE} on axis 0"),
        (model(ADD, [raw(dims=[2**20, 2**20])]), "'w' has the shape .* elements at most|of 1,099"),
        (model(ADD, [raw(dims=[1] * 99)]), "'w' has 99 axes"),
        (model([node("Relu", "x")], shape=[2**20, 2**20]), "'x' has the shape"),
        (model([node("LeakyRelu", "x", alpha="steep")]), "alpha='steep', no number"),
        (model([node("Flatten", "x", axis=1.5)]), "axis=1.5, no integer"),
        (model([node("Transpose", "x", perm="dcba")]), "perm='dcba', no list of integers"),
        (model([node("Relu", "x", "x")]), r"'it' \(Relu\) has 2 inputs"),
        (model([node("Relu", "")]), "'it' .* leaves out its first input"),
        # each of these ended the process inside shape inference
        (model([node("LayerNormalization", "x", "x", axis=2**31)]), "axis=2147483648; axes"),
        (
            model([node("GatherND", "x", "i", batch_dims=-1)], [ints("i", 0)]),
            "batch_dims=-1; it is at least 0",
        ),
        (model([node("Split", "x", num_outputs=3)], version=18), "num_outputs=3 and 1 outputs"),
        (model([node("EyeLike", "")]), "leaves out its first input"),
        (model([node("RegexFullMatch", "")], version=20), "leaves out its first input"),
    ],
)
def test_contradictions_name_their_place(
    found: onnx.ModelProto, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "network.onnx"
    path.write_bytes(found.SerializeToString())
    refused(path, message)
    with pytest.raises(NetworkError, match=message):
        resolve(found, "in memory", {})


NAMED = model(
    [
        helper.make_node("Conv", ["inQ", "weightQ"], ["midQ"], name="nodeQ", pads=[1] * 4),
        helper.make_node("Relu", ["midQ"], ["outQ"]),
    ],
    [raw(name="weightQ", dims=[4, 4, 3, 3], raw_data=bytes(576))],
    outputs=["outQ"],
)


NAMED.graph.input[0].name = "inQ"


NAMED.graph.value_info.append(helper.make_tensor_value_info("midQ", 1, ["dimQ", 4, 8, 8]))


@pytest.mark.parametrize("name", ["inQ", "weightQ", "midQ", "outQ", "nodeQ", "dimQ", "padsQ"])
def test_names_that_are_no_text(name: str, tmp_path: Path) -> None:
    path = tmp_path / "names.onnx"
    whole = NAMED.SerializeToString().replace(
        b"pads", b"padsQ"[:4] if name != "padsQ" else b"pad\xff"
    )
    path.write_bytes(whole.replace(name.encode(), name[:-1].encode() + b"\xff"))
    refused(path, "no text|not an ONNX file|'utf-8'")


SHAPES = {
    "Range": ["a", "s", "o"],
    "Tile": ["c", "r"],
    "Expand": ["c", "r"],
    "ConstantOfShape": ["r"],
    "Pad": ["c", "p"],
    "Resize": ["f", "", "z"],
    "OneHot": ["c", "s", "pair"],
    "EyeLike": ["huge"],
}


def constants(extent: int) -> list[TensorProto]:
    return [
        ints("a", 0, scalar=True),
        ints("o", 1, scalar=True),
        ints("s", extent, scalar=True),
        ints("c", 7),
        ints("r", extent),
        ints("p", 0, extent),
        ints("pair", 0, 1),
        helper.make_tensor("f", TensorProto.FLOAT, [1], [1.0]),
        helper.make_tensor("z", TensorProto.FLOAT, [1], [float(extent)]),
    ]


@pytest.mark.parametrize("extent", [HUGE, 2**62])
@pytest.mark.parametrize("op", sorted(set(SHAPES) - {"EyeLike"}))
def test_huge_results_are_never_evaluated(op: str, extent: int, tmp_path: Path) -> None:
    path = tmp_path / "huge.onnx"
    made = helper.make_node(op, SHAPES[op], ["made"], name="maker")
    total = helper.make_node("ReduceMax", ["made"], ["total"], keepdims=0)
    nodes = [made, total, helper.make_node("Cast", ["total"], ["float"], to=1)]
    found = model([*nodes, node("Add", "x", "float")], constants(extent))
    path.write_bytes(found.SerializeToString())
    refused(path, "'maker'")


@pytest.mark.parametrize("op", ["Expand", "Tile", "Reshape"])
def test_products_and_negative_extents(op: str) -> None:
    for shape in ([2**20, 2**20], [2**33, 2**33, 2**33, 2**33], [-7, 3]):
        found = model([node(op, "x", "r")], [ints("r", *shape)], shape=(1,) * len(shape))
        with pytest.raises(NetworkError, match="'it'"):
            resolve(found, "product", {})


def test_doubling_constants_stay_unevaluated() -> None:
    nodes = [helper.make_node("Concat", ["c"] * 2, ["v0"], axis=0)]
    nodes += [helper.make_node("Concat", [f"v{i}"] * 2, [f"v{i + 1}"], axis=0) for i in range(50)]
    nodes += [helper.make_node("ReduceMax", ["v50"], ["m"], keepdims=0), node("Cast", "m", to=1)]
    with pytest.raises(
        NetworkError, match=r"of node 'v33' \(Concat\) has the extent 17179869185|17,"
    ):
        resolve(model(nodes, [ints("c", 1)]), "doubling", {})


def test_a_shape_of_millions_of_axes() -> None:
    axes = helper.make_node("ConstantOfShape", ["n"], ["axes"], name="maker")
    found = model([axes, node("Expand", "x", "axes")], [ints("n", 2**24)])
    with pytest.raises(NetworkError, match=r"'it'.* given a shape of 16,777,216 axes by 'axes'"):
        resolve(found, "axes", {})


HEAVY = """
import sys
from pathlib import Path
from tests.support import hostile_files
for path in sorted(Path(sys.argv[1]).glob("*.onnx")):
    try:
        hostile_files.read(path)
    except hostile_files.NetworkError:
        continue
    sys.exit(f"{path.stem} was read")
# the process's own peak: getrusage would tell that of the process it was forked from
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) * 1024)
"""


@pytest.mark.slow
def test_the_heaviest_files_stay_below_a_gigabyte(tmp_path: Path) -> None:
    (tmp_path / "empty_nodes.onnx").write_bytes(file_of_graph(field(FIELD_NODE, b"") * 10**6))
    attributes = field(FIELD_NODE, field(5, b"") * 1_999_990)
    (tmp_path / "attributes.onnx").write_bytes(file_of_graph(attributes))
    (tmp_path / "inputs.onnx").write_bytes(file_of_graph(field(FIELD_NODE, field(1, b"") * 10**6)))
    (tmp_path / "deep.onnx").write_bytes(nested(10_000))
    # each value as large as anything that is evaluated, and at the end a reason to refuse
    nodes = [helper.make_node("Expand", ["c", "r"], [f"v{i}"]) for i in range(200)]
    nodes += [helper.make_node("Expand", ["c", "page"], [f"w{i}"]) for i in range(40_000)]
    nodes.append(helper.make_node("Odd", ["x"], ["y"], name="odd", domain="own"))
    many = model(nodes, [ints("c", 1), ints("r", 2**20), ints("page", 4096)])
    (tmp_path / "values.onnx").write_bytes(many.SerializeToString())
    command = [sys.executable, "-c", HEAVY, str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert int(found.stdout) < 10**9


_opened: list[str] | None = None


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _opened is not None:
        _opened.append(str(arguments[0]))


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """Every path that the interpreter opens, until the test ends."""
    global _opened
    if not getattr(sys, "_dataflow_sim_audited", False):
        sys.addaudithook(_audit)
        sys._dataflow_sim_audited = True  # type: ignore[attr-defined]
    _opened = []
    yield _opened
    _opened = None


@pytest.mark.parametrize("location", ["/etc/passwd", "../../x", "beside.bin"])
def test_external_data_is_never_opened(location: str, tmp_path: Path, opened: list[str]) -> None:
    (tmp_path / "beside.bin").write_bytes(bytes(4096))

    def external(name: str, dims: Sequence[int], kind: int = TensorProto.FLOAT) -> TensorProto:
        tensor = TensorProto(name=name, dims=dims, data_type=kind)
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        return tensor

    value = helper.make_tensor_value_info("y2", TensorProto.FLOAT, (1, 4, 8, 8))
    inner = helper.make_node("Add", ["x", "e"], ["y2"])
    body = helper.make_graph([inner], "b", [], [value], [external("e", (4, 1, 1))])
    found = model(
        [
            helper.make_node("Constant", [], ["bias"], value=external("", (4, 1, 1))),
            helper.make_node("ConstantOfShape", ["n"], ["more"], value=external("", (1,))),
            helper.make_node("Add", ["bias", "more"], ["sum"]),
            helper.make_node("Softmax", ["small"], ["soft"]),
            helper.make_node("Mul", ["sum", "soft"], ["factor"]),
            helper.make_node("Mul", ["x", "factor"], ["scaled"]),
            helper.make_node("If", ["on"], ["z"], then_branch=body, else_branch=body),
            node("Add", "scaled", "z"),
        ],
        [
            ints("n", 4, 1, 1),
            external("small", (4, 1, 1)),
            helper.make_tensor("on", TensorProto.BOOL, [], [True]),
        ],
    )
    path = tmp_path / "network.onnx"
    path.write_bytes(found.SerializeToString())
    read(path)  # whatever modules are still to be imported
    opened.clear()
    network = resolve(load_model(path), "network", {})
    assert opened == [str(path)]
    assert network.constants["small"].value is None
    assert network.constants["bias"].value is None
    assert network.constants["more"].shape == (4, 1, 1)


FUZZED = ("torch_cond_if", "lstm_bidir_dynamo", "hf_llama_tiny_decode_kv63")


def damaged(whole: bytes, seed: int) -> bytes:
    """The bytes with a few flipped, overwritten or cut out, or the end cut off."""
    generator = random.Random(seed)
    data = bytearray(whole)
    for _ in range(generator.choice((1, 1, 2, 5))):
        at = generator.randrange(len(data))
        kind = generator.randrange(5)
        if kind == 0:
            data[at] ^= 1 << generator.randrange(8)
        elif kind == 1:
            data[at] = generator.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif kind == 2:
            del data[at : at + generator.randrange(1, 9)]
        elif kind == 3:
            data[at:at] = generator.randbytes(generator.randrange(1, 9))
        elif len(data) > 2:
            del data[max(at, 1) :]
    return bytes(data)


def survives(directory: Path, folder: Path, seeds: range) -> int:
    """How many damaged files are refused; any other error than a NetworkError is a defect."""
    count = 0
    path = folder / "damaged.onnx"
    for name in FUZZED:
        whole = (directory / f"{name}.onnx").read_bytes()
        for seed in seeds:
            path.write_bytes(damaged(whole, seed))
            try:
                read(path)
            except NetworkError:
                count += 1
            except Exception as error:
                pytest.fail(f"{name}, seed {seed}: {type(error).__name__}: {error}")
    return count


def test_damaged_files_are_refused_or_read(shared: Path, tmp_path: Path) -> None:
    assert survives(shared / "models", tmp_path, range(60)) > 60


@pytest.mark.soak
def test_files_damaged_at_thousands_of_places(shared: Path, tmp_path: Path) -> None:
    assert survives(shared / "models", tmp_path, range(1000, 3000)) > 2000
