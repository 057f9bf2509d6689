"""Tensors of a file as arrays, checked against what they claim; external ones are never read."""

from __future__ import annotations

from math import prod

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper

from dataflow_sim.errors import NetworkError
from dataflow_sim.ingest.file.nodes import check_extents, titled

Array = npt.NDArray[np.generic]

_BITS_BY_TYPE = {
    **dict.fromkeys(("INT2", "UINT2"), 2),
    **dict.fromkeys(("INT4", "UINT4", "FLOAT4E2M1"), 4),
    **dict.fromkeys(("FLOAT6E2M3", "FLOAT6E3M2"), 6),
    **dict.fromkeys(("BOOL", "INT8", "UINT8", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ"), 8),
    **dict.fromkeys(("FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT8E8M0"), 8),
    **dict.fromkeys(("INT16", "UINT16", "FLOAT16", "BFLOAT16"), 16),
    **dict.fromkeys(("INT32", "UINT32", "FLOAT"), 32),
    **dict.fromkeys(("INT64", "UINT64", "DOUBLE", "COMPLEX64"), 64),
    "COMPLEX128": 128,
}
# bits of an element, by the number of its type; text has no width, unknown types none either
BITS = {
    number: _BITS_BY_TYPE[name]
    for name, number in TensorProto.DataType.items()
    if name in _BITS_BY_TYPE
}

# integers and truth values, as numpy names them
WHOLE = {
    int(getattr(TensorProto, name.upper())): name
    for name in ("bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
}


def read_tensor(tensor: TensorProto, what: str, label: str) -> Array | None:
    """The array of a tensor; None where its data lie outside the file.

    `what` names it in messages.  Raises NetworkError where its data are not what its type and
    its dimensions announce.
    """
    check_extents(tensor.dims, f"{what} has", label)
    if tensor.data_type not in TensorProto.DataType.values() or not tensor.data_type:
        raise NetworkError(
            f"{label}: {what} has the element type {tensor.data_type}, which ONNX does not define"
        )
    if tensor.data_location == TensorProto.EXTERNAL:
        return None
    elements = prod(tensor.dims)
    bits = BITS.get(tensor.data_type)
    if tensor.HasField("raw_data") and bits is not None:
        needed = -(-elements * bits // 8)
        if len(tensor.raw_data) != needed:
            raise NetworkError(
                f"{label}: {what} has {len(tensor.raw_data):,} bytes of data, its shape "
                f"{tuple(tensor.dims)} needs {needed:,}"
            )
    try:
        array: Array = numpy_helper.to_array(tensor)
    except Exception as error:  # whatever is wrong inside, it is this tensor
        raise NetworkError(f"{label}: {what} cannot be read: {error}") from None
    return array


class Held:
    """What a Constant node holds: element type, extents, and the array where the file has it."""

    def __init__(self, element_type: int, extents: tuple[int, ...], array: Array | None) -> None:
        self.element_type = element_type
        self.extents = extents
        self.array = array


def held_constant(node: onnx.NodeProto, label: str) -> Held | None:
    """What a Constant node holds; None where it holds nothing that is understood.

    Raises NetworkError where its tensor contradicts itself.
    """
    for attribute in node.attribute:
        if attribute.name == "value" and attribute.HasField("t"):
            array = read_tensor(attribute.t, f"the value of {titled(node)}", label)
            return Held(attribute.t.data_type, tuple(attribute.t.dims), array)
        if attribute.name == "sparse_value" and attribute.HasField("sparse_tensor"):
            sparse = attribute.sparse_tensor
            check_extents(sparse.dims, f"the value of {titled(node)} has", label)
            return Held(sparse.values.data_type, tuple(sparse.dims), None)
        found: Array | None = None
        if attribute.name == "value_int":
            found = np.array(attribute.i, np.int64)
        elif attribute.name == "value_ints":
            found = np.array(attribute.ints, np.int64)
        elif attribute.name == "value_float":
            found = np.array(attribute.f, np.float32)
        elif attribute.name == "value_floats":
            found = np.array(attribute.floats, np.float32)
        elif attribute.name == "value_string":
            found = np.array(attribute.s, np.object_)
        elif attribute.name == "value_strings":
            found = np.array(list(attribute.strings), np.object_)
        if found is not None:
            kind = (
                TensorProto.STRING
                if found.dtype == np.object_
                else (onnx.helper.np_dtype_to_tensor_dtype(found.dtype))
            )
            return Held(kind, found.shape, found)
    return None


def filled(node: onnx.NodeProto, extents: tuple[int, ...], label: str) -> Array | None:
    """What a ConstantOfShape gives for a shape; None where its value lies outside the file."""
    for attribute in node.attribute:
        if attribute.name == "value" and attribute.HasField("t"):
            value = read_tensor(attribute.t, f"the value of {titled(node)}", label)
            if value is None or value.size != 1:
                return None
            return np.full(extents, value.ravel()[0], value.dtype)
    return np.zeros(extents, np.float32)
