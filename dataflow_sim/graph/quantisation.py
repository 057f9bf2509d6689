"""What the integers of a quantised tensor mean.

    number  = (integer - zero point) · scale
    integer = clip(round(number / scale) + zero point)

`round` goes to the nearest integer, and half-way between two of them to the even one; `clip` to
the least or the greatest integer of the type.  `simulate.quantised` does it to numbers.

Scale and zero point are one for the whole tensor, one for each index of an axis, or one for each
block of so many indices of an axis.

Source: QuantizeLinear and DequantizeLinear of the ONNX operator set.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Scales = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Number = TypeVar("Number", np.float64, np.int64)

_LARGEST_BITS = 32


def holds_integers(array: npt.NDArray[np.generic]) -> bool:
    """Whether an array is one of integers, of 2 or 4 bits too, which numpy itself has not."""
    return array.dtype.kind in "iu" or array.dtype.name.removeprefix("u").startswith("int")


def _same(one: npt.NDArray[np.generic] | None, other: npt.NDArray[np.generic] | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.shape == other.shape and bool((one == other).all())


@dataclass(frozen=True, eq=False)
class Quantisation:
    """The integers that stand for a tensor's numbers: `bits` wide, `signed` or not.

    `scale` and `zero_point` have no axis, one, or (with `block`) those of the tensor; None where
    the file does not carry them.  With `block` above 0 each holds for so many indices of `axis`.
    Numbers that become such integers were rounded as `earlier` says before, in that order.  Equal
    where all of it is.  Raises ValueError for a scale that is not positive, a zero point that is
    no such integer, shapes that do not fit each other.
    """

    scale: Scales | None
    zero_point: Integers | None
    bits: int
    signed: bool
    axis: int | None = None
    block: int = 0
    earlier: tuple[Quantisation, ...] = ()

    def __post_init__(self) -> None:
        """Copy the arrays, freeze them, and check them."""
        if not 1 <= self.bits <= _LARGEST_BITS:
            raise ValueError(f"integers of {self.bits} bits; there are those of 1 to 32")
        scale = self._frozen(np.float64, "scale", self.scale)
        zero = self._frozen(np.int64, "zero_point", self.zero_point)
        if scale is not None and not (np.isfinite(scale) & (scale > 0)).all():
            raise ValueError("a scale is not a positive number")
        if zero is not None and not ((zero >= self.least) & (zero <= self.greatest)).all():
            raise ValueError(f"a zero point is not between {self.least} and {self.greatest}")
        if scale is not None and zero is not None and zero.ndim and zero.shape != scale.shape:
            raise ValueError(f"scales of shape {scale.shape}, zero points of shape {zero.shape}")

    def _frozen(
        self, kind: type[Number], name: str, given: npt.NDArray[Number] | None
    ) -> npt.NDArray[Number] | None:
        """One of the arrays as a copy that cannot be written; without an axis it has none."""
        if given is None:
            return None
        array = np.array(given, kind)
        if self.axis is None:
            if array.size != 1:
                raise ValueError(f"{array.size} of {name} and no axis that they lie along")
            array = array.reshape(())
        elif not self.block and array.ndim > 1:
            raise ValueError(f"{name} has {array.ndim} axes, it may have one")
        array.flags.writeable = False
        object.__setattr__(self, name, array)
        return array

    @property
    def least(self) -> int:
        """The least of the integers."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def greatest(self) -> int:
        """The greatest of the integers."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1

    @property
    def known(self) -> bool:
        """Whether the file carries both scale and zero point."""
        return self.scale is not None and self.zero_point is not None

    def parameters(self, shape: tuple[int, ...]) -> tuple[Scales, Integers]:
        """Scale and zero point of every element of a whole array of this shape, to be broadcast.

        Raises ValueError where the file does not carry them, or they do not fit the shape.
        """
        if self.scale is None or self.zero_point is None:
            missing = "scale" if self.scale is None else "zero point"
            raise ValueError(f"the file does not carry the {missing}")
        return self._spread(self.scale, shape), self._spread(self.zero_point, shape)

    def _spread(self, array: npt.NDArray[Number], shape: tuple[int, ...]) -> npt.NDArray[Number]:
        if self.axis is None or not array.ndim:
            return array
        axis = self.axis % len(shape)
        if self.block:
            array = np.repeat(array, self.block, axis)
            array = array[tuple(slice(extent) for extent in shape)]
        else:
            array = array.reshape([-1 if place == axis else 1 for place in range(len(shape))])
        if array.shape[axis] not in (1, shape[axis]):
            raise ValueError(f"{array.shape[axis]} scales for {shape[axis]} indices")
        return array

    def behind(self, before: Quantisation | None) -> Quantisation:
        """This quantisation of numbers that were rounded as another says before."""
        if before is None or before == self:
            return self
        return replace(self, earlier=(*before.earlier, before.alone, *self.earlier))

    @property
    def alone(self) -> Quantisation:
        """What the integers mean, whatever the numbers were rounded to before."""
        return replace(self, earlier=()) if self.earlier else self

    def __eq__(self, other: object) -> bool:
        """Whether the same integers mean the same numbers, by the same roundings."""
        if self is other:
            return True
        if not isinstance(other, Quantisation):
            return NotImplemented
        return (
            (self.bits, self.signed, self.axis, self.block, self.earlier)
            == (other.bits, other.signed, other.axis, other.block, other.earlier)
            and _same(self.scale, other.scale)
            and _same(self.zero_point, other.zero_point)
        )

    def __hash__(self) -> int:
        """Equal quantisations have the same hash."""
        arrays = (None if a is None else a.tobytes() for a in (self.scale, self.zero_point))
        return hash((self.bits, self.signed, self.axis, self.block, *arrays))
