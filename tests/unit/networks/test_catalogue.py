"""Every row of the catalogue: what it says of itself is what is built and counted."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module
from itertools import chain

import pytest

import dataflow_sim.networks as networks
from dataflow_sim.built_in import comparisons
from dataflow_sim.networks import BUILT_IN, build_network
from tests.support.zoo import graph_of, smallest

PARAMETERS_WITHIN, MACS_WITHIN = 0.01, 0.02


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
    for found in comparisons(BUILT_IN[name]):
        within = PARAMETERS_WITHIN if found.what == "parameters" else MACS_WITHIN
        assert abs(found.difference) <= within or found.because, found
        assert found.source


def test_no_difference_is_explained_where_there_is_none() -> None:
    for row in BUILT_IN.values():
        explained = [each for each in comparisons(row) if each.because]
        for at in {each.at for each in explained}:
            worst = max(
                abs(each.difference)
                / (PARAMETERS_WITHIN if each.what == "parameters" else MACS_WITHIN)
                for each in explained
                if each.at == at
            )
            assert worst > 1, (row.name, at)


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_reader_understands_all_of_it(name: str) -> None:
    assert graph_of(name).warnings == ()


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_smallest_size_is_legal_and_built_alike_twice(name: str) -> None:
    least = smallest(BUILT_IN[name])
    once, again = build_network(least), build_network(least)
    assert once.SerializeToString(deterministic=True) == again.SerializeToString(deterministic=True)
    assert graph_of(least).parameters <= graph_of(name).parameters
