"""Reductions over the whole plane become global pooling, and no others."""

from __future__ import annotations

import numpy as np
import pytest

from dataflow_sim.ingest.passes.squeeze_excite import SQUEEZE_EXCITE
from tests.unit.passes.chains import Chain, leaves, rewrites

POOLING = {"ReduceMean": "GlobalAveragePool", "ReduceMax": "GlobalMaxPool"}


@pytest.mark.parametrize("axes", [(2, 3), (3, 2), (-2, -1), (-1, 2)])
@pytest.mark.parametrize("op", POOLING)
def test_axes_as_input(op: str, axes: tuple[int, ...]) -> None:
    net = Chain(x=(2, 4, 5, 6))
    network = net.network(net.add(op, "x", np.array(axes, np.int64)))
    node = rewrites(SQUEEZE_EXCITE, network, {POOLING[op]: 1}).nodes[0]
    assert node.inputs == ("x",)
    assert node.attributes == {}


@pytest.mark.parametrize("op", POOLING)
def test_axes_as_attribute(op: str) -> None:
    net = Chain(17, x=(2, 4, 5, 6))
    end = net.add(op, "x", axes=[2, 3], keepdims=1)
    rewrites(SQUEEZE_EXCITE, net.network(net.add("Sigmoid", end)), {POOLING[op]: 1, "Sigmoid": 1})


@pytest.mark.parametrize("op", POOLING)
@pytest.mark.parametrize("axes", [(1, 2), (2,), (3,), (1, 2, 3), (1, 3), (0, 1, 2, 3)])
def test_other_axes_are_left(op: str, axes: tuple[int, ...]) -> None:
    net = Chain(x=(2, 4, 5, 6))
    leaves(SQUEEZE_EXCITE, net.network(net.add(op, "x", np.array(axes, np.int64))))


@pytest.mark.parametrize("op", [*POOLING, "ReduceSum", "ReduceMin"])
def test_other_reductions_are_left(op: str) -> None:
    keepdims = int(op not in POOLING)
    net = Chain(x=(2, 4, 5, 6))
    axes = np.array([2, 3], np.int64)
    leaves(SQUEEZE_EXCITE, net.network(net.add(op, "x", axes, keepdims=keepdims)))


@pytest.mark.parametrize("shape", [(2, 4, 5, 6, 7), (4, 5, 6, 3, 2)])
def test_other_ranks_are_left(shape: tuple[int, ...]) -> None:
    net = Chain(x=shape)
    leaves(SQUEEZE_EXCITE, net.network(net.add("ReduceMean", "x", np.array([2, 3], np.int64))))


def test_without_axes_everything_is_reduced() -> None:
    net = Chain(x=(2, 4, 5, 6))
    leaves(SQUEEZE_EXCITE, net.network(net.add("ReduceMean", "x")))
    leaves(SQUEEZE_EXCITE, net.network(net.add("ReduceMean", "x", noop_with_empty_axes=1)))
