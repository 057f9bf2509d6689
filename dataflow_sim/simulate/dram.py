"""The DRAM of a replay: named tensors of bit patterns, and which of their elements are there.

An element that neither the network brings nor the program has stored is not there, and to load
it is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.layer import Tensor
from dataflow_sim.graph.region import Box, whole
from dataflow_sim.simulate.codec import Array, Codec, Patterns, container


@dataclass(slots=True)
class Dram:
    """Tensors in DRAM by name, `codecs` saying how their numbers lie, and the bits that moved.

    `moved_bits` are by tensor and direction, "read" or "write".
    """

    tensors: Mapping[str, Tensor]
    codecs: Mapping[str, Codec]
    contents: dict[str, Patterns] = field(default_factory=dict)
    # of tensors that the program writes: which elements are there
    there: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    moved_bits: dict[tuple[str, str], int] = field(default_factory=dict)

    def bring(self, name: str, values: Array) -> None:
        """What is there from the beginning."""
        tensor = self.tensors[name]
        self.contents[name] = self.codecs[name].encode(values, whole(tensor.shape), tensor.bits)

    def expect(self, name: str) -> None:
        """A tensor that the program is to write."""
        tensor = self.tensors[name]
        self.contents[name] = np.zeros(tensor.shape, container(tensor.bits))
        self.there[name] = np.zeros(tensor.shape, bool)

    def load(self, name: str, box: Box, bits: int) -> Patterns:
        """A box as patterns of a buffer whose elements have so many bits.

        Raises ProgramError where an element is not there.
        """
        there = self.there.get(name)
        if there is not None and not there[box.slices].all():
            missing = int((~there[box.slices]).sum())
            raise ProgramError(f"{missing} of {box.elements} elements of '{name}' were not stored")
        patterns = self.contents[name][box.slices]
        if patterns.shape != box.shape:
            raise ProgramError(f"{box} leaves '{name}' of shape {self.tensors[name].shape}")
        self._move(name, "read", box)
        return self._recoded(name, patterns, box, self.tensors[name].bits, bits)

    def store(self, name: str, box: Box, patterns: Patterns, bits: int) -> None:
        """Store patterns of so many bits each to a box.

        Raises ProgramError where the program must not write, or the box leaves the tensor.
        """
        if name not in self.there:
            raise ProgramError(f"'{name}' is not the program's to write")
        target = self.contents[name][box.slices]
        if target.shape != patterns.shape:
            raise ProgramError(f"{box} leaves '{name}' of shape {self.tensors[name].shape}")
        self._move(name, "write", box)
        target[...] = self._recoded(name, patterns, box, bits, self.tensors[name].bits)
        self.there[name][box.slices] = True

    def values(self, name: str) -> Array:
        """The numbers of a tensor, NaN where none is there."""
        tensor = self.tensors[name]
        box = whole(tensor.shape)
        values = self.codecs[name].decode(self.contents[name], box, tensor.bits)
        there = self.there.get(name)
        return values if there is None else np.where(there, values, np.nan)

    def missing(self, name: str) -> int:
        """How many elements of a tensor are not there."""
        there = self.there.get(name)
        return 0 if there is None else int((~there).sum())

    def _move(self, name: str, direction: str, box: Box) -> None:
        key = (name, direction)
        bits = box.elements * self.tensors[name].bits
        self.moved_bits[key] = self.moved_bits.get(key, 0) + bits

    def _recoded(self, name: str, patterns: Patterns, box: Box, bits: int, wanted: int) -> Patterns:
        if bits == wanted:
            return patterns
        codec = self.codecs[name]
        return codec.encode(codec.decode(patterns, box, bits), box, wanted)
