"""The ring of rows: what stays, what is missing, where it lies."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dataflow_sim.graph.region import Span
from dataflow_sim.program.ring import Ring, common_rows, lattice, off_lattice, rows_of_two


def places(ring: Ring, rows: Span) -> list[int]:
    """Where rows of the window lie, one by one."""
    return [place + i for part, place in ring.runs(rows) for i in range(part.length)]


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 6), st.integers(1, 3), st.booleans())
def test_every_row_of_a_window_lies_where_it_was_put(
    height: int, step: int, count: int, passes: int, double: bool
) -> None:
    """Windows of `height` rows, `step` apart, some passes, beside a model of the buffer."""
    windows = [Span(step * i, step * i + height) for i in range(count)]
    rows = rows_of_two(windows, again=passes > 1) if double else height
    ring = Ring(0, rows)
    held: dict[int, tuple[int, int]] = {}
    for turn in range(passes):
        for window in windows:
            in_use = set(places(ring, ring.window))
            missing = ring.turn_to((turn,), window)
            fresh = places(ring, missing)
            # with room for two, what is in use stays while the new rows come in
            assert not double or in_use.isdisjoint(fresh)
            held.update(zip(fresh, ((turn, row) for row in range(*missing)), strict=True))
            assert all(0 <= place < rows for place in held)
            assert [held[p] for p in places(ring, window)] == [(turn, r) for r in range(*window)]


def test_the_drawing_in_the_head_of_the_module() -> None:
    ring = Ring(0, 4)
    assert ring.turn_to((0,), Span(0, 2)) == Span(0, 2)
    assert ring.turn_to((0,), Span(2, 6)) == Span(2, 6)
    assert list(ring.runs(Span(2, 6))) == [(Span(2, 4), 2), (Span(4, 6), 0)]
    assert ring.turn_to((0,), Span(4, 8)) == Span(6, 8)
    assert list(ring.runs(Span(6, 8))) == [(Span(6, 8), 2)]


def test_windows_apart_have_nothing_in_common() -> None:
    assert not common_rows([Span(0, 2), Span(2, 4), Span(5, 7)])
    assert common_rows([Span(0, 3), Span(2, 5)])
    assert rows_of_two([Span(0, 3), Span(2, 5), Span(4, 6)], again=False) == 5
    assert rows_of_two([Span(0, 4), Span(3, 7), Span(6, 9)], again=True) == 7


@given(st.integers(0, 3), st.integers(1, 4), st.integers(0, 5), st.integers(1, 6))
def test_lattices_go_there_and_back(residue: int, step: int, first: int, count: int) -> None:
    start = first * step + residue % step
    span = Span(start, start + (count - 1) * step + 1, step)
    rows = lattice(span)
    assert rows.length == count
    assert range(*off_lattice(rows, span)) == range(*span)
