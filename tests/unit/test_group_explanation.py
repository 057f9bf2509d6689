"""What `explain` says of groups is true: by hand, against programs, and against all partitions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import pytest

from dataflow_sim.explanation import explain_group, group_on
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import Hardware, load_hardware
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.pipeline import RunOptions, memory_options, prepare
from dataflow_sim.program.instructions import Alloc, Compute, Free, Join, Program, Split
from dataflow_sim.program.lowering import lower
from dataflow_sim.report.group_explanation import group_tables
from dataflow_sim.results_of_groups import GroupExplanation, LineBuffer
from dataflow_sim.schedule.layout import run_of
from dataflow_sim.schedule.otherwise import Alternatives
from dataflow_sim.schedule.rearranged import Members, Rearranger
from dataflow_sim.schedule.rows import Obstacle, obstacle
from dataflow_sim.schedule.search import Curve, budget_curve
from dataflow_sim.schedule.trials import Trial
from tests.oracle.test_sweeps_in_groups import attention_and_projection, normalised
from tests.support.curves import two_convolutions
from tests.support.runs import least_budget, proved
from tests.support.small import SMALL
from tests.support.tokens import TOKENS

# (network, bytes above the least, two buffers): kernels that stream, maps that stay, addresses
CASES = [
    ("residual", 1131, False),
    ("residual", 1085, True),
    ("concatenated", 1217, False),
    ("concatenated", 1640, True),
    ("squeeze_excite", 614, True),
    ("decoder", 562, False),
]


def machine(capacity_bytes: int, double: bool = False) -> Hardware:
    changes = {
        "local_memory.capacity": f"{capacity_bytes}B",
        "local_memory.double_buffer": str(double).lower(),
        "count_biases": "true",
    }
    return load_hardware("bare", changes)


@lru_cache(maxsize=8)
def small(name: str) -> NetworkGraph:
    return graph_from_model({**SMALL, **TOKENS}[name](), name)


def capacity_of(name: str, more: int, double: bool) -> int:
    graph = prepare(small(name), machine(1, double), RunOptions())
    return least_budget(graph, double) + more


@lru_cache(maxsize=32)
def curve_of(name: str, more: int, double: bool, policy: str) -> tuple[NetworkGraph, Curve, int]:
    """A network as hardware holds it, its curve, and a memory."""
    capacity = capacity_of(name, more, double)
    hardware = machine(capacity, double)
    graph = prepare(small(name), hardware, RunOptions())
    return graph, budget_curve(graph, memory_options(hardware), policy), capacity


def told(graph: NetworkGraph, capacity: int, layer: str) -> GroupExplanation:
    return explain_group(graph, machine(capacity), RunOptions("merged"), layer)


# ------------------------------------------------------------ by hand


def test_what_waits_whole_by_hand() -> None:
    """Twenty queries of four values, five keys, a projection to six, in 74 bytes."""
    graph = attention_and_projection(tokens=20, depth=4, wide=6, keys=5)
    found = told(graph, 74, "attend")
    assert [member.name for member in found.members] == ["attend", "project"]
    assert [member.kernel for member in found.members] == ["none", "stays"]
    assert found.rows is not None
    queries, keys, values, result, _ = found.rows.line_buffers
    assert (queries.window_rows, queries.stride, queries.most_rows) == (1, 1, 1)
    for held in (keys, values):
        assert (held.window_rows, held.stride, held.most_rows, held.between_rows) == (5, 0, 5, 5)
    assert (result.made_by, result.most_bytes) == ("attend", 4)
    (memory,) = (t for t in group_tables(found) if t.title.startswith("Own local memory"))
    text = "comes from DRAM; waits whole: each row of attend needs all 5 rows"
    assert [row[-1] for row in memory.rows].count(text) == 2


def test_statistics_are_told_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """A map of six rows of 15 bytes waits for its norm and goes row by row."""
    monkeypatch.setattr(Trial, "also", lambda trial, kinds: trial)  # else n alone hands over
    graph = normalised(rows=6, columns=5, channels=3)
    kernels = 2 * 9 + sum(graph.tensors[name].elements * 4 for name in graph.layers[1].weights)
    found = told(graph, kernels + 6 * 15 + 15 + 2 * 3 * 4, "n")
    assert [member.name for member in found.members] == ["a", "n", "b"]
    assert found.rows is not None
    waits = found.rows.line_buffers[1]
    assert (waits.made_by, waits.window_rows, waits.stride) == ("a", 6, 1)
    assert (waits.most_rows, waits.between_rows) == (6, 5)
    carried = [each for each in found.rows.weights if each.what == "statistics"]
    assert [(each.layer, each.size_bytes) for each in carried] == [("n", 2 * 3 * 4)]


def test_two_convolutions_by_hand() -> None:
    """36x36x16 -> 34x34x16 -> 32x32x16 in 7,968 bytes: the figures of `golden`."""
    found = told(two_convolutions(), 7_968, "second")
    assert [member.name for member in found.members] == ["first", "second"]
    assert [member.kernel_bytes for member in found.members] == [2_304, 2_304]
    assert (found.number, found.count, found.merged, found.own_bytes) == (0, 1, True, 7_968)
    rows = found.rows
    assert rows is not None
    assert (rows.stripe_rows, rows.stripes, rows.packing) == (None, 34, "gaps")
    x, y, z = rows.line_buffers
    assert x == LineBuffer("x", "", ("first",), False, False, 36, 36 * 16, 3, 2, 3, 3, 1)
    assert y == LineBuffer("y", "first", ("second",), False, False, 34, 34 * 16, 3, 2, 3, 3, 1)
    assert z == LineBuffer("z", "second", (), True, False, 32, 32 * 16, 1, 0, 0, 0, None)
    assert [(each.what, each.peak_bytes) for each in rows.weights] == [("kernel", 2_304)] * 2
    # the first of the equal peaks: three rows of each map, the third of y being made
    assert (rows.peak.layer, rows.peak.firing, rows.peak.firings) == ("first", 3, 34)
    assert (rows.peak.first_row, rows.peak.last_row) == (2, 2)
    assert rows.peak.live_bytes == 3 * 576 + 3 * 544 + 2 * 2_304 == 7_968
    moved = {(each.tensor, each.reason): each.dram_bytes for each in found.traffic}
    assert moved["x", "input_read"] == 20_736
    assert moved["z", "output_write"] == 16_384
    assert found.group_dram_bytes == found.dram_bytes == 41_728
    assert found.neighbours == ()
    variants = {each.what: each.otherwise for each in found.variants}
    # alone the map between them is written and read
    assert variants["alone"].more_bytes == 2 * 34 * 34 * 16
    # two rows of each stripe in place of one: one row more of either map
    assert variants["stripe"].stripe_rows == 2
    assert variants["stripe"].need_bytes == 7_968 + 576 + 544
    assert variants["stripe"].short_bytes == 576 + 544
    # one of the equal kernels, in each of 34 firings; a channel of it takes 144 bytes
    assert variants["kernels"].streamed == ("first",)
    assert variants["kernels"].more_bytes == 33 * 2_304
    assert variants["kernels"].need_bytes == 7_968 - 2_304 + 144


def test_double_buffers_take_a_row_more_of_what_comes_and_goes() -> None:
    hardware = machine(10_000, double=True)
    found = explain_group(two_convolutions(), hardware, RunOptions("merged"), "first")
    assert found.rows is not None
    rows = [(b.doubled, b.most_rows, b.between_rows) for b in found.rows.line_buffers]
    assert rows == [(True, 4, 3), (False, 3, 2), (True, 2, 0)]
    (text,) = (t for t in group_tables(found) if t.title.startswith("Own local memory"))
    assert [row[-1] for row in text.rows[:3]] == [
        "comes from DRAM; K = 3, s = 1, doubly buffered: 4 while computing, 3 between firings",
        "K = 3, s = 1: 3 while computing, 2 between firings",
        "goes to DRAM",
    ]


def test_where_the_second_does_not_join_it_lacks_bytes_or_moves_more() -> None:
    """Alone both take 4,066 bytes; merged, of all ways, the least bytes are told exactly."""
    fits = told(two_convolutions(), 5_200, "first")
    assert (fits.merged, fits.count) == (False, 2)
    (neighbour,) = fits.neighbours
    assert neighbour.joined is not None
    assert neighbour.joined.short_bytes == 0
    assert neighbour.joined.more_bytes > 0
    (neighbour,) = told(two_convolutions(), 1_000, "first").neighbours
    assert neighbour.joined is not None
    least = neighbour.joined.need_bytes
    assert neighbour.joined.short_bytes == least - 1_000
    assert neighbour.joined.streamed == ("first", "second")
    for capacity, short in ((least - 1, 1), (least, 0)):
        for layer, side, other in (("first", "behind", "second"), ("second", "before", "first")):
            found = told(two_convolutions(), capacity, layer)
            (neighbour,) = found.neighbours
            assert (neighbour.side, neighbour.layers, neighbour.whole) == (side, (other,), True)
            joined = neighbour.joined
            assert joined is not None
            assert (joined.need_bytes, joined.short_bytes) == (least, short)
            (text,) = (table for table in group_tables(found) if table.title.startswith("Why"))
            assert ("1 B short" in text.rows[0]) == bool(short)


# ------------------------------------------------------------ against programs


def live_rows(program: Program, members: Members) -> Iterator[tuple[int, Counter[str], int]]:
    """While layers of a group compute: layer, rows by map, and bytes of all its buffers."""
    there: dict[int, Alloc] = {}
    for each in program.instructions:
        if isinstance(each, Alloc):
            there[each.buffer] = each
        elif isinstance(each, Free):
            del there[each.buffer]
        elif isinstance(each, Split):
            del there[each.buffer]
            there.update((part.buffer, part) for part in each.parts)
        elif isinstance(each, Join):
            for buffer in each.parts:
                del there[buffer]
            there[each.whole.buffer] = each.whole
        elif isinstance(each, Compute) and each.layer in members:
            rows = Counter(a.label.removesuffix(": row") for a in there.values())
            yield each.layer, rows, sum(a.size_bytes for a in there.values())


@pytest.mark.parametrize(("name", "more", "double"), CASES)
def test_rows_and_peaks_are_those_of_the_program(name: str, more: int, double: bool) -> None:
    graph, curve, capacity = curve_of(name, more, double, "merged")
    schedule = curve.schedule(capacity)
    assert schedule is not None
    program = lower(graph, schedule)
    merged = total = 0
    for number, group in enumerate(schedule.groups):
        found = group_on(curve, graph, machine(capacity, double), group.members[-1])
        names = [graph.layers[index].name for index in group.members]
        assert found.number == number
        assert [member.name for member in found.members] == names
        saved = sum(each.size_bytes for each in found.residents) - found.held_bytes
        assert (saved > 0) == (group.hands is not None)
        total += found.group_dram_bytes
        if found.nest is not None:
            assert found.nest.dram_bytes == found.group_dram_bytes
            assert found.nest.capacity_bytes == capacity - found.held_bytes
            local = sum(b.size_bytes for b in found.nest.buffers if not b.accumulators)
            assert local == found.nest.local_bytes == found.own_bytes == group.local_bytes
            continue
        merged += 1
        assert (found.rows is None) != (found.tiles is None)
        rows = found.rows or found.tiles
        assert rows is not None
        if found.rows is not None:
            held = sum(buffer.peak_bytes for buffer in found.rows.line_buffers)
        if found.tiles is not None:
            held = sum(buffer.peak_bytes for buffer in found.tiles.cells)
            executed = [layer.macs_executed for layer in group.layers]
            assert [each.macs_executed for each in found.members] == executed
            assert sum(executed) == found.tiles.macs_executed >= found.tiles.macs
        held += sum(each.peak_bytes for each in rows.weights)
        assert held == rows.peak.live_bytes <= found.own_bytes
        states = list(live_rows(program, group.members))
        if group.hands is None:
            assert max(size for _, _, size in states) == held + found.held_bytes
            first = next(index for index, _, size in states if size == held + found.held_bytes)
            assert graph.layers[first].name == rows.peak.layer
        else:  # rows that give way and those that take their places are never all there
            assert max(size for _, _, size in states) <= held + found.held_bytes
            gives = [each for each in found.residents if each.gives_to]
            assert [each.gives_to for each in gives] == [group.hands.made]
        for buffer in found.rows.line_buffers if found.rows else ():
            assert buffer.most_rows == max(count[buffer.tensor] for _, count, _ in states)
            assert buffer.between_rows <= buffer.most_rows
    assert merged
    assert total == found.dram_bytes == sum(schedule.traffic_bytes().values())


# ------------------------------------------------------------ what might have been


def partitions(order: Members) -> Iterator[tuple[Members, ...]]:
    """All ways to cut an order of layers into groups."""
    for cuts in range(1 << (len(order) - 1)):
        parts: list[list[int]] = [[order[0]]]
        for place, index in enumerate(order[1:]):
            if cuts >> place & 1:
                parts.append([index])
            else:
                parts[-1].append(index)
        yield tuple(tuple(part) for part in parts)


@pytest.mark.parametrize("policy", ["resident", "merged"])
@pytest.mark.parametrize(("name", "more", "double"), CASES[1:3])
def test_the_best_of_all_partitions_is_what_was_chosen(
    name: str, more: int, double: bool, policy: str
) -> None:
    _, found, capacity = curve_of(name, more, double, policy)
    point = found.point(capacity)
    assert point is not None
    rearranger = Rearranger(
        found.assembler, point.plan, point.peak_bytes, capacity, policy == "merged"
    )
    order = tuple(index for decision in point.plan for index in decision.members)
    chosen = tuple(decision.members for decision in point.plan)
    best = []
    for parts in partitions(order):
        if any(tuple(sorted(part)) != part for part in parts):
            continue
        other = rearranger.best(0, len(point.plan), parts)
        if other is None or not other.fits:
            assert parts != chosen
            assert other is None or max(other.need_bytes, other.schedule.local_bytes) > capacity
            continue
        best.append(other.dram_bytes)
        if parts == chosen:
            assert other.dram_bytes == point.dram_bytes
    assert min(best) == point.dram_bytes


@pytest.mark.parametrize(("name", "more", "double"), CASES[2:])
def test_what_might_have_been_is_a_schedule(name: str, more: int, double: bool) -> None:
    """Cut, joined, with other stripes and kernels: each is checked, lowered and counted."""
    graph, found, capacity = curve_of(name, more, double, "merged")
    point, schedule = found.point(capacity), found.schedule(capacity)
    assert point is not None
    assert schedule is not None
    for number, group in enumerate(schedule.groups):
        other = Alternatives(
            found.assembler, point.plan, point.peak_bytes, schedule, number, may_merge=True
        )
        runs = []
        if group.merged:
            run = run_of(group, schedule.memory.doubled)
            runs = [other.run_otherwise(replace(run, stripe_rows=rows))[0] for rows in (2, 3)]
        if number:
            parts = (*schedule.groups[number - 1].members, *group.members)
            again = other.rearranger.best(number - 1, number + 1, tuple((i,) for i in parts))
            assert again is not None
            runs.append(again.schedule)
        for each in runs:
            room = max(capacity, each.local_bytes)
            proved(graph, replace(each, memory=replace(each.memory, capacity_bytes=room)))
        for neighbour in other.neighbours():
            joined = neighbour.joined
            assert (joined is None) == bool(neighbour.obstacle)
            if joined is not None and not joined.short_bytes:
                assert joined.more_bytes >= 0
                assert joined.need_bytes <= capacity


@pytest.mark.parametrize(("name", "more", "double"), CASES)
def test_variants_that_fit_come_first_and_ascend(name: str, more: int, double: bool) -> None:
    graph, curve, capacity = curve_of(name, more, double, "merged")
    point = curve.point(capacity)
    assert point is not None
    group = max(point.plan, key=lambda decision: (decision.merged, len(decision.members)))
    found = group_on(curve, graph, machine(capacity, double), group.members[0])
    ranked = [(v.otherwise.short_bytes > 0, v.otherwise.dram_bytes) for v in found.variants]
    assert ranked
    assert ranked == sorted(ranked)
    for each in found.variants:
        other = each.otherwise
        assert other.more_bytes == other.dram_bytes - found.dram_bytes
        assert other.short_bytes or other.need_bytes <= capacity
    for table in group_tables(found):
        assert {len(row) for row in table.rows} == {len(table.columns)}


# ------------------------------------------------------------ what cannot be


def test_obstacles_are_named() -> None:
    found = {
        (name, layer.name): obstacle(small(name), layer)
        for name in ("transposed", "squeeze_excite", "shuffled", "mixer")
        for layer in small(name).layers
    }
    assert found["transposed", "gaps"] is Obstacle.PADDING
    assert found["squeeze_excite", "a"] is None
    graph = small("pooled_classifier")
    hardware = machine(capacity_of("pooled_classifier", 4000, True), True)
    for layer in graph.layers:
        told_of = explain_group(graph, hardware, RunOptions("merged"), layer.name)
        for neighbour in told_of.neighbours:
            if neighbour.obstacle:
                blocked = next(x for x in graph.layers if x.name == neighbour.blocked)
                assert obstacle(graph, blocked) == Obstacle(neighbour.obstacle)


def test_resident_policy_merges_nothing_and_says_so() -> None:
    capacity = capacity_of("residual", 1000, False)
    options = RunOptions("resident")
    for layer in small("residual").layers:
        found = explain_group(small("residual"), machine(capacity), options, layer.name)
        assert found.nest is not None
        assert (found.neighbours, found.variants) == ((), ())
        assert found.nest.gap >= 1
        assert all(each.more_share >= 0 for each in found.nest.alternatives)
        texts = [row for table in group_tables(found) for row in table.rows]
        assert any(row[0] == "merging" for row in texts)
