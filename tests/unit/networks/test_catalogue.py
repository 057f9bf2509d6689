"""Every row of the catalogue: what it says of itself is what is built and counted."""

from __future__ import annotations

import inspect
import pkgutil
import re
from importlib import import_module
from itertools import chain

import pytest

import dataflow_sim.networks as networks
from dataflow_sim.built_in import comparisons
from dataflow_sim.networks import BUILT_IN, build_network
from tests.support.zoo import graph_of, smallest

WITHIN = {"parameters": 0.01, "MACs": 0.02}


def families() -> list[str]:
    """All modules of the rooms of families."""
    found = pkgutil.walk_packages(networks.__path__, f"{networks.__name__}.")
    return [module.name for module in found if module.name.count(".") == 3]


def test_every_network_of_every_family_is_listed() -> None:
    modules = map(import_module, families())
    rows = list(chain.from_iterable(getattr(module, "NETWORKS", ()) for module in modules))
    assert sorted(row.name for row in rows) == sorted(BUILT_IN)
    assert len({id(row) for row in rows}) == len(rows)


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_numbers_of_a_name_are_what_is_built_from(name: str) -> None:
    row = BUILT_IN[name]
    numbers = {"name", *(parameter.name for parameter in row.parameters)}
    taken = inspect.signature(row.build).parameters
    needed = {key for key, each in taken.items() if each.default is inspect.Parameter.empty}
    assert needed <= numbers <= set(taken)
    assert row.description
    assert row.source
    assert all(ord(character) < 128 for character in row.name + row.description)


@pytest.mark.parametrize("name", BUILT_IN)
def test_published_figures_are_met_or_the_difference_is_explained(name: str) -> None:
    """Within 1 % and 2 %; a figure that is met needs no explanation, and has none."""
    met: dict[str, bool] = {}
    for found in comparisons(BUILT_IN[name]):
        assert found.source
        within = abs(found.difference) <= WITHIN[found.what]
        assert within or found.because, found
        if found.because:
            met[found.at] = met.get(found.at, True) and within
    assert not any(met.values()), met


# sizes of a family beside its smallest: read in the slow tests
LARGER = re.compile(
    r"(101|152|169|201|_b[1-7]$|_large|_l$|_m$|_base|_small|_v1$|vgg1[369]|_ceil|_bn)"
)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if LARGER.search(name) else name
        for name in BUILT_IN
    ],
)
def test_the_reader_understands_all_of_it_at_either_size(name: str) -> None:
    least = smallest(BUILT_IN[name])
    once, again = build_network(least), build_network(least)
    assert once.SerializeToString(deterministic=True) == again.SerializeToString(deterministic=True)
    small, graph = graph_of(least), graph_of(name)
    assert graph.warnings == small.warnings == ()
    assert small.parameters <= graph.parameters
