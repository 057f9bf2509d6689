"""Timelines of programs of a few instructions, computed by hand, exact in cycles."""

from __future__ import annotations

import pytest

from dataflow_sim.errors import ProgramError
from dataflow_sim.program.instructions import Free, Instruction
from dataflow_sim.simulate.precedence import precedence
from tests.support.timelines import alloc, load, program, spans, step, store, timeline


def test_one_tile_is_loaded_computed_and_stored() -> None:
    """0 load 8 step 13 store 21."""
    of = program(
        alloc(0, 0, 8), alloc(1, 8, 8), load(0, 0, 8), step([(0, 0, 8)], (1, 0, 8)), store(1, 0, 8)
    )
    found = timeline(of, [5])
    assert spans(found.begin, found.finish) == [(0, 8), (13, 21)]
    assert spans(found.start, found.end) == [(8, 13)]
    assert found.latency == 21


def tiles(buffers: int, outputs: int, count: int = 3) -> list[Instruction]:
    """Tiles of 8 rows through so many buffers for inputs and for outputs."""
    found: list[Instruction] = [alloc(b, 8 * b, 8) for b in range(buffers + outputs)]
    for tile in range(count):
        source, made = tile % buffers, buffers + tile % outputs
        found.append(load(source, 8 * tile, 8))
        found.append(step([(source, 0, 8)], (made, 0, 8)))
        found.append(store(made, 8 * tile, 8))
    return found


def test_a_single_buffer_makes_loads_wait_for_steps() -> None:
    """Each load waits for the step that reads its buffer, each step for the store before it.

    load   0-8        13-21          34-42
    step       8-13         29-34          50-55
    store                21-29          42-50     55-63
    """
    found = timeline(program(*tiles(1, 1)), [5, 5, 5])
    assert spans(found.start, found.end) == [(8, 13), (29, 34), (50, 55)]
    assert found.latency == 63


def test_second_buffers_hide_steps_behind_transfers() -> None:
    """DRAM never waits: six transfers of 8 cycles; the third load stands before the first store,
    and the third step takes the buffer of the first result.

    load   0-8 8-16 16-24             (the third takes the buffer of the first, free at 13)
    step       8-13 16-21       32-37
    store                 24-32 32-40 40-48
    """
    found = timeline(program(*tiles(2, 2)), [5, 5, 5])
    assert spans(found.start, found.end) == [(8, 13), (16, 21), (32, 37)]
    assert spans(found.begin, found.finish)[:3] == [(0, 8), (8, 16), (16, 24)]
    assert found.latency == 48


def test_steps_hide_transfers_where_they_take_longer() -> None:
    """Steps follow one another: 8 to load the first tile, three of 20, 8 to store the last."""
    found = timeline(program(*tiles(2, 2)), [20, 20, 20])
    assert spans(found.start, found.end) == [(8, 28), (28, 48), (48, 68)]
    assert found.latency == 76


def test_a_step_waits_until_its_result_has_a_place() -> None:
    """One output buffer: a step waits for the store of the step before, behind the third load.

    load   0-8 8-16 16-24
    step       8-13          32-37       45-50
    store               24-32      37-45      50-58
    """
    found = timeline(program(*tiles(2, 1)), [5, 5, 5])
    assert spans(found.start, found.end) == [(8, 13), (32, 37), (45, 50)]
    assert found.latency == 58


def test_addresses_that_are_given_back_are_waited_for() -> None:
    """Buffer 2 takes addresses of buffer 0: its load waits for the step that read there."""
    of = program(
        *(alloc(0, 0, 8), alloc(1, 8, 8), load(0, 0, 8), step([(0, 0, 8)], (1, 0, 8)), Free(0)),
        *(alloc(2, 4, 4), load(2, 8, 4), step([(2, 0, 4), (1, 0, 8)], (1, 0, 8))),
    )
    found = timeline(of, [5, 5])
    assert spans(found.begin, found.finish) == [(0, 8), (13, 17)]
    assert spans(found.start, found.end) == [(8, 13), (17, 22)]


def test_other_addresses_are_not() -> None:
    of = program(
        *(alloc(0, 0, 8), alloc(1, 8, 8), load(0, 0, 8), step([(0, 0, 8)], (1, 0, 8)), Free(0)),
        *(alloc(2, 16, 4), load(2, 8, 4), step([(2, 0, 4), (1, 0, 8)], (1, 0, 8))),
    )
    assert spans(timeline(of, [5, 5]).begin, timeline(of, [5, 5]).finish) == [(0, 8), (8, 12)]


def test_rows_of_a_ring_come_in_beside_a_step_that_reads_others() -> None:
    """Rows 0 and 1 are read while 2 comes; row 3 takes the place of row 0 and waits."""
    of = program(
        *(alloc(0, 0, 3), alloc(1, 8, 8), load(0, 0, 2), step([(0, 0, 2)], (1, 0, 1))),
        *(load(0, 2, 1, at=2), step([(0, 1, 2)], (1, 1, 1), 1)),
        *(load(0, 3, 1, at=0), step([(0, 0, 1), (0, 2, 1)], (1, 2, 1), 2)),
    )
    found = timeline(of, [10, 10, 10])
    assert spans(found.begin, found.finish) == [(0, 2), (2, 3), (12, 13)]
    assert spans(found.start, found.end) == [(2, 12), (12, 22), (22, 32)]


def test_what_is_stored_can_be_loaded_when_it_is_there() -> None:
    """Row 4 of the map is stored last; a load of row 0 alone does not wait for it."""
    of = program(
        *(alloc(0, 0, 8), alloc(1, 8, 8), alloc(2, 16, 8), load(0, 0, 8)),
        *(step([(0, 0, 8)], (1, 0, 8)), store(1, 0, 4, "m"), store(1, 4, 4, "m", at=4)),
        *(load(2, 4, 2, "m"), step([(2, 0, 2)], (2, 4, 2))),
    )
    found = timeline(of, [5, 5])
    assert spans(found.begin, found.finish) == [(0, 8), (13, 17), (17, 21), (21, 23)]
    assert spans(found.start, found.end) == [(8, 13), (23, 28)]


def test_set_up_hides_behind_another_channel_only() -> None:
    """Three loads of 8 bytes, 6 cycles of set-up: one channel 14 each; two hide all but the first.

    two channels   set-up 0-6, moves 6-14; set-up 0-6, moves 14-22; set-up 14-20, moves 22-30
    """
    loads = [alloc(b, 8 * b, 8) for b in range(3)], [load(b, 8 * b, 8) for b in range(3)]
    of = program(*loads[0], alloc(3, 24, 8), *loads[1], step([(2, 0, 8)], (3, 0, 8)))
    one, two = (timeline(of, [1], setup=6, channels=c) for c in (1, 2))
    assert spans(one.moves, one.finish) == [(6, 14), (20, 28), (34, 42)]
    assert spans(two.moves, two.finish) == [(6, 14), (14, 22), (22, 30)]


def test_flash_and_dram_serve_side_by_side() -> None:
    """A kernel of 8 bytes at 3 cycles each from flash beside two maps from DRAM."""
    of = program(
        *(alloc(0, 0, 8), alloc(1, 8, 8), alloc(2, 16, 8)),
        *(load(0, 0, 8, "k"), load(1, 0, 8), step([(0, 0, 8), (1, 0, 8)], (2, 0, 8))),
    )
    one = timeline(of, [1], flash_per_byte=3, channels=1)
    two = timeline(of, [1], flash_per_byte=3, channels=2)
    assert spans(one.moves, one.finish) == [(0, 24), (24, 32)]
    assert spans(two.moves, two.finish) == [(0, 24), (0, 8)]
    assert two.done.tolist() == [24, 24]  # reported in their order
    assert spans(two.start, two.end) == [(24, 25)]


def test_loads_go_before_stores_that_the_same_step_lets_go() -> None:
    found = precedence([program(*tiles(2, 2))])
    assert found.slot.tolist() == [0, 0, 1, 1, 2, 3]
    assert found.stores.tolist() == [0, 0, 0, 1, 1, 1]


def test_a_buffer_that_is_not_there_is_a_defect() -> None:
    of = program(alloc(0, 0, 8), load(0, 0, 8), step([(0, 0, 8)], (7, 0, 8)))
    with pytest.raises(ProgramError, match="buffer 7 is used but not allocated"):
        precedence([of])
