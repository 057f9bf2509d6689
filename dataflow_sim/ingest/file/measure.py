"""Measuring the weights of a file, piece by piece: the file is mapped, never read as a whole.

The fields of the graph are walked in the file's bytes, and of a constant only where its values lie
is kept; these are then looked at in pieces of a few megabytes, twice: once for the largest value
and the distinct ones, once for how often each quantised value occurs.

    GraphProto    initializer = 5, sparse ones are not measured
    TensorProto   dims = 1, data_type = 2, float_data = 4, name = 8, raw_data = 9, double_data = 10,
                  external_data = 13
    external      key = 1, value = 2: location, offset, length

Source: onnx/onnx.proto and the wire format of Protocol Buffers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from mmap import ACCESS_READ, mmap
from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnx import TensorProto
from onnx.helper import tensor_dtype_to_np_dtype

from dataflow_sim.errors import NetworkError
from dataflow_sim.graph.histogram import Histogram
from dataflow_sim.ingest.file.wire import fields_of

_GRAPH, _INITIALIZER = 7, 5
_DIMS, _TYPE, _FLOATS, _NAME, _RAW, _DOUBLES, _EXTERNAL = 1, 2, 4, 8, 9, 10, 13
_DELIMITED, _VARINT = 2, 0
_PIECE_ELEMENTS = 1 << 20
# more distinct values than a codebook could hold are not counted
_MOST_DISTINCT = 1 << 16
_FLOATING = (*(TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16),)
_TYPES = (
    *_FLOATING,
    *(TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16),
)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the values of a constant lie: a file, and bytes of it."""

    path: Path
    start: int
    stop: int
    kind: int
    elements: int


@dataclass(slots=True)
class FileWeights:
    """The constants of a file, to be measured by name."""

    path: Path
    places: Mapping[str, _Place] | None = None
    known: dict[tuple[str, int], Histogram | None] = field(default_factory=dict)

    def measure(self, name: str, bits: int) -> Histogram | None:
        """The values of a constant quantised to so many bits; None where they are not in the file.

        Raises NetworkError where values that the file says are elsewhere cannot be read.
        """
        if self.places is None:
            self.places = _places(self.path)
        place = self.places.get(name)
        if (name, bits) not in self.known:
            self.known[name, bits] = None if place is None else _measured(place, name, bits)
        return self.known[name, bits]

    @property
    def names(self) -> tuple[str, ...]:
        """The constants whose values can be measured."""
        if self.places is None:
            self.places = _places(self.path)
        return tuple(self.places)


def _places(path: Path) -> dict[str, _Place]:
    found: dict[str, _Place] = {}
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        for outer in fields_of(data, 0, len(data)):
            if outer.number != _GRAPH or outer.wire != _DELIMITED:
                continue
            for inner in fields_of(data, outer.start, outer.stop):
                if inner.number == _INITIALIZER and inner.wire == _DELIMITED:
                    _note(found, path, data, inner.start, inner.stop)
    return found


def _note(found: dict[str, _Place], path: Path, data: mmap, start: int, stop: int) -> None:
    """Note where the values of one constant lie, if they are of a kind that is measured."""
    name, kind, elements = "", 0, 1
    own: tuple[int, int] | None = None
    outside: dict[str, str] = {}
    for each in fields_of(data, start, stop):
        if each.number == _NAME:
            name = data[each.start : each.stop].decode("utf-8", "replace")
        elif each.number == _TYPE:
            kind = each.value(data)
        elif each.number == _DIMS and each.wire == _VARINT:
            elements *= each.value(data)
        elif each.number == _DIMS:
            for extent in each.packed(data):
                elements *= extent
        elif each.number in (_RAW, _FLOATS, _DOUBLES) and each.wire == _DELIMITED:
            own = (each.start, each.stop) if each.stop > each.start else own
        elif each.number == _EXTERNAL:
            texts = {
                part.number: data[part.start : part.stop].decode("utf-8", "replace")
                for part in fields_of(data, each.start, each.stop)
            }
            outside[texts.get(1, "")] = texts.get(2, "")
    if kind not in _TYPES or not elements:
        return
    size = elements * _dtype(kind).itemsize
    if own is not None and own[1] - own[0] == size:
        found[name] = _Place(path, *own, kind, elements)
    elif "location" in outside:
        offset, location = outside.get("offset", "0"), outside["location"]
        legal = offset.isascii() and offset.isdigit() and "\0" not in location
        beside = path.parent / location if legal else path.parent
        if beside.resolve().is_relative_to(path.parent.resolve()) and beside.is_file():
            found[name] = _Place(beside, int(offset), int(offset) + size, kind, elements)


def _dtype(kind: int) -> np.dtype[np.generic]:
    return np.dtype("<u2") if kind == TensorProto.BFLOAT16 else tensor_dtype_to_np_dtype(kind)


def _pieces(place: _Place, name: str) -> Iterator[npt.NDArray[np.float64]]:
    """The values in pieces."""
    if place.path.stat().st_size < place.stop:
        raise NetworkError(f"'{place.path}' ends before the values of '{name}' do")
    values = np.memmap(place.path, _dtype(place.kind), "r", place.start, (place.elements,))
    for start in range(0, place.elements, _PIECE_ELEMENTS):
        piece = np.asarray(values[start : start + _PIECE_ELEMENTS])
        if place.kind == TensorProto.BFLOAT16:  # the upper half of a 32-bit float
            piece = (piece.astype(np.uint32) << 16).view(np.float32)
        yield piece.astype(np.float64)


def _measured(place: _Place, name: str, bits: int) -> Histogram:
    lowest, highest, zeros = 0.0, 0.0, 0
    distinct: npt.NDArray[np.float64] | None = np.zeros(0)
    for piece in _pieces(place, name):
        if not np.isfinite(piece).all():
            raise NetworkError(f"'{name}' holds values that are not finite")
        lowest = min(lowest, float(piece.min(initial=0.0)))
        highest = max(highest, float(piece.max(initial=0.0)))
        zeros += int((piece == 0).sum())
        if distinct is not None:
            distinct = np.union1d(distinct, piece)
            distinct = distinct if len(distinct) <= _MOST_DISTINCT else None
    integers = place.kind not in _FLOATING
    if integers and highest - lowest < 1 << bits:  # as they are
        step, low, high = 1.0, int(lowest), int(highest)
    else:
        most = (1 << (bits - 1)) - 1 or 1
        step, low, high = max(-lowest, highest) / most or 1.0, -most, most
    counts = np.zeros(high - low + 1, np.int64)
    for piece in _pieces(place, name):
        places = np.clip(np.rint(piece / step), low, high).astype(np.int64) - low
        counts += np.bincount(places, minlength=len(counts))
    others = np.delete(counts, -low)
    return Histogram(
        zeros=int(counts[-low]),
        others=tuple(others[others > 0].tolist()),
        exact_zeros=zeros,
        distinct=None if distinct is None else len(distinct),
    )
