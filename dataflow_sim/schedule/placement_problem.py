"""What is to be placed: buffers, when they live, and what must hold of their addresses.

Model.  A buffer is a size and a first and last moment, both included.  Two that live at one moment
must not overlap.  An address is a multiple of the alignment.  Memory may be cut in banks of equal
size from address 0 on; two buffers that are to be *apart* have no bank in common, whether they
live at one moment or not: a buffer that spans banks keeps the other out of all of them.

    address ▲
    bank 2  │      ┌────────┐          No bank has bytes of A and of B, which are apart; C may lie
    ────────┤      │   B    │ ┌───┐    in any gap.
    bank 1  │      └────────┘ │ C │
    ────────┤ ┌────────┐      └───┘
    bank 0  │ │   A    │
            └─┴────────┴─────────────► time

Time is cut into *sections*: the moments whose live sets are part of no neighbour's.  Whatever does
not overlap in these overlaps nowhere.

Bound.  The buffers of a section lie on top of one another, each takes its size rounded up to the
alignment, but for the highest:

    height >= max over sections of (sum of rounded sizes - largest excess of one of them)
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from dataflow_sim.errors import InputError
from dataflow_sim.schedule.allocation import Life, peak_bytes

_MOST_NAMED = 20  # problems that one message lists


@dataclass(frozen=True)
class Problem:
    """Buffers to place, and the rules for their addresses; raises InputError, all faults at once.

    `apart` are pairs of places in `lives`; `bank_bytes` is None where memory has no banks.
    """

    lives: tuple[Life, ...]
    alignment_bytes: int = 1
    apart: tuple[tuple[int, int], ...] = ()
    bank_bytes: int | None = None

    def __post_init__(self) -> None:
        """Check what is given."""
        faults = [*self._faults_of_lives(), *self._faults_of_rules()]
        if faults:
            more = len(faults) - _MOST_NAMED
            named = faults[:_MOST_NAMED] + ([f"and {more} more"] if more > 0 else [])
            raise InputError("buffers cannot be placed: " + "; ".join(named))

    def _faults_of_lives(self) -> list[str]:
        found = []
        for place, (size, first, last) in enumerate(self.lives):
            if size < 0:
                found.append(f"buffer {place} has {size} bytes, it must have 0 or more")
            if last < first:
                found.append(
                    f"buffer {place} lives from moment {first} to {last}, "
                    "its last must not be before its first"
                )
        return found

    def _faults_of_rules(self) -> list[str]:
        found = []
        if self.alignment_bytes < 1:
            found.append(f"the alignment is {self.alignment_bytes} bytes, it must be 1 or more")
        if self.bank_bytes is not None and self.bank_bytes < 1:
            found.append(f"a bank has {self.bank_bytes} bytes, it must have 1 or more")
        if self.apart and self.bank_bytes is None:
            found.append("buffers are to lie in banks apart, but no size of a bank is given")
        count = len(self.lives)
        for one, other in self.apart:
            if not (0 <= one < count and 0 <= other < count):
                found.append(
                    f"buffers {one} and {other} are to lie apart, there are those from 0 to "
                    f"{count - 1}"
                )
            elif one == other:
                found.append(f"buffer {one} cannot lie apart from itself")
        return found

    @cached_property
    def rounded(self) -> tuple[int, ...]:
        """Sizes in bytes, rounded up to the alignment."""
        step = self.alignment_bytes
        return tuple(-(-life.size_bytes // step) * step for life in self.lives)

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """The moments that stand for the sections, ascending."""
        firsts = sorted({life.first for life in self.lives})
        found, at = [], 0
        for end in sorted({life.last for life in self.lives}):
            if at < len(firsts) and firsts[at] <= end:
                found.append(end)
                while at < len(firsts) and firsts[at] <= end:
                    at += 1
        return tuple(found)

    @cached_property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """By buffer its first section, and the one behind its last."""
        ends = self.ends
        return tuple((bisect_left(ends, a), bisect_right(ends, b)) for _, a, b in self.lives)

    @cached_property
    def sections(self) -> tuple[tuple[int, ...], ...]:
        """By section the places of the buffers that live in it."""
        found: list[list[int]] = [[] for _ in self.ends]
        for place, (first, behind) in enumerate(self.spans):
            for section in range(first, behind):
                found[section].append(place)
        return tuple(map(tuple, found))

    @cached_property
    def apart_from(self) -> tuple[tuple[int, ...], ...]:
        """By buffer the places of those with which it shares no bank."""
        found: list[set[int]] = [set() for _ in self.lives]
        for one, other in self.apart:
            found[one].add(other)
            found[other].add(one)
        return tuple(tuple(sorted(each)) for each in found)

    @cached_property
    def live_bytes(self) -> int:
        """The largest live set."""
        return peak_bytes(self.lives)

    @cached_property
    def least_bytes(self) -> int:
        """No height is below this."""
        if self.alignment_bytes == 1:
            return self.live_bytes
        excess = [
            whole - life.size_bytes for whole, life in zip(self.rounded, self.lives, strict=True)
        ]
        return max(
            (
                sum(self.rounded[place] for place in members)
                - max(excess[place] for place in members)
                for members in self.sections
            ),
            default=0,
        )

    def height_of(self, addresses: Sequence[int]) -> int:
        """The highest address in use."""
        return max(
            (at + life.size_bytes for at, life in zip(addresses, self.lives, strict=True)),
            default=0,
        )
