"""Programs by hand in which maps fall apart into their rows, and rows become maps.

All maps have 3 channels of 6 rows and 5 columns of 2 images at 32 bits: a row has 120 bytes, and
its buffer the number of its map's buffer, and 10 more, and its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from dataflow_sim.graph.region import Box, Shape4, Span, whole
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.program.instructions import (
    Alloc,
    Compute,
    Free,
    Instruction,
    Join,
    Load,
    Program,
    Slice,
    Split,
    Store,
)
from tests.support.runs import Case, case_of

MAP, ROW = (2, 3, 6, 5), (2, 3, 1, 5)
POINT, WINDOW = (3, 3, 1, 1), (3, 3, 3, 3)
ROWS, ROW_BYTES, MAP_BITS = 6, 120, 180 * 32
BETWEEN, KERNEL_AT, KERNEL_A, KERNEL_B = 240, 960, 36, 324
PEAK = KERNEL_AT + KERNEL_B
ORIGIN = (0, 0, 0, 0)
WEIGHT_A, WEIGHT_B, A, B, IMAGE = 1, 2, 100, 200, 300  # buffers


def box(start: int, stop: int | None = None) -> Box:
    """Rows of a map, or one of them."""
    return whole(MAP)._replace(row=Span(start, start + 1 if stop is None else stop))


def row_of(buffer: int, row: int) -> int:
    """The buffer of a row of the map that is whole in another."""
    return buffer + 10 + row


def map_alloc(buffer: int, label: str, address: int) -> Alloc:
    """A buffer for a whole map."""
    return Alloc(buffer, address, ROWS * ROW_BYTES, MAP, 32, label)


def rows_of(alloc: Alloc, first: int | None = None) -> tuple[Alloc, ...]:
    """The buffers of a whole one's rows, numbered from `first` on, or as `row_of` says."""
    n, c, height, w = alloc.shape
    size = alloc.size_bytes // height
    first = row_of(alloc.buffer, 0) if first is None else first
    return tuple(
        Alloc(
            *(first + row, alloc.address + row * size, size, (n, c, 1, w), alloc.bits),
            *(f"{alloc.label}: row", alloc.memory),
        )
        for row in range(height)
    )


def split_of(alloc: Alloc, first: int | None = None) -> Split:
    """A whole buffer falls apart."""
    return Split(alloc.buffer, rows_of(alloc, first))


def join_of(alloc: Alloc, first: int | None = None) -> Join:
    """The rows of a whole buffer become it."""
    return Join(tuple(part.buffer for part in rows_of(alloc, first)), alloc)


MAP_A, MAP_B = map_alloc(A, "a", BETWEEN), map_alloc(B, "b", 0)


def step(layer: int, result: Slice, reads: Sequence[Slice], kernel: int, shape: Shape4) -> Compute:
    """A step that makes a result with the whole kernel, which has a buffer of that shape."""
    kernels = (Slice(kernel, ORIGIN, whole(shape)),)
    return Compute(layer, result, tuple(reads), kernels, None, None, (), None, True, True)


def kernel(number: int, name: str, address: int, shape: Shape4) -> tuple[Instruction, ...]:
    """A kernel comes whole."""
    size = 4 * whole(shape).elements
    alloc = Alloc(number, address, size, shape, 32, f"{name}: kernel")
    return alloc, Load(f"{name}.weight", whole(shape), number, ORIGIN)


def program_of(found: Case, capacity_bytes: int, instructions: Iterator[Instruction]) -> Program:
    """A program of the whole network."""
    graph = found.graph
    return Program(graph.name, capacity_bytes, graph.layers, graph.tensors, tuple(instructions))


@lru_cache
def chain(window: int = 3) -> Case:
    """A convolution of 1x1, then another of the window."""
    net = OnnxBuilder("chain", MAP)
    value = net.convolution("b", net.convolution("a", "input", 3, 1), 3, window)
    return case_of(net.model(value), "chain")


def one_above_the_other(spilled: bool) -> Program:
    """Convolutions of 1x1 and 3x3, whose maps share their places row by row.

    The first makes map a row by row, which is joined; then it is split again, and the second
    makes b row by row.  Row r of b is the last but one to need row r of a, and two rows of b come
    before any of a dies: b begins two rows below a, and its rows take the places of those that
    died.  `spilled`: between the two a goes to DRAM and comes back whole.

        b   | 0 | 1 | 2 | 3 | 4 | 5 |
        a           | 0 | 1 | 2 | 3 | 4 | 5 | kernel |
            0      240                     960      1284
    """
    there_and_back = (
        Store("a", whole(MAP), A, ORIGIN),
        Free(A),
        MAP_A,
        Load("a", whole(MAP), A, ORIGIN),
    )

    def instructions() -> Iterator[Instruction]:
        yield from _rows_that_are_joined()
        yield from there_and_back if spilled else ()
        yield from _rows_that_die()

    return program_of(chain(), PEAK, instructions())


def _rows_that_are_joined() -> Iterator[Instruction]:
    yield from kernel(WEIGHT_A, "a", KERNEL_AT, POINT)
    for row, part in enumerate(rows_of(MAP_A)):
        yield Alloc(row_of(IMAGE, row), 0, ROW_BYTES, ROW, 32, "input: row")
        yield Load("input", box(row), row_of(IMAGE, row), ORIGIN)
        yield part
        reads = [Slice(row_of(IMAGE, row), ORIGIN, box(row))]
        yield step(0, Slice(part.buffer, ORIGIN, box(row)), reads, WEIGHT_A, POINT)
        yield Free(row_of(IMAGE, row))
    yield Free(WEIGHT_A)
    yield join_of(MAP_A)


def _rows_that_die() -> Iterator[Instruction]:
    yield from kernel(WEIGHT_B, "b", KERNEL_AT, WINDOW)
    yield split_of(MAP_A)
    for row, part in enumerate(rows_of(MAP_B)):
        yield part
        needed = range(max(0, row - 1), min(ROWS, row + 2))
        reads = [Slice(row_of(A, other), ORIGIN, box(other)) for other in needed]
        yield step(1, Slice(part.buffer, ORIGIN, box(row)), reads, WEIGHT_B, WINDOW)
        if row > 0:
            yield Free(row_of(A, row - 1))
    yield Free(row_of(A, ROWS - 1))
    yield join_of(MAP_B)
    yield Store("b", whole(MAP), B, ORIGIN)
    yield Free(B)
    yield Free(WEIGHT_B)


@lru_cache
def branches() -> Case:
    """Two 1x1 convolutions of the input."""
    net = OnnxBuilder("branches", MAP)
    one, two = (net.convolution(name, "input", 3, 1) for name in "ab")
    return case_of(net.model(net.concat("out", [one, two])), "branches")


BRANCHED = map_alloc(IMAGE, "input", 0)


def side_by_side() -> Program:
    """The input comes whole and is split; the second branch reads its first two rows first."""
    results = (map_alloc(A, "a", 720), map_alloc(B, "b", 1440))
    weights = (WEIGHT_A, WEIGHT_B)

    def instructions() -> Iterator[Instruction]:
        yield BRANCHED
        yield Load("input", whole(MAP), IMAGE, ORIGIN)
        yield from kernel(WEIGHT_A, "a", 2160, POINT)
        yield from kernel(WEIGHT_B, "b", 2196, POINT)
        yield split_of(BRANCHED)
        for row, part in enumerate(rows_of(BRANCHED)):
            for layer in (1, 0) if row < 2 else (0, 1):
                made = rows_of(results[layer])[row]
                yield made
                read = Slice(part.buffer, ORIGIN, box(row))
                yield step(layer, read._replace(buffer=made.buffer), [read], weights[layer], POINT)
            yield Free(part.buffer)
        for result, number in zip(results, weights, strict=True):
            yield join_of(result)
            yield Store(result.label, whole(MAP), result.buffer, ORIGIN)
            yield Free(result.buffer)
            yield Free(number)

    return program_of(branches(), 2400, instructions())


def in_place() -> Program:
    """Two 1x1 convolutions in the place of the input: rows 2 and 3 to the end first."""
    places = map_alloc(IMAGE, "input", 0)

    def rows(layer: int, which: Sequence[int]) -> Iterator[Instruction]:
        for row in which:
            place = Slice(row_of(IMAGE, row), ORIGIN, box(row))
            yield step(layer, place, [place], (WEIGHT_A, WEIGHT_B)[layer], POINT)

    def instructions() -> Iterator[Instruction]:
        yield places
        yield Load("input", whole(MAP), IMAGE, ORIGIN)
        yield from kernel(WEIGHT_A, "a", 720, POINT)
        yield from kernel(WEIGHT_B, "b", 756, POINT)
        yield split_of(places)
        yield from rows(0, range(ROWS))
        yield from rows(1, (2, 3))
        yield join_of(places)
        yield Store("b", box(2, 4), IMAGE, (0, 0, 2, 0))
        yield split_of(places)
        yield from rows(1, (0, 1, 4, 5))
        yield join_of(places)
        yield Store("b", box(0, 2), IMAGE, ORIGIN)
        yield Store("b", box(4, 6), IMAGE, (0, 0, 4, 0))
        yield from (Free(buffer) for buffer in (IMAGE, WEIGHT_A, WEIGHT_B))

    return program_of(chain(1), 792, instructions())
