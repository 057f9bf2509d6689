"""A map whole in local memory falls apart into its rows, and rows become a map.

The programs are those of `tests.support.rows_by_hand`, and those of networks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt
import pytest

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.region import whole
from dataflow_sim.program.instructions import (
    Alloc,
    Compute,
    Free,
    Instruction,
    Join,
    Load,
    Memory,
    Program,
    Slice,
    Split,
    Store,
)
from dataflow_sim.report.live_set import live_set
from dataflow_sim.results import BufferStay
from dataflow_sim.schedule.search import schedule_network
from dataflow_sim.schedule.types import SINGLE, MemoryOptions
from dataflow_sim.simulate.ledger import count
from dataflow_sim.simulate.occupancy import Occupancy, occupancy
from dataflow_sim.simulate.replay import Replayed, replay
from dataflow_sim.traffic import Reason, TrafficKey
from tests.support.rows_by_hand import (
    BETWEEN,
    BRANCHED,
    KERNEL_A,
    KERNEL_B,
    MAP,
    MAP_A,
    MAP_B,
    MAP_BITS,
    ORIGIN,
    PEAK,
    POINT,
    ROW,
    ROW_BYTES,
    ROWS,
    WEIGHT_A,
    WEIGHT_B,
    WINDOW,
    A,
    B,
    box,
    branches,
    chain,
    in_place,
    join_of,
    one_above_the_other,
    row_of,
    rows_of,
    side_by_side,
    split_of,
    step,
)
from tests.support.runs import Case, case, least_of, outputs_of, proved, scheduled
from tests.unit.test_live_set import result as result_of_run

SPLIT, JOIN = split_of(MAP_A), join_of(MAP_B)


def replayed(found: Case, program: Program) -> Replayed:
    return replay(program, found.graph, found.inputs)


@pytest.mark.parametrize("spilled", [False, True])
def test_rows_of_a_map_take_the_places_of_another_s(spilled: bool) -> None:
    found, program = chain(), one_above_the_other(spilled)
    result = replayed(found, program)
    right(found, program)
    ledger = count(program)
    bits = {
        (0, TrafficKey("input", Reason.INPUT_READ)): MAP_BITS,
        (0, TrafficKey("a.weight", Reason.WEIGHT_FETCH)): KERNEL_A * 8,
        (1, TrafficKey("b.weight", Reason.WEIGHT_FETCH)): KERNEL_B * 8,
        (1, TrafficKey("b", Reason.OUTPUT_WRITE)): MAP_BITS,
    }
    there_and_back = {
        (0, TrafficKey("a", Reason.MAP_SPILL)): MAP_BITS,
        (1, TrafficKey("a", Reason.MAP_FILL)): MAP_BITS,
    }
    assert ledger.traffic_bits == bits | (there_and_back if spilled else {})
    assert result.dram_bytes * 8 == sum(ledger.traffic_bits.values())
    # a step reads its rows and its kernel; what is stored is read, what is loaded written
    again = MAP_BITS if spilled else 0
    row_bits = 8 * ROW_BYTES
    assert ledger.local_read_bits == (
        MAP_BITS + ROWS * KERNEL_A * 8 + again,
        (2 + 4 * 3 + 2) * row_bits + ROWS * KERNEL_B * 8 + MAP_BITS,
    )
    assert ledger.local_write_bits == (
        2 * MAP_BITS + KERNEL_A * 8,
        MAP_BITS + KERNEL_B * 8 + again,
    )
    assert ledger.macs_executed == (180 * 3, 180 * 27)
    assert ledger.steps == (ROWS, ROWS)


@pytest.mark.parametrize("spilled", [False, True])
def test_the_peak_is_that_of_one_map_and_two_rows(spilled: bool) -> None:
    program = one_above_the_other(spilled)
    used = occupancy(program)
    assert used.peak_bytes == PEAK == (ROWS + 2) * ROW_BYTES + KERNEL_B
    assert used.peak_bytes < 2 * ROWS * ROW_BYTES + KERNEL_B
    # rows take the place of the whole map: the live set counts them once
    assert used.live_bytes == PEAK
    with pytest.raises(ProgramError, match="leaves the local memory"):
        occupancy(replace(program, capacity_bytes=PEAK - 1))
    stays = Counter(stay.label for stay in used.residencies)
    assert stays["a: row"] == 2 * ROWS
    assert stays["b: row"] == ROWS
    base = result_of_run("residual", "merged", 900)
    held = live_set(replace(base, buffers=stays_of(used)))
    assert held.peak_bytes == PEAK
    assert {("a: row", 6), ("b: row", 2)} <= {(each.label, each.count) for each in held.holdings}


def stays_of(used: Occupancy) -> tuple[BufferStay, ...]:
    return tuple(
        BufferStay(stay.label, stay.start, stay.stop, stay.address, stay.size_bytes)
        for stay in used.residencies
    )


Reader = Callable[[Program], object]
READERS: dict[str, Reader] = {
    "replay": partial(replayed, chain()),
    "ledger": count,
    "occupancy": occupancy,
}


def changed(program: Program, old: Instruction, *new: Instruction) -> tuple[int, Program]:
    """The program with another instruction, or several, instead of one, and where that is."""
    index = program.instructions.index(old)
    before, after = program.instructions[:index], program.instructions[index + 1 :]
    return index, replace(program, instructions=(*before, *new, *after))


def with_part(row: int, **changes: object) -> Split:
    parts = list(SPLIT.parts)
    parts[row] = parts[row]._replace(**changes)  # type: ignore[arg-type]  # mutations
    return SPLIT._replace(parts=tuple(parts))


def with_whole(**changes: object) -> Join:
    return JOIN._replace(whole=MAP_B._replace(**changes))  # type: ignore[arg-type]  # mutations


AWAY = Memory.ACCUMULATORS
FAULTS: dict[str, tuple[Split | Join, str]] = {
    "row off by one": (with_part(2, address=481), r"row 2 of buffer 100 'a' .*at 481.*at 480"),
    "a part missing": (SPLIT._replace(parts=SPLIT.parts[:-1]), "'a' has 6 rows, 5 parts"),
    "a part too many": (
        SPLIT._replace(parts=(*SPLIT.parts, SPLIT.parts[0])),
        "'a' has 6 rows, 7 parts",
    ),
    "other bits": (with_part(3, bits=16), r"row 3 of buffer 100 .*16 bits.*32 bits"),
    "another shape": (with_part(0, shape=(2, 5, 1, 3)), r"row 0 of buffer 100 .*2, 5, 1, 3"),
    "another size": (with_part(5, size_bytes=119), r"row 5 of buffer 100 .*119 bytes"),
    "another memory": (with_part(1, memory=AWAY), r"row 1 of buffer 100 .*the accumulators"),
    "upside down": (SPLIT._replace(parts=SPLIT.parts[::-1]), "row 0 of buffer 100"),
    "a number taken": (with_part(4, buffer=WEIGHT_B), "buffer 2 'a: row' is allocated twice"),
    "a number twice": (with_part(4, buffer=110), "buffer 110 'a: row' is allocated twice"),
    "no such whole": (SPLIT._replace(buffer=999), "buffer 999 is used but not allocated"),
    "whole off by one": (with_whole(address=1), "row 0 of buffer 200 'b'"),
    "other bits of the whole": (with_whole(bits=16, size_bytes=360), "row 0 of buffer 200"),
    "another shape of the whole": (with_whole(shape=(2, 5, 6, 3)), "row 0 of buffer 200"),
    "another size of the whole": (with_whole(size_bytes=721), "of 721 bytes does not consist"),
    "rows missing": (JOIN._replace(parts=JOIN.parts[1:]), "'b' has 6 rows, 5 parts"),
    "a row twice": (JOIN._replace(parts=(*JOIN.parts[:-1], 210)), "row 5 of buffer 200"),
    "no such row": (JOIN._replace(parts=(*JOIN.parts[:-1], 99)), "buffer 99 is used but not"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_make_up_the_whole_is_an_error(fault: str, reader: str) -> None:
    instead, message = FAULTS[fault]
    for spilled in (False, True):
        old: Instruction = SPLIT if isinstance(instead, Split) else JOIN
        index, program = changed(one_above_the_other(spilled), old, instead)
        where = rf"instruction {index} \({type(old).__name__}\): .*" if reader == "replay" else ""
        with pytest.raises(ProgramError, match=where + message):
            READERS[reader](program)


@pytest.mark.parametrize("reader", READERS)
def test_rows_are_of_whole_bytes(reader: str) -> None:
    odd = Alloc(0, 0, 3, (1, 1, 2, 3), 4, "odd")
    parts = tuple(Alloc(1 + row, row, 1, (1, 1, 1, 3), 4, "row") for row in (0, 1))
    even = odd._replace(bits=32, size_bytes=24)
    rows = rows_of(even, 1)
    program = Program("odd", 24, (), {}, (even, Split(0, rows), Free(1), Free(2)))
    READERS[reader](program)
    for size in (2, 3) if reader != "replay" else ():  # which takes 32 bits only
        sized = odd._replace(size_bytes=size)
        narrow = replace(program, instructions=(sized, Split(0, parts), Free(1), Free(2)))
        with pytest.raises(ProgramError, match=r"2 rows of 3 elements of 4 bits in whole bytes"):
            READERS[reader](narrow)


USES: dict[str, tuple[Instruction, Instruction, str]] = {
    "a part read after it was joined": (
        JOIN,
        step(0, Slice(B, ORIGIN, box(0)), [Slice(212, ORIGIN, box(2))], WEIGHT_B, WINDOW),
        "buffer 212 is used but not allocated",
    ),
    "a part stored after it was joined": (
        JOIN,
        Store("b", box(2), 212, ORIGIN),
        "buffer 212 is used but not allocated",
    ),
    "a part freed after it was joined": (JOIN, Free(212), "buffer 212 is freed but not"),
    "a whole read after it was split": (
        SPLIT,
        step(1, Slice(110, ORIGIN, box(0)), [Slice(A, ORIGIN, whole(MAP))], WEIGHT_B, WINDOW),
        "buffer 100 is used but not allocated",
    ),
    "a whole loaded after it was split": (
        SPLIT,
        Load("a", whole(MAP), A, ORIGIN),
        "buffer 100 is used but not allocated",
    ),
    "a whole freed after it was split": (SPLIT, Free(A), "buffer 100 is freed but not"),
    "split twice": (SPLIT, SPLIT, "buffer 100 is used but not allocated"),
    "joined twice": (JOIN, JOIN, "buffer 210 is used but not allocated"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("use", USES)
def test_what_was_split_or_joined_is_gone(use: str, reader: str) -> None:
    behind, more, message = USES[use]
    if reader == "occupancy" and isinstance(more, Compute | Load | Store):
        return  # which follows places, not what is done there
    index, program = changed(one_above_the_other(True), behind, behind, more)
    where = rf"instruction {index + 1} \({type(more).__name__}\): .*" if reader == "replay" else ""
    with pytest.raises(ProgramError, match=where + message):
        READERS[reader](program)


@pytest.mark.parametrize("spilled", [False, True])
def test_a_row_freed_before_it_is_read(spilled: bool) -> None:
    program = one_above_the_other(spilled)
    early = replace(
        program, instructions=tuple(x for x in program.instructions if x != Free(row_of(A, 3)))
    )
    steps = [i for i, x in enumerate(early.instructions) if isinstance(x, Compute) and x.layer]
    third = early.instructions[steps[3]]
    _, early = changed(early, third, Free(row_of(A, 3)), third)
    with pytest.raises(ProgramError, match=rf"instruction {steps[3] + 1} \(Compute\): buffer 113 "):
        replayed(chain(), early)
    with pytest.raises(ProgramError, match="buffer 113 is used but not allocated"):
        count(early)


def test_a_row_that_is_loaded_with_the_whole_and_never_read() -> None:
    program = one_above_the_other(True)
    _, never = changed(program, SPLIT, SPLIT, Free(row_of(A, 5)))
    with pytest.raises(ProgramError, match="'a' is loaded and freed without being read"):
        count(never)


def test_what_overlaps_a_row_is_found() -> None:
    program = one_above_the_other(False)
    other = Alloc(999, 360, 4, (1, 1, 1, 1), 32, "other")
    for address in (BETWEEN, 360, 479, 956):
        _, over = changed(program, SPLIT, SPLIT, other._replace(address=address))
        with pytest.raises(ProgramError, match="'other' overlaps 'a: row'"):
            occupancy(over)
    # the third row of b comes before the first of a, which has its place, is given back
    third = rows_of(MAP_B)[2]
    _, soon = changed(program, Free(row_of(A, 0)), third, Free(row_of(A, 0)))
    with pytest.raises(ProgramError, match="'b: row' overlaps 'a: row'"):
        occupancy(soon)
    # the joined map has the places of all its rows
    _, over = changed(program, JOIN, JOIN, other._replace(address=0))
    with pytest.raises(ProgramError, match="'other' overlaps 'b'"):
        occupancy(over)


@pytest.mark.parametrize("layer", [0, 1])
def test_a_row_that_is_not_there_is_missed_in_the_whole(layer: int) -> None:
    program = one_above_the_other(True)
    steps = [x for x in program.instructions if isinstance(x, Compute) and x.layer == layer]
    _, short = changed(program, steps[3])
    with pytest.raises(
        ProgramError, match=r"\(Store\): buffer .00 does not hold element \(0, 0, 3"
    ):
        replayed(chain(), short)
    with pytest.raises(ProgramError, match=r"freed without being read|makes 150 elements of 180"):
        count(short)


def right(found: Case, program: Program) -> None:
    output = outputs_of(found.graph, replayed(found, program).tensors, found.expected)["output"]
    np.testing.assert_array_equal(output, found.expected)


def test_each_row_of_a_load_is_its_first_reader_s() -> None:
    found, program = branches(), side_by_side()
    assert occupancy(program).peak_bytes == 3 * ROWS * ROW_BYTES + 2 * KERNEL_A
    right(found, program)
    bits, read = count(program).traffic_bits, TrafficKey("input", Reason.INPUT_READ)
    assert (bits[0, read], bits[1, read]) == (4 * ROW_BYTES * 8, 2 * ROW_BYTES * 8)
    for layer, name in enumerate("ab"):
        assert bits[layer, TrafficKey(name, Reason.OUTPUT_WRITE)] == MAP_BITS
    # joined again before a step reads one row: all rows are that step's
    split, back = split_of(BRANCHED), join_of(BRANCHED)
    spare = Alloc(999, 2240, ROW_BYTES, ROW, 32, "spare")
    reads = [Slice(BRANCHED.buffer, (0, 0, 3, 0), box(3))]
    once = step(0, Slice(spare.buffer, ORIGIN, box(3)), reads, WEIGHT_A, POINT)
    _, joined = changed(program, split, split, back, spare, once, Free(999), split)
    joined = replace(joined, again=frozenset({0}))
    right(found, joined)
    bits = count(joined).traffic_bits
    assert bits[0, read] == MAP_BITS
    assert (1, read) not in bits


def test_what_is_stored_from_a_joined_map_is_its_last_writer_s() -> None:
    """Where rows of one layer lie between those of another, the last step of all counts."""
    program = in_place()
    assert occupancy(program).peak_bytes == ROWS * ROW_BYTES + 2 * KERNEL_A
    right(chain(1), program)
    written = TrafficKey("b", Reason.OUTPUT_WRITE)
    bits = count(program).traffic_bits
    assert bits[1, written] == MAP_BITS
    assert (0, written) not in bits


def test_a_map_that_no_step_wrote_is_not_stored() -> None:
    store = Store("b", box(2, 4), 300, (0, 0, 2, 0))
    split = split_of(BRANCHED)
    _, early = changed(in_place(), split, split, join_of(BRANCHED), store, split)
    with pytest.raises(ProgramError, match="'b' is stored from 'input', which no step wrote"):
        count(early)


def alive(program: Program, index: int) -> list[Alloc]:
    """The buffers that there are before an instruction."""
    there: dict[int, Alloc] = {}
    for each in program.instructions[:index]:
        if isinstance(each, Alloc):
            there[each.buffer] = each
        elif isinstance(each, Free):
            del there[each.buffer]
        elif isinstance(each, Split):
            del there[each.buffer]
            there.update({part.buffer: part for part in each.parts})
        elif isinstance(each, Join):
            for part in each.parts:
                del there[part]
            there[each.whole.buffer] = each.whole
    return list(there.values())


def taken_apart(program: Program, index: int) -> Program:
    """All buffers that there are before an instruction are split, and joined again."""
    added: list[Instruction] = []
    for number, alloc in enumerate(alive(program, index)):
        first = 10**6 + 10**3 * number
        added += [split_of(alloc, first), join_of(alloc, first)]
    before, after = program.instructions[:index], program.instructions[index:]
    return replace(program, instructions=(*before, *added, *after))


def in_use(program: Program) -> npt.NDArray[np.int64]:
    """Bytes in use behind each instruction."""
    changes = np.zeros(len(program.instructions), np.int64)
    for stay in occupancy(program).residencies:
        changes[stay.start] += stay.size_bytes
        changes[stay.stop] -= stay.size_bytes
    return changes.cumsum()


def same(found: Case, program: Program, index: int) -> None:
    """All three readers find the same, whether everything is taken apart here or not."""
    apart = taken_apart(program, index)
    one, other = replayed(found, program), replayed(found, apart)
    assert one.local == other.local
    assert one.dram_bytes == other.dram_bytes
    assert all(one.tensors[name].tobytes() == other.tensors[name].tobytes() for name in one.tensors)
    assert count(apart) == count(program)
    used, as_ever = occupancy(apart), occupancy(program)
    assert used.peak_bytes == as_ever.peak_bytes
    assert used.live_bytes == as_ever.live_bytes
    assert used.accumulator_peak_bytes == as_ever.accumulator_peak_bytes
    bytes_, added = in_use(program), len(apart.instructions) - len(program.instructions)
    between = np.full(added, bytes_[index - 1])
    expected = np.concatenate([bytes_[:index], between, bytes_[index:]])
    np.testing.assert_array_equal(in_use(apart), expected)


BY_HAND = {
    "kept": (chain(), one_above_the_other(False)),
    "spilled": (chain(), one_above_the_other(True)),
    "side by side": (branches(), side_by_side()),
    "in place": (chain(1), in_place()),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_split_and_joined_again_is_the_same_by_hand(name: str) -> None:
    found, program = BY_HAND[name]
    for index in range(1, len(program.instructions)):
        same(found, program, index)


def sums_apart(graph: NetworkGraph) -> Program:
    """A program whose partial sums lie in a memory of their own."""
    memory = MemoryOptions(0, SINGLE, 32, 1000)
    memory = replace(memory, capacity_bytes=3 * least_of(graph, memory))
    return proved(graph, schedule_network(graph, memory, "layerwise"))


@pytest.mark.parametrize("name", ["residual", "concatenated", "padded_chain", "depthwise"])
def test_split_and_joined_again_is_the_same_in_programs_of_networks(name: str) -> None:
    found = case(name)
    programs = [scheduled(found.graph, 9000, policy=each)[1] for each in ("resident", "merged")]
    if name == "padded_chain":
        programs.append(sums_apart(found.graph))
    for program in programs:
        total = len(program.instructions)
        for index in range(1, total, max(1, total // 5)):
            same(found, program, index)
