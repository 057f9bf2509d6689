"""Buffers of a loop nest as `loop_nest_oracle` has them: what each holds and loads."""

from itertools import product

Element = tuple[int, ...]
Axes = tuple[tuple[int, ...], ...]


def whole_units(bits: int, unit: int) -> int:
    """Whole bytes, and as many more as end at a multiple of the unit."""
    whole = (bits + 7) // 8
    return whole + -whole % unit


class Buffer:
    """The identities and the per-axis maximum extents of the tiles a buffer is used for."""

    def __init__(self) -> None:
        self.identities: set[Element] = set()
        self.extents: list[int] = []

    def note(self, identity: Element, axes: Axes) -> None:
        self.identities.add(identity)
        if not self.extents:
            self.extents = [0] * len(axes)
        for axis, coordinates in enumerate(axes):
            self.extents[axis] = max(self.extents[axis], len(coordinates))

    def local_bytes(self, bits: int, double_buffer: bool, unit: int) -> int:
        if not self.extents:
            return 0
        elements = 1
        for extent in self.extents:
            elements *= extent
        one_slot = whole_units(elements * bits, unit)
        streamed = len(self.identities) > 1
        return one_slot * (2 if double_buffer and streamed else 1)


class Role(Buffer):
    """A buffer that holds one tile read from DRAM, and counts the element reads."""

    def __init__(self) -> None:
        super().__init__()
        self.identity: Element | None = None
        self.held: set[Element] = set()
        self.ever_read: set[Element] = set()
        self.first_reads = 0
        self.repeated_reads = 0

    @property
    def reads(self) -> int:
        return self.first_reads + self.repeated_reads

    def use(self, identity: Element, axes: Axes) -> None:
        """Have the tile with these coordinates, loading it if another identity is held."""
        self.note(identity, axes)
        tile = set(product(*axes))
        if identity != self.identity:
            self.identity = identity
            self.held = tile
            for element in tile:
                if element in self.ever_read:
                    self.repeated_reads += 1
                else:
                    self.first_reads += 1
                    self.ever_read.add(element)
        assert self.held == tile, f"the tile held as {identity} is not the one the step needs"


class RollingRole(Role):
    """The input's buffer: rows that the tile above left are not read again."""

    def __init__(self) -> None:
        super().__init__()
        self.rolled = False
        self.most_rows = 0
        self.rows_held: set[int] = set()

    def roll(self, identity: Element, axes: Axes) -> None:
        """As `use`, for an identity (group, k, batch tile, column tile, row tile)."""
        if identity == self.identity:
            return self.use(identity, axes)
        above = self.identity is not None and self.identity == (*identity[:-1], identity[-1] - 1)
        tile = set(product(*axes))
        kept = tile & self.held if above else set()
        self.rolled |= bool(kept)
        new_rows = len(set(axes[2]) - self.rows_held) if above else len(axes[2])
        self.most_rows = max(self.most_rows, len(self.rows_held) + new_rows, len(axes[2]))
        self.rows_held = set(axes[2])
        self.note(identity, axes)
        self.identity, self.held = identity, tile
        for element in tile - kept:
            if element in self.ever_read:
                self.repeated_reads += 1
            else:
                self.first_reads += 1
                self.ever_read.add(element)
        return None

    def local_bytes(self, bits: int, double_buffer: bool, unit: int) -> int:
        if not (self.rolled and double_buffer):
            return super().local_bytes(bits, double_buffer, unit)
        images, channels, _, columns = self.extents
        return whole_units(images * channels * self.most_rows * columns * bits, unit)
