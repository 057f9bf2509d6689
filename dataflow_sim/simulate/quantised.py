"""Numbers as integers and back, and what a quantised layer computes.

    decode   number  = (integer - zero point) · scale
    encode   integer = clip(round(number / scale) + zero point)     round: half-way to the even one

A map of a quantised network is its integers, 8 bits each, say.  A step decodes what it reads,
computes in 64-bit floats, and encodes what it writes.  Of a layer with a kernel

    y = encode(Σ decode(x) · decode(w) + decode(b))
      = clip(round((Σ (x - zx) · (w - zw) + b) · sx · sw / sy) + zy)

where zero padding is a number 0: it adds nothing.  The sum is one of integers, whose scale is
sx · sw, and with one scale of the map it can wait in an accumulator exactly (`sums_meaning`).  A
bias of integers has that scale too; what `post` does comes behind it.

What lies within a millionth of a step of half-way between two integers is taken to lie there: it
would but for the last bits of a scale in 32 bits, or of sums in 64, and those depend on the order
in which they are taken, that is on the schedule.  So every program of a network makes the same
integers.  Implementations that compute in 32-bit floats may go to the other integer there.

Source: QuantizeLinear, DequantizeLinear and QLinearConv of the ONNX operator set.  Used by the
replay alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.layer import Layer, LayerKind, Tensor, View
from dataflow_sim.graph.network import Constant
from dataflow_sim.graph.quantisation import Quantisation, holds_integers
from dataflow_sim.graph.region import Box

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

WIDEST_SUMS = 32
_PARTS = 2.0**20  # of a step that are told apart
_SLACK = 1e-3  # far above the rounding of 64-bit floats in any sum that fits 32 bits


def _parameters(
    meaning: Quantisation, shape: tuple[int, ...], box: Box | None
) -> tuple[Array, Integers]:
    """Scale and zero point of the elements of a box, or of a whole array."""
    if box is not None and meaning.axis is not None:
        span = box[meaning.axis].slice
        scale, zero = meaning.scale, meaning.zero_point
        meaning = replace(
            meaning,
            scale=scale if scale is None or not scale.ndim else scale[span],
            zero_point=zero if zero is None or not zero.ndim else zero[span],
        )
    try:
        return meaning.parameters(shape)
    except ValueError as error:
        raise ProgramError(f"integers of {meaning.bits} bits have no meaning: {error}") from error


def _as_integers(values: Array, meaning: Quantisation, scale: Array, zero: Integers) -> Array:
    """The integers that numbers become, held as floats; what is no number stays so."""
    steps = np.rint(np.rint(values / scale * _PARTS) / _PARTS)
    return np.asarray(np.clip(steps + zero, meaning.least, meaning.greatest))


def encode(values: Array, meaning: Quantisation, box: Box | None = None) -> Integers:
    """The integers that numbers become.

    `values` are a whole array, by whose axes the meaning goes, or the `box` of a tensor.  Raises
    ProgramError for what is no number, and where the file does not carry the scale.
    """
    for before in meaning.earlier:
        values = rounded(values, before, box)
    if np.isnan(values).any():
        raise ProgramError(
            f"{int(np.isnan(values).sum())} of {values.size} elements are no numbers"
        )
    scale, zero = _parameters(meaning, values.shape, box)
    return _as_integers(values, meaning, scale, zero).astype(np.int64)


def decode(
    integers: npt.NDArray[np.integer], meaning: Quantisation, box: Box | None = None
) -> Array:
    """The numbers that integers stand for, of a whole array or of the `box` of a tensor.

    Raises ProgramError where the file does not carry the scale.
    """
    scale, zero = _parameters(meaning, integers.shape, box)
    return (integers.astype(np.int64) - zero) * scale


def rounded(values: Array, meaning: Quantisation | None, box: Box | None = None) -> Array:
    """Numbers as they are once they have been integers; what is no number stays so."""
    if meaning is None:
        return values
    for each in (*meaning.earlier, meaning):
        scale, zero = _parameters(each, values.shape, box)
        values = (_as_integers(values, each, scale, zero) - zero) * scale
    return values


def numbers(constant: Constant) -> npt.NDArray[np.generic]:
    """The numbers of a constant, by the file's axes.

    Raises ProgramError where the network does not carry them.
    """
    if constant.value is None:
        raise ProgramError(f"the weights '{constant.name}' have no values to replay")
    if constant.quantisation is None or not holds_integers(constant.value):
        return constant.value
    try:
        return decode(constant.value.astype(np.int64), constant.quantisation)
    except ProgramError as error:
        raise ProgramError(f"the weights '{constant.name}': {error}") from error


def _as_read(view: View, tensors: Mapping[str, Tensor]) -> Quantisation | None:
    """What the integers of all of a view mean; None where segments differ, or are none."""
    found = {(segment.rounded or tensors[segment.tensor].quantisation) for segment in view.segments}
    (first,) = found if len(found) == 1 else (None,)
    return None if first is None else first.alone


def _waiting(scale: Array) -> Quantisation:
    """Integers of such a scale about 0, as wide as they come."""
    zero, several = np.zeros((), np.int64), np.size(scale) > 1
    return Quantisation(scale, zero, WIDEST_SUMS, True, axis=1 if several else None)


def sums_meaning(layer: Layer, tensors: Mapping[str, Tensor]) -> Quantisation | None:
    """What a layer's sums of products mean as integers, one scale per channel (axis 1).

    None where what the body meets or its kernel is not quantised, or where segments of the input
    have different scales.
    """
    if layer.kind is not LayerKind.CONVOLUTION or layer.weight is None:
        return None
    of_map, of_kernel = _as_read(layer.input, tensors), tensors[layer.weight].quantisation
    if layer.pre:
        of_map = layer.pre.steps[-1].rounded
    elif layer.input_pool is not None:
        of_map = layer.pooled_rounded
    if of_map is None or of_kernel is None:
        return None
    if of_map.scale is None or of_kernel.scale is None:
        return None
    return _waiting(of_map.scale * of_kernel.scale)


def running_meaning(layer: Layer, tensors: Mapping[str, Tensor]) -> Quantisation | None:
    """What sums or maxima of the map that a layer pools mean as integers: as the map's, about 0.

    None where that map is not quantised.
    """
    found = layer.rounded
    if layer.unpooled is not None:
        found = layer.unpooled.tensor.quantisation
    elif layer.post or layer.pre:
        found = (layer.post or layer.pre).steps[-1].rounded
    elif layer.weight is None:
        found = _as_read(layer.input, tensors)
    return None if found is None or found.scale is None else _waiting(found.scale)


def encode_sums(sums: Array, meaning: Quantisation, box: Box, bits: int) -> Integers:
    """Sums as the integers that they are, for accumulators of so many bits.

    Raises ProgramError where one does not fit its accumulator, or is not an integer.
    """
    scale, _ = _parameters(meaning, sums.shape, box)
    exact = sums / scale
    integers = np.rint(exact)
    if np.isnan(exact).any() or np.abs(exact - integers).max(initial=0) > _SLACK:
        raise ProgramError("sums of quantised maps are no integers")
    largest = np.abs(integers).max(initial=0)
    if largest > (1 << (bits - 1)) - 1:
        raise ProgramError(
            f"sums of quantised maps reach {largest:,.0f}, more than {bits} bits hold; "
            "raise compute.accumulator_bits"
        )
    return integers.astype(np.int64)
