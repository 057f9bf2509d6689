"""Weights measured in files, against numpy on whole arrays; what is not in the file, or broken."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from onnx import TensorProto, helper, numpy_helper

from dataflow_sim.errors import NetworkError
from dataflow_sim.graph.histogram import Histogram
from dataflow_sim.ingest import FileWeights
from dataflow_sim.ingest.file import measure

Array = npt.NDArray[Any]

BITS = (2, 4, 8)
FLOATS = {
    "float": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "double": TensorProto.DOUBLE,
    "bfloat16": TensorProto.BFLOAT16,
}
INTEGERS = {
    "int8": TensorProto.INT8,
    "uint8": TensorProto.UINT8,
    "int16": TensorProto.INT16,
    "uint16": TensorProto.UINT16,
}
MEBIBYTE = 1 << 20


# ------------------------------------------------------------ files


def saved(directory: Path, *tensors: TensorProto) -> FileWeights:
    """A file with these initialisers."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    node = helper.make_node("Relu", ["x"], ["y"])
    graph = helper.make_graph([node], "graph", [value], [result], list(tensors))
    path = directory / "network.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return FileWeights(path)


def written(values: Array, kind: int) -> tuple[bytes, Array]:
    """The bytes of values as a kind, little end first, and what they say."""
    if kind == TensorProto.BFLOAT16:
        upper = (values.astype("<f4").view("<u4") >> 16).astype("<u2")
        return upper.tobytes(), (upper.astype("<u4") << 16).view("<f4")
    narrow = values.astype(helper.tensor_dtype_to_np_dtype(kind))
    return narrow.tobytes(), narrow


def raw(name: str, values: Array, kind: int) -> tuple[TensorProto, Array]:
    """A constant with its bytes in the file, and its values."""
    content, said = written(values, kind)
    return TensorProto(name=name, data_type=kind, dims=values.shape, raw_data=content), said


def outside(name: str, shape: tuple[int, ...], **entries: object) -> TensorProto:
    """A constant of 32-bit floats whose values are said to be elsewhere."""
    found = TensorProto(
        name=name,
        data_type=TensorProto.FLOAT,
        dims=shape,
        data_location=TensorProto.EXTERNAL,
    )
    for key, value in entries.items():
        found.external_data.add(key=key, value=str(value))
    return found


# ------------------------------------------------------------ whole arrays


def counted(values: Array, step: float, zeros: int) -> tuple[int, list[int], int, int]:
    """Zeros of a quantised array, how often each other value occurs, its own zeros, its distinct
    values."""
    numbers = values.astype(np.float64).ravel()
    counts = Counter(np.rint(numbers / step).astype(int).tolist())
    return counts.pop(0, 0), sorted(counts.values()), zeros, len(np.unique(numbers))


def expected(values: Array, bits: int) -> tuple[int, list[int], int, int]:
    """Of floats: the largest value at the end of a range that is symmetrical about zero."""
    numbers = values.astype(np.float64).ravel()
    step = np.abs(numbers).max() / (2 ** (bits - 1) - 1) or 1.0
    return counted(values, step, int((numbers == 0).sum()))


def as_it_is(values: Array) -> tuple[int, list[int], int, int]:
    """Of integers that the bits hold."""
    return counted(values, 1.0, int((values == 0).sum()))


def found(histogram: Histogram | None) -> tuple[int, list[int], int, int | None]:
    assert histogram is not None
    return (
        histogram.zeros,
        sorted(histogram.others),
        histogram.exact_zeros,
        histogram.distinct,
    )


def drawn(*shape: int, seed: int = 1) -> Array:
    """Numbers with zeros among them."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(shape) < 0.2, 0.0, rng.standard_normal(shape) * 3)


# ------------------------------------------------------------ kinds


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("kind", FLOATS)
def test_floats_are_quantised_to_a_symmetrical_range(tmp_path: Path, kind: str, bits: int) -> None:
    tensor, values = raw("w", drawn(7, 5, 3, 3), FLOATS[kind])
    assert found(saved(tmp_path, tensor).measure("w", bits)) == expected(values, bits)


@pytest.mark.parametrize("bits", BITS)
def test_floats_in_fields_of_their_own(tmp_path: Path, bits: int) -> None:
    """float_data and double_data in the place of raw bytes."""
    values = drawn(6, 4, 3, 3).astype(np.float32)
    single = helper.make_tensor("single", TensorProto.FLOAT, values.shape, values.ravel())
    double = helper.make_tensor("double", TensorProto.DOUBLE, values.shape, values.ravel())
    assert len(single.float_data) == len(double.double_data) == values.size
    weights = saved(tmp_path, single, double)
    for name in ("single", "double"):
        assert found(weights.measure(name, bits)) == expected(values, bits)


@pytest.mark.parametrize("kind", INTEGERS)
def test_integers_that_the_bits_hold_are_taken_as_they_are(tmp_path: Path, kind: str) -> None:
    least = 0 if kind.startswith("u") else -7
    rng = np.random.default_rng(3)
    tensor, values = raw("w", rng.integers(least, 8, (9, 4, 3, 3)), INTEGERS[kind])
    weights = saved(tmp_path, tensor)
    for bits in (4, 8):
        assert found(weights.measure("w", bits)) == as_it_is(values)


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_integers_at_their_own_width_are_taken_as_they_are(tmp_path: Path, kind: str) -> None:
    """All 256 values, each as often as it occurs."""
    values = np.repeat(np.arange(256), np.arange(1, 257))
    values = values if kind == "uint8" else values - 128
    tensor, said = raw("w", values, INTEGERS[kind])
    assert found(saved(tmp_path, tensor).measure("w", 8)) == as_it_is(said)


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("kind", ["int8", "int16"])
def test_integers_that_the_bits_do_not_hold_are_quantised(
    tmp_path: Path, kind: str, bits: int
) -> None:
    rng = np.random.default_rng(4)
    values = rng.integers(-127, 128, (9, 4, 3, 3))
    tensor, said = raw("w", values, INTEGERS[kind])
    assert found(saved(tmp_path, tensor).measure("w", bits)) == expected(said, bits)


def test_kinds_that_are_no_weights_are_not_measured(tmp_path: Path) -> None:
    shape = helper.make_tensor("shape", TensorProto.INT64, [3], [1, 2, 3])
    weights = saved(tmp_path, shape, raw("w", drawn(2, 2), TensorProto.FLOAT)[0])
    assert weights.measure("shape", 8) is None
    assert weights.names == ("w",)


def test_a_name_that_is_not_there_has_no_values(tmp_path: Path) -> None:
    weights = saved(tmp_path, raw("w", drawn(2, 2), TensorProto.FLOAT)[0])
    assert weights.measure("x", 8) is None
    assert weights.measure("other", 8) is None


def test_a_constant_without_elements_has_no_values(tmp_path: Path) -> None:
    weights = saved(tmp_path, raw("w", np.zeros((4, 0)), TensorProto.FLOAT)[0])
    assert weights.measure("w", 8) is None


def test_a_constant_of_one_number_is_one_value(tmp_path: Path) -> None:
    weights = saved(tmp_path, raw("w", np.array(-2.5), TensorProto.FLOAT)[0])
    assert found(weights.measure("w", 8)) == (0, [1], 0, 1)


def test_several_constants_of_a_file_are_told_apart(tmp_path: Path) -> None:
    several = {f"w{seed}": drawn(4, seed + 1, 3, 3, seed=seed) for seed in range(5)}
    tensors = [raw(name, values, TensorProto.FLOAT) for name, values in several.items()]
    weights = saved(tmp_path, *(tensor for tensor, _ in tensors))
    assert weights.names == tuple(several)
    for name, (_, values) in zip(several, tensors, strict=True):
        assert found(weights.measure(name, 8)) == expected(values, 8)


def test_arrays_that_onnx_itself_writes(tmp_path: Path) -> None:
    values = drawn(5, 4).astype(np.float32)
    tensor = numpy_helper.from_array(values, "w")
    assert found(saved(tmp_path, tensor).measure("w", 8)) == expected(values, 8)


# ------------------------------------------------------------ zeros and distinct values


@pytest.mark.parametrize("bits", BITS)
def test_nothing_but_zeros(tmp_path: Path, bits: int) -> None:
    tensor, _ = raw("w", np.zeros((6, 7)), TensorProto.FLOAT)
    assert found(saved(tmp_path, tensor).measure("w", bits)) == (42, [], 42, 1)


def test_either_zero_is_zero(tmp_path: Path) -> None:
    tensor, _ = raw("w", np.array([0.0, -0.0, 1.0, -1.0]), TensorProto.FLOAT)
    assert found(saved(tmp_path, tensor).measure("w", 8)) == (2, [1, 1], 2, 3)


def test_zeros_of_quantisation_are_not_exact_ones(tmp_path: Path) -> None:
    """Of 127 steps, all below half a step is zero; half a step goes to the even one."""
    values = np.array([127.0, 0.4, -0.4, 0.5, 0.6, 0.0, 1.5])
    tensor, _ = raw("w", values, TensorProto.FLOAT)
    assert found(saved(tmp_path, tensor).measure("w", 8)) == (4, [1, 1, 1], 1, 7)


@pytest.mark.parametrize("extra", [0, 1])
def test_distinct_values_are_counted_up_to_what_a_codebook_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: int
) -> None:
    monkeypatch.setattr(measure, "_MOST_DISTINCT", 20)
    values = np.resize(np.arange(20 + extra) - 7.25, 400)
    tensor, _ = raw("w", values, TensorProto.FLOAT)
    histogram = saved(tmp_path, tensor).measure("w", 8)
    assert histogram is not None
    assert histogram.distinct == (None if extra else 20)
    assert histogram.elements == 400


# ------------------------------------------------------------ values outside


def test_values_beside_the_file(tmp_path: Path) -> None:
    """Two constants in one file, the second behind the first and some bytes that are neither's."""
    one, other = (drawn(5, 4, 3, 3, seed=seed).astype("<f4") for seed in (5, 6))
    offset = one.nbytes + 13
    (tmp_path / "weights.bin").write_bytes(one.tobytes() + b"\xff" * 13 + other.tobytes())
    weights = saved(
        tmp_path,
        outside("one", one.shape, location="weights.bin", length=one.nbytes),
        outside("other", other.shape, location="weights.bin", offset=offset),
    )
    for bits in BITS:
        assert found(weights.measure("one", bits)) == expected(one, bits)
        assert found(weights.measure("other", bits)) == expected(other, bits)


def test_values_below_the_directory_of_the_file(tmp_path: Path) -> None:
    values = drawn(3, 3).astype("<f4")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "w").write_bytes(values.tobytes())
    weights = saved(tmp_path, outside("w", values.shape, location="parts/w"))
    assert found(weights.measure("w", 8)) == expected(values, 8)


@pytest.mark.parametrize("way", ["up", "absolute", "link"])
def test_values_outside_the_directory_are_not_read(tmp_path: Path, way: str) -> None:
    values = drawn(3, 3).astype("<f4")
    secret = tmp_path / "secret.bin"
    secret.write_bytes(values.tobytes())
    directory = tmp_path / "network"
    directory.mkdir()
    (directory / "link.bin").symlink_to(secret)
    location = {"up": "../secret.bin", "absolute": str(secret), "link": "link.bin"}[way]
    weights = saved(directory, outside("w", values.shape, location=location))
    assert weights.measure("w", 8) is None
    assert "w" not in weights.names


@pytest.mark.parametrize("location", ["", ".", "not_there.bin", "network.onnx/w", "a\0b"])
def test_values_that_are_nowhere_are_not_measured(tmp_path: Path, location: str) -> None:
    weights = saved(tmp_path, outside("w", (3, 3), location=location))
    assert weights.measure("w", 8) is None


@pytest.mark.parametrize("offset", ["-4", "1e1", "", "²"])
def test_offsets_that_are_no_numbers_are_not_followed(tmp_path: Path, offset: str) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(100))
    tensor = outside("w", (3, 3), location="weights.bin", offset=offset)
    assert saved(tmp_path, tensor).measure("w", 8) is None


@pytest.mark.parametrize(("bytes_there", "offset"), [(35, 0), (0, 0), (39, 4), (36, 10**18)])
def test_a_file_that_ends_too_soon_is_refused(
    tmp_path: Path, bytes_there: int, offset: int
) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(bytes_there))
    tensor = outside("w", (3, 3), location="weights.bin", offset=offset)
    weights = saved(tmp_path, tensor)
    with pytest.raises(NetworkError, match=r"weights\.bin' ends before the values of 'w' do"):
        weights.measure("w", 8)


# ------------------------------------------------------------ values that are none


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", FLOATS)
def test_values_that_are_not_finite_are_refused(tmp_path: Path, kind: str, value: float) -> None:
    values = drawn(5, 5)
    values[4, 3] = value
    tensor, _ = raw("w", values, FLOATS[kind])
    with pytest.raises(NetworkError, match="'w' holds values that are not finite"):
        saved(tmp_path, tensor).measure("w", 8)


def test_raw_bytes_that_are_too_few_are_not_measured(tmp_path: Path) -> None:
    tensor, _ = raw("w", drawn(4, 4), TensorProto.FLOAT)
    tensor.raw_data = tensor.raw_data[:-1]
    assert saved(tmp_path, tensor).measure("w", 8) is None


@pytest.mark.parametrize("largest", [1e300, 1.0, 1e-300])
def test_values_of_any_size_fill_the_range(tmp_path: Path, largest: float) -> None:
    """The largest is at the end of the range, and its negative at the other."""
    tensor, _ = raw("w", np.array([largest, -largest, 0.0, 0.0]), TensorProto.DOUBLE)
    assert found(saved(tmp_path, tensor).measure("w", 4)) == (2, [1, 1], 2, 3)


# ------------------------------------------------------------ pieces and memory


@pytest.mark.parametrize("piece", [1, 7, 100, 315, 1000])
def test_pieces_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    kinds = {**FLOATS, **INTEGERS}
    values = np.rint(drawn(7, 5, 3, 3) * 10)
    tensors = [
        raw(name, abs(values) if name.startswith("u") else values, kind)[0]
        for name, kind in kinds.items()
    ]
    whole = saved(tmp_path, *tensors)
    pieces = FileWeights(whole.path)
    for name in kinds:
        for bits in BITS:
            before = whole.measure(name, bits)
            with monkeypatch.context() as patched:
                patched.setattr(measure, "_PIECE_ELEMENTS", piece)
                assert pieces.measure(name, bits) == before
            assert before is not None


def test_a_value_that_is_not_finite_is_found_in_any_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "_PIECE_ELEMENTS", 4)
    values = np.ones(12)
    values[11] = np.nan
    weights = saved(tmp_path, raw("w", values, TensorProto.FLOAT)[0])
    with pytest.raises(NetworkError, match="not finite"):
        weights.measure("w", 8)


def test_what_was_measured_once_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = saved(tmp_path, raw("w", drawn(4, 4), TensorProto.FLOAT)[0])
    first = weights.measure("w", 8)
    other = weights.measure("w", 2)
    monkeypatch.setattr(measure, "_measured", None)
    assert weights.measure("w", 8) is first
    assert weights.measure("w", 2) is other


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_large_constants_are_not_read_as_a_whole(tmp_path: Path, where: str) -> None:
    """64 MiB of 32-bit floats: pieces of 8 MiB of doubles, and what is made of one at a time."""
    elements = 16 * MEBIBYTE
    values = np.resize(np.random.default_rng(8).standard_normal(1000).astype("<f4"), elements)
    if where == "inside":
        weights = saved(tmp_path, raw("w", values, TensorProto.FLOAT)[0])
    else:
        values.tofile(tmp_path / "weights.bin")
        weights = saved(tmp_path, outside("w", values.shape, location="weights.bin"))
    del values
    tracemalloc.start()
    try:
        histogram = weights.measure("w", 8)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert histogram is not None
    assert histogram.elements == elements
    assert histogram.distinct == 1000
    assert peak < 40 * MEBIBYTE
