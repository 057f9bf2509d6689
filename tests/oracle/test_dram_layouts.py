"""Layouts in DRAM against a plain dictionary: an address for each single element of a tensor.

The dictionary is filled by walking through the tensor in the order that the layout's name says;
where a box lies is then what its elements' bits say, one by one, and a burst moves where any does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise, product
from random import Random

import numpy as np
import pytest

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.coding import Coding
from dataflow_sim.graph.layer import TensorKind
from dataflow_sim.graph.region import Box, Shape4, Span, whole
from dataflow_sim.program.homes import Digit, Home, Lines, Pieces, Tiles
from dataflow_sim.program.instructions import Load, Program, Store
from dataflow_sim.program.laying import Layouts, laid_out, lines
from dataflow_sim.schedule.types import MemoryOptions
from dataflow_sim.simulate.address_runs import Runs, runs_of
from dataflow_sim.simulate.requests import moved_bits, requests
from tests.support.runs import buffering, case, least_of, scheduled

Element = tuple[int, int, int, int]
Addresses = dict[Element, int]

LAYOUTS = ("row-major", "channels-last", "channel-blocked")
WIDTHS = (1, 4, 8, 12, 16, 32)
BURSTS = (8, 24, 64, 256, 512)


def elements_of(box: Box) -> Iterator[Element]:
    """One by one, in the order of batch, channel, row, column."""
    return product(range(*box.batch), range(*box.channel), range(*box.row), range(*box.column))


def up(value: int, multiple: int) -> int:
    """The next multiple that is not below a value."""
    while value % multiple:
        value += 1
    return value


def by_walking(shape: Shape4, bits: int, name: str, block: int, pitch: int) -> Addresses:
    """One element behind the other; what begins a row goes on to the next multiple of the pitch."""
    batches, channels, rows, columns = (range(extent) for extent in shape)
    found: Addresses = {}
    at = 0
    if name == "row-major":
        for n, c, h in product(batches, channels, rows):
            at = up(at, pitch)
            for w in columns:
                found[n, c, h, w] = at
                at += bits
    elif name == "channels-last":
        for n, h in product(batches, rows):
            at = up(at, pitch)
            for w, c in product(columns, channels):
                found[n, c, h, w] = at
                at += bits
    else:
        for n, h, first in product(batches, rows, channels[::block]):
            at = up(at, pitch)
            for w, c in product(columns, range(first, first + block)):
                if c in channels:
                    found[n, c, h, w] = at
                at += bits
    return found


def in_boxes(boxes: Sequence[Box], starts: Sequence[int], bits: int) -> Addresses:
    """Elements of each box one behind the other, from where it starts."""
    found: Addresses = {}
    for box, start in zip(boxes, starts, strict=True):
        for place, element in enumerate(elements_of(box)):
            assert element not in found
            found[element] = start + place * bits
    return found


def bits_of(home: Home, addresses: Addresses, box: Box) -> set[int]:
    """Every bit of every element of a box, and those of the index entries of the tiles it meets."""
    elements = set(elements_of(box))
    found = {
        home.start + addresses[element] + bit for element in elements for bit in range(home.bits)
    }
    if isinstance(home.layout, Tiles):
        tiles = home.layout
        for number, tile in enumerate(tiles.boxes):
            if not elements.isdisjoint(elements_of(tile)):
                first = home.start + tiles.index_start + number * tiles.index_bits
                found |= set(range(first, first + tiles.index_bits))
    return found


def ranges_of(numbers: set[int]) -> list[tuple[int, int]]:
    """Sorted numbers as ranges that do not touch."""
    ordered = sorted(numbers)
    starts = [number for number in ordered if number - 1 not in numbers]
    stops = [number + 1 for number in ordered if number + 1 not in numbers]
    return list(zip(starts, stops, strict=True))


def of_box(runs: Runs, index: int) -> list[tuple[int, int]]:
    chosen = runs.of == index
    return list(zip(runs.start[chosen].tolist(), runs.stop[chosen].tolist(), strict=True))


def agree(home: Home, boxes: Sequence[Box], wanted: Sequence[set[int]], burst: int) -> None:
    """The ranges are those of the bits, in order and as few as possible; so are the bursts."""
    runs = runs_of(home, boxes)
    moved = runs.bursts(burst)
    assert np.all(np.diff(runs.of) >= 0)
    assert np.all(np.diff(moved.of) >= 0)
    for index, bits in enumerate(wanted):
        assert of_box(runs, index) == ranges_of(bits), (home, boxes[index])
        numbers = {bit // burst for bit in bits}
        assert of_box(moved, index) == ranges_of(numbers), (home, boxes[index], burst)
    assert runs.totals(len(boxes)).tolist() == [len(bits) for bits in wanted]
    numbers_of = [len({bit // burst for bit in bits}) for bits in wanted]
    assert moved.totals(len(boxes)).tolist() == numbers_of


def random_shape(random: Random) -> Shape4:
    return (
        random.choice((1, 1, 2)),
        random.choice((1, 2, 3, 5, 8)),
        random.randint(1, 5),
        random.randint(1, 6),
    )


def random_span(extent: int, random: Random) -> Span:
    """The whole extent, a single index, a part, or one that leaves indices out."""
    how = random.randrange(4)
    if how == 0:
        return Span(0, extent)
    start = random.randrange(extent)
    if how == 1:
        return Span(start, start + 1)
    stop = random.randint(start + 1, extent)
    return Span(start, stop, 1 if how == 2 else random.randint(1, 3))


def random_boxes(shape: Shape4, random: Random) -> list[Box]:
    found = [Box(*(random_span(extent, random) for extent in shape)) for _ in range(5)]
    single = Box(*(Span(at, at + 1) for at in (random.randrange(extent) for extent in shape)))
    return [whole(shape), single, *found]


def random_home(random: Random, size: int, bits: int, layout: Lines | Tiles | Pieces) -> Home:
    """Anywhere, also where no burst begins."""
    return Home(random.choice((0, 64, 4096, random.randrange(1000))), size, bits, layout, "any")


def cuts(extent: int, random: Random) -> list[Span]:
    """An extent cut into parts, even or not."""
    inner = range(1, extent)
    borders = [0, *sorted(random.sample(inner, random.randint(0, len(inner)))), extent]
    return [Span(start, stop) for start, stop in pairwise(borders)]


@pytest.mark.parametrize("name", LAYOUTS)
def test_lines(name: str) -> None:
    """Row by row, pixel by pixel, and by blocks of channels, of which the last may not be full."""
    random = Random(name)
    for _ in range(40):
        shape, bits = random_shape(random), random.choice(WIDTHS)
        block, pitch = random.choice((2, 3, 4, 16)), random.choice((1, 8, 64, 128))
        layout, size = lines(shape, bits, name, block, pitch)
        addresses = by_walking(shape, bits, name, block, pitch)
        assert max(addresses.values()) + bits <= size
        home = random_home(random, size, bits, layout)
        boxes = random_boxes(shape, random)
        wanted = [bits_of(home, addresses, box) for box in boxes]
        agree(home, boxes, wanted, random.choice(BURSTS))


def test_blocks_of_one_channel() -> None:
    """The least that a block can have."""
    shape, bits = (1, 3, 1, 3), 8
    layout, size = lines(shape, bits, "channel-blocked", 1, 1)
    home, box = Home(0, size, bits, layout, "channel-blocked"), whole(shape)
    addresses = by_walking(shape, bits, "channel-blocked", 1, 1)
    agree(home, [box], [bits_of(home, addresses, box)], 8)


def test_any_digits() -> None:
    """Blocks along any axis, each part of an index anywhere in the address, gaps between."""
    random = Random("digits")
    for _ in range(40):
        shape, bits = random_shape(random), random.choice(WIDTHS)
        parts = []
        for axis, extent in enumerate(shape):
            block = random.randint(1, extent) if random.random() < 0.5 else 1
            if block > 1:
                parts.append((axis, 1, block))
            parts.append((axis, block, -(-extent // block)))
        random.shuffle(parts)
        digits, stride = [], bits
        for axis, block, size in parts:
            digits.append(Digit(axis, block, size, stride))
            stride = stride * size + random.choice((0, 0, 0, 5))
        layout = Lines(tuple(reversed(digits)))
        addresses = {
            element: sum(
                element[digit.axis] // digit.block % digit.size * digit.stride for digit in digits
            )
            for element in elements_of(whole(shape))
        }
        home, boxes = random_home(random, stride, bits, layout), random_boxes(shape, random)
        wanted = [bits_of(home, addresses, box) for box in boxes]
        agree(home, boxes, wanted, random.choice(BURSTS))


@pytest.mark.parametrize("index_bits", [0, 16, 32])
def test_tiles(index_bits: int) -> None:
    """Tiles of any sizes, in any order, with gaps between; boxes that cross them."""
    random = Random(index_bits)
    for _ in range(40):
        shape, bits = random_shape(random), random.choice(WIDTHS)
        tiles = [Box(*spans) for spans in product(*(cuts(extent, random) for extent in shape))]
        random.shuffle(tiles)
        index_start = random.choice((0, 64)) if index_bits else 0
        at, alignment = index_start + index_bits * len(tiles), random.choice((1, 8, 64))
        starts = []
        for tile in tiles:
            at = up(at, alignment)
            starts.append(at)
            at += tile.elements * bits
        layout = Tiles(tuple(tiles), tuple(starts), index_start, index_bits)
        addresses = in_boxes(tiles, starts, bits)
        home, boxes = random_home(random, at, bits, layout), random_boxes(shape, random)
        boxes += random.sample(tiles, min(len(tiles), 2))
        wanted = [bits_of(home, addresses, box) for box in boxes]
        agree(home, boxes, wanted, random.choice(BURSTS))


def test_pieces() -> None:
    """Each box is one range."""
    random = Random("pieces")
    for _ in range(40):
        bits = random.choice(WIDTHS)
        boxes = list(dict.fromkeys(random_boxes(random_shape(random), random)))
        starts, at = {}, 0
        for box in boxes:
            at = up(at, random.choice((1, 64)))
            starts[box] = at
            at += box.elements * bits
        home = random_home(random, at, bits, Pieces(starts))
        wanted = [
            {home.start + starts[box] + bit for bit in range(box.elements * bits)} for box in boxes
        ]
        agree(home, boxes, wanted, random.choice(BURSTS))


@lru_cache(maxsize=32)
def program_of(name: str, bits: int, compressed: bool) -> Program:
    """A program of a small network in little memory, its tensors of another width."""
    graph = case(name).graph
    least = least_of(graph, MemoryOptions(0, buffering(False), 32))
    _, program = scheduled(graph, 2 * least)
    coding = Coding(places="bitmap") if compressed else Coding()
    tensors = {
        name: replace(tensor, bits=bits, coding=coding) for name, tensor in program.tensors.items()
    }
    return replace(program, tensors=tensors)


def transfers_of(program: Program) -> list[Load | Store]:
    return [each for each in program.instructions if isinstance(each, Load | Store)]


def moved_of(program: Program) -> dict[str, dict[Box, None]]:
    """Boxes that move, by tensor in the order of their first use, each once."""
    found: dict[str, dict[Box, None]] = {}
    for each in transfers_of(program):
        found.setdefault(each.tensor, {})[each.box] = None
    return found


def tiles_of(program: Program, tensor: str) -> list[Box] | None:
    """The boxes that are stored, else loaded; None where they overlap, or leave indices out."""
    transfers = [each for each in transfers_of(program) if each.tensor == tensor]
    stored = [each.box for each in transfers if isinstance(each, Store)]
    boxes = list(dict.fromkeys(stored or [each.box for each in transfers]))
    elements = [element for box in boxes for element in elements_of(box)]
    if len(set(elements)) < len(elements):
        return None
    if any(span.length > 1 and span.step > 1 for box in boxes for span in box):
        return None
    return boxes


def one_behind_the_other(
    boxes: Sequence[Box], bits: int, alignment: int, index_bits: int
) -> tuple[list[int], int]:
    """Where each box begins, behind an index of so many bits for each, and what they take."""
    starts, at = [], len(boxes) * index_bits
    for box in boxes:
        starts.append(up(at, alignment))
        at = starts[-1] + box.elements * bits
    return starts, at


class Laid:
    """A tensor as it must lie: of each box that moves its bits, as pairs (address, length)."""

    def __init__(self, program: Program, layouts: Layouts, name: str) -> None:
        self.tensor, byte = program.tensors[name], program.byte_bits
        self.bits = self.tensor.bits
        self.boxes = list(moved_of(program)[name])
        self.pieces: list[int] | None = None
        self.entries: list[tuple[set[Element], int]] = []
        self.addresses: Addresses = {}
        alignment, layout = layouts.alignment_bytes * byte, layouts.of(self.tensor)
        index = layouts.index_bytes * byte if self.tensor.coding.by_block else 0
        if layout == "packed":
            self.pieces, self.takes = one_behind_the_other(self.boxes, self.bits, alignment, 0)
            return
        tiles = tiles_of(program, name) if layout == "tiles" else None
        if tiles is None and index:
            tiles = [whole(self.tensor.shape)]
        if tiles is not None:
            starts, self.takes = one_behind_the_other(tiles, self.bits, alignment, index)
            self.addresses = in_boxes(tiles, starts, self.bits)
            self.entries = [(set(elements_of(tile)), index) for tile in tiles if index]
            return
        layout = "row-major" if layout == "tiles" else layout
        pitch = layouts.pitch_bytes * byte
        self.addresses = by_walking(
            self.tensor.shape, self.bits, layout, layouts.channel_block, pitch
        )
        self.takes = max(self.addresses.values()) + self.bits

    def lies(self, box: Box) -> list[tuple[int, int]]:
        if self.pieces is not None:
            return [(self.pieces[self.boxes.index(box)], box.elements * self.bits)]
        elements = list(elements_of(box))
        found = [(self.addresses[element], self.bits) for element in elements]
        for number, (tile, index) in enumerate(self.entries):
            if not tile.isdisjoint(elements):
                found.append((number * index, index))
        return found

    def bursts(self, home: Home, box: Box, burst: int) -> set[int]:
        found: set[int] = set()
        for address, length in self.lies(box):
            first = home.start + address
            found |= set(range(first // burst, (first + length - 1) // burst + 1))
        return found


SETTINGS = {
    "packed": Layouts("packed", "fetch-order", "row-major", 16, 64, 1, 4),
    "row-major": Layouts("row-major", "row-major", "row-major", 16, 64, 1, 4),
    "pitch": Layouts("row-major", "row-major", "row-major", 16, 64, 32, 4),
    "wide pitch": Layouts("row-major", "fetch-order", "channels-last", 16, 16, 64, 4),
    "channels-last": Layouts("channels-last", "fetch-order", "row-major", 16, 32, 8, 4),
    "channel-blocked": Layouts("channel-blocked", "row-major", "channels-last", 4, 1, 1, 4),
    "tiles": Layouts("tiles", "fetch-order", "row-major", 16, 64, 1, 2),
}
CASES = [
    *(("volumes", setting, 8, False) for setting in SETTINGS),
    *(("volumes", setting, 12, False) for setting in ("pitch", "channel-blocked", "tiles")),
    *(("padded_chain", setting, 4, False) for setting in ("row-major", "tiles")),
    *(("padded_chain", setting, 4, True) for setting in ("packed", "channels-last", "tiles")),
    ("depthwise", "channel-blocked", 8, False),
]


@pytest.mark.parametrize(("name", "setting", "bits", "compressed"), CASES)
def test_programs(name: str, setting: str, bits: int, compressed: bool) -> None:
    """Every tensor lies as its layout says, and every transfer asks for the bursts of its box."""
    layouts = SETTINGS[setting]
    program = laid_out(program_of(name, bits, compressed), layouts)
    byte = program.byte_bits
    burst = 64 * byte if setting == "packed" else 16 * byte
    moved = moved_of(program)
    assert set(program.homes) == set(moved)
    tensors = {each: Laid(program, layouts, each) for each in moved}

    taken = sorted((home.start, home.start + home.size) for home in program.homes.values())
    assert all(stop <= start for (_, stop), (start, _) in pairwise(taken))
    in_use = sorted((program.homes[each].start, place) for place, each in enumerate(moved))
    assert [place for _, place in in_use] == list(range(len(moved)))
    bursts: dict[tuple[str, Box], set[int]] = {}
    for each, laid in tensors.items():
        home = program.homes[each]
        assert home.bits == laid.bits
        assert home.start % (layouts.alignment_bytes * byte) == 0
        assert home.size >= laid.takes
        addresses = set(laid.addresses.values())
        assert len(addresses) == len(laid.addresses)
        assert all(low + laid.bits <= high for low, high in pairwise(sorted(addresses)))
        for box in moved[each]:
            bursts[each, box] = laid.bursts(home, box, burst)
    counted = moved_bits(program, burst)
    assert counted == {each: len(numbers) * burst for each, numbers in bursts.items()}

    transfers = transfers_of(program)
    asked = requests([(program, each) for each in transfers], burst)
    assert asked.offset.tolist()[0] == 0
    assert asked.offset.size == len(transfers) + 1
    first, count, offset = asked.first.tolist(), asked.count.tolist(), asked.offset.tolist()
    for place, transfer in enumerate(transfers):
        numbers = [
            number
            for entry in range(offset[place], offset[place + 1])
            for number in range(first[entry], first[entry] + count[entry])
        ]
        assert numbers == sorted(bursts[transfer.tensor, transfer.box])
    assert asked.bursts.tolist() == [len(bursts[each.tensor, each.box]) for each in transfers]
    assert asked.of.tolist() == sorted(asked.of.tolist())
    assert np.bincount(asked.of, minlength=len(transfers)).tolist() == np.diff(offset).tolist()


def test_rows_begin_at_multiples_of_the_pitch() -> None:
    """Of the address in DRAM, also where tensors may begin at less."""
    program = laid_out(program_of("padded_chain", 8, False), SETTINGS["wide pitch"])
    for name, home in program.homes.items():
        if program.tensors[name].kind is not TensorKind.MAP:
            continue
        batches, channels, rows, _ = program.tensors[name].shape
        for n, c, h in product(range(batches), range(channels), range(rows)):
            box = Box(Span(n, n + 1), Span(c, c + 1), Span(h, h + 1), Span(0, 1))
            assert runs_of(home, [box]).start.tolist()[0] % (64 * program.byte_bits) == 0, name


def test_numbers_in_a_queue() -> None:
    """Commands between transfers: one behind the other, where no tensor lies; 0 asks for none."""
    program = laid_out(program_of("depthwise", 8, False), SETTINGS["row-major"])
    burst = 16 * program.byte_bits
    transfers = transfers_of(program)[:50]
    random = Random("numbers")
    queue: list[tuple[Program, Load | Store] | int] = []
    for each in transfers:
        queue += [(program, each), random.choice((0, 1, burst - 1, burst, burst + 1, 5 * burst))]
    asked = requests(queue, burst)
    plain = requests([(program, each) for each in transfers], burst)
    of_tensors: list[int] = []
    of_commands: list[int] = []
    for entry, place in enumerate(asked.of.tolist()):
        numbers = range(int(asked.first[entry]), int(asked.first[entry] + asked.count[entry]))
        (of_commands if place % 2 else of_tensors).extend(numbers)
    first, count = plain.first.tolist(), plain.count.tolist()
    assert of_tensors == [n for a, b in zip(first, count, strict=True) for n in range(a, a + b)]
    ends = [home.start + home.size for home in program.homes.values()]
    starts = [home.start for home in program.homes.values()]
    assert min(of_commands) * burst >= max(ends) or (max(of_commands) + 1) * burst <= min(starts)
    assert of_commands == sorted(of_commands)
    for place, number in enumerate(queue):
        if isinstance(number, int):
            least = -(-number // burst)
            assert least <= asked.bursts[place] <= least + (number > 0)


def test_without_homes() -> None:
    """Who asks for the bursts of a tensor that lies nowhere is told."""
    program = program_of("depthwise", 8, False)
    transfer = transfers_of(program)[0]
    with pytest.raises(ProgramError):
        requests([(program, transfer)], 64)
    with pytest.raises(ProgramError):
        moved_bits(program, 64)
