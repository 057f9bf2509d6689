"""Scales and zero points as a file states them, as `Quantisation` values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from dataflow_sim.graph.quantisation import Quantisation
from dataflow_sim.ingest.file.tensors import BITS

Array = npt.NDArray[np.generic]

# whether integers of an element type have a sign, for those that quantised numbers can be
SIGNED = {
    number: name.startswith("INT")
    for name, number in TensorProto.DataType.items()
    if name.removeprefix("U").startswith("INT") and BITS.get(number, 64) <= 32
}


@dataclass(frozen=True, slots=True)
class Stated:
    """A scale or a zero point in a file: its shape, and its values where the file has them."""

    shape: tuple[int, ...]
    value: Array | None


NO_ZERO_POINT = Stated((), np.zeros((), np.int64))


def meaning(
    scale: Stated, zero_point: Stated, element_type: int, axis: int = 0, block: int = 0
) -> Quantisation | None:
    """What integers of an element type mean; several scales lie along `axis`.

    None where the type is none of integers, or the file contradicts itself.
    """
    if element_type not in SIGNED:
        return None
    several = scale.shape not in ((), (1,))
    try:
        return Quantisation(
            scale=None if scale.value is None else scale.value.astype(np.float64),
            zero_point=None if zero_point.value is None else zero_point.value.astype(np.int64),
            bits=BITS[element_type],
            signed=SIGNED[element_type],
            axis=axis if several else None,
            block=block if several else 0,
        )
    except ValueError:
        return None


def integer_attribute(attributes: Mapping[str, object], name: str, default: int) -> int:
    """An attribute that is an integer, else the default."""
    value = attributes.get(name, default)
    return value if isinstance(value, int) else default
