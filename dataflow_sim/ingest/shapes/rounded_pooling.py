"""Pooling whose size is rounded up: how many windows there are.

Along an axis of n elements, p before them and q behind, a window of reach r (dilated kernel) that
moves by s begins at 0, s, 2 s, ... of the padded map:

    rounded up                           ceil((n + p + q - r) / s) + 1
    less those that begin behind n + p   (n + p - 1) // s + 1 at the most

ONNX says since version 22 that a window that would begin in the padding behind the map is left
out; runtimes and the frameworks that export files have always done so, but for files of older
versions ONNX's own inference counts it.  A file that states the size with such windows, as files
do whose shapes that inference has filled in, is taken by its word: what follows in it is stated
for that size.

Source: ONNX, operators MaxPool and AveragePool, version 22 against 19.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from dataflow_sim.ingest.file.nodes import is_standard
from dataflow_sim.ingest.shapes.inference import extents_of, tensor_type

_POOLINGS = ("AveragePool", "LpPool", "MaxPool")

Types = Mapping[str, onnx.TypeProto]


def without_windows_of_padding(
    node: onnx.NodeProto, found: Types, known: Types, stated: Types
) -> Types:
    """The types of what a node writes, less windows that begin behind the map.

    `found` is what inference made of them, `known` what is known of what the node reads; both are
    returned as they are of all but pooling that is rounded up.
    """
    if node.op_type not in _POOLINGS or not is_standard(node):
        return found
    said = {attribute.name: attribute for attribute in node.attribute}
    rounds_up = "ceil_mode" in said and said["ceil_mode"].i
    if not rounds_up or ("auto_pad" in said and said["auto_pad"].s not in (b"", b"NOTSET")):
        return found
    source = extents_of(known[node.input[0]]) if node.input[0] in known else None
    if source is None or len(source) < 3:
        return found
    rank = len(source) - 2
    strides = tuple(said["strides"].ints) if "strides" in said else (1,) * rank
    before = tuple(said["pads"].ints)[:rank] if "pads" in said else (0,) * rank
    if len(strides) != rank or len(before) != rank or min(strides) < 1:
        return found
    return {
        name: _limited(kind, source, strides, before, stated.get(name))
        for name, kind in found.items()
    }


def _limited(
    kind: onnx.TypeProto,
    source: tuple[int | None, ...],
    strides: tuple[int, ...],
    before: tuple[int, ...],
    stated: onnx.TypeProto | None,
) -> onnx.TypeProto:
    """A type with as many windows along each axis as begin in front of the map's end."""
    extents = extents_of(kind)
    if extents is None or len(extents) != len(source):
        return kind
    if stated is not None and extents_of(stated) == extents:
        return kind
    plane = [
        count if count is None or size is None else min(count, (size + pad - 1) // stride + 1)
        for count, size, pad, stride in zip(extents[2:], source[2:], before, strides, strict=True)
    ]
    return tensor_type(kind.tensor_type.elem_type, (*extents[:2], *plane))
