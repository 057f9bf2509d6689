"""Memory on chip as the replay has it: its bytes, and which element each place of a buffer holds.

A buffer is a window on the bytes of its memory at the address that the program gave it.  It lies
row by row, each row with all of its batch, channels and columns, so that the buffers of a map's
rows, one behind the other, are windows on the very bytes of the map's.  Fresh and freed bytes hold
NaN, so that reading what was never loaded poisons the result.  Beside every buffer stands a shadow
of the same shape, with the identity of the element that lies at each place; a place that holds
none has NOTHING.

Assumed: 32 bits an element.  Ignored: overlaps of buffers, which the occupancy finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from dataflow_sim.errors import ProgramError
from dataflow_sim.program.instructions import Alloc, Join, Memory, Slice, Split
from dataflow_sim.simulate.buffers import Buffers

_BITS = 32
NOTHING = -1
Window = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Number = TypeVar("Number", np.float32, np.int64)


@dataclass(slots=True)
class OnChip:
    """Local memory and the accumulators, of so many bytes each, and the buffers in them."""

    local_bytes: int
    accumulator_bytes: int
    memory: dict[Memory, bytearray] = field(init=False)
    there: Buffers = field(default_factory=Buffers)
    windows: dict[int, Window] = field(default_factory=dict)
    shadows: dict[int, Ids] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Memory of zeros; a buffer poisons its bytes when it is reserved."""
        self.memory = {
            Memory.LOCAL: bytearray(self.local_bytes),
            Memory.ACCUMULATORS: bytearray(self.accumulator_bytes),
        }

    def alloc(self, alloc: Alloc) -> None:
        """Reserve a buffer that holds nothing."""
        self.there.open(alloc)
        self._open(alloc)[...] = np.nan
        self.shadows[alloc.buffer] = np.full(alloc.shape, NOTHING, np.int64)

    def stand(self, alloc: Alloc, shadow: Ids) -> None:
        """A buffer whose contents, which the shadow names, lie there already."""
        self.there.open(alloc)
        self._open(alloc)
        self.shadows[alloc.buffer] = shadow.copy()

    def free(self, buffer: int) -> None:
        """Give a buffer back."""
        self.there.close(buffer)
        self._close(buffer)[0][...] = np.nan

    def split(self, split: Split) -> None:
        """The buffer of a whole map becomes those of its rows, which hold what lies there."""
        whole = self.there.split(split)
        _, shadow = self._close(whole.buffer)
        for row, part in enumerate(split.parts):
            self._open(part)
            self.shadows[part.buffer] = shadow[:, :, row : row + 1].copy()

    def join(self, join: Join) -> None:
        """The buffers of a map's rows become one of the whole, which holds what lies there."""
        shadows = [self._close(part.buffer)[1] for part in self.there.join(join)]
        self._open(join.whole)
        self.shadows[join.whole.buffer] = np.concatenate(shadows, axis=2)

    def values(self, part: Slice) -> Window:
        """The part of a buffer that a slice names, as a window on its bytes.

        Raises ProgramError where there is no such buffer, or the slice leaves it.
        """
        return self._window(self.windows, part)

    def shadow(self, part: Slice) -> Ids:
        """The identities of the elements there.  Raises ProgramError as `values` does."""
        return self._window(self.shadows, part)

    def _open(self, alloc: Alloc) -> Window:
        """The window of a buffer on the bytes of its memory."""
        if alloc.bits != _BITS:
            raise ProgramError(f"buffer of {alloc.bits} bits; a replay needs {_BITS}")
        count = int(np.prod(alloc.shape))
        flat = np.frombuffer(self.memory[alloc.memory], np.float32, count, alloc.address)
        n, c, h, w = alloc.shape
        self.windows[alloc.buffer] = flat.reshape(h, n, c, w).transpose(1, 2, 0, 3)
        return self.windows[alloc.buffer]

    def _close(self, buffer: int) -> tuple[Window, Ids]:
        """Forget a buffer, and give what it was."""
        return self.windows.pop(buffer), self.shadows.pop(buffer)

    def _window(
        self, arrays: Mapping[int, npt.NDArray[Number]], part: Slice
    ) -> npt.NDArray[Number]:
        """The part of a buffer, or of its shadow, that a slice names."""
        held = self.there[part.buffer]
        shape = part.box.shape
        steps = (1, 1, *part.stride)
        index = tuple(
            slice(o, o + e * step, step)
            for o, e, step in zip(part.origin, shape, steps, strict=True)
        )
        window = arrays[part.buffer][index]
        if window.shape != shape:
            raise ProgramError(
                f"{shape} at {part.origin} leaves buffer {part.buffer} of shape {held.shape}"
            )
        return window
