"""The eleven instances of MiniMalloc (Moffitt, ASPLOS 2023), and the table of decision 0027.

All can be placed within 1 MiB; orders of the buffers, the largest first or changed ones, do not
come near it.
"""

from __future__ import annotations

import re
from pathlib import Path
from time import process_time

import pytest

from dataflow_sim.errors import BuffersDoNotFitError
from dataflow_sim.placing import place_buffers, read_lifetimes
from dataflow_sim.results_of_placement import Lifetime
from dataflow_sim.schedule.allocation import Life
from dataflow_sim.schedule.placement_problem import Problem
from dataflow_sim.schedule.placement_search import work_of_node

INSTANCES = Path(__file__).parent / "minimalloc"
PAGE = Path(__file__).resolve().parents[2] / "reports" / "decisions" / "0027-placement.md"
CAPACITY = 1_048_576
MOST_SECONDS = 300
ROW = re.compile(r"\| ([A-K]) \| (\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d,]+) \|")
ORDERS = 30_000  # what they get of the work
NAMES = "ABCDEFGHIJK"


def lifetimes_of(name: str) -> tuple[Lifetime, ...]:
    return read_lifetimes(INSTANCES / f"{name}.{CAPACITY}.csv")


def rows() -> dict[str, tuple[str, ...]]:
    """Of each instance its buffers, two heights over the capacity, and nodes."""
    found = (ROW.match(line) for line in PAGE.read_text().splitlines())
    return {match[1]: match.groups()[1:] for match in found if match}


def test_the_table_has_every_instance() -> None:
    table = rows()
    assert list(table) == list(NAMES)
    for name, (buffers, largest_first, orders, _) in table.items():
        lifetimes = lifetimes_of(name)
        assert int(buffers) == len(lifetimes)
        found = place_buffers(name, lifetimes, None, work=0)
        assert f"{found.peak_bytes / CAPACITY:.3f}" == largest_first
        assert 1 < float(orders) <= float(largest_first)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_is_placed_within_the_capacity(name: str) -> None:
    lifetimes = lifetimes_of(name)
    _, largest_first, orders, nodes = rows()[name]
    with pytest.raises(BuffersDoNotFitError) as failure:
        place_buffers(name, lifetimes, CAPACITY, work=ORDERS)
    assert f"{failure.value.lowest_bytes / CAPACITY:.3f}" == orders
    begin = process_time()
    lives = tuple(Life(life.size_bytes, life.lower, life.upper - 1) for life in lifetimes)
    work = ORDERS + work_of_node(Problem(lives)) * int(nodes.replace(",", ""))
    found = place_buffers(name, lifetimes, CAPACITY, work=work)
    seconds = process_time() - begin
    assert found.peak_bytes <= CAPACITY
    assert seconds <= MOST_SECONDS
    print(f"{name}: {largest_first} largest first, {orders} by orders, placed in {seconds:.1f} s")
