"""A product with a constant matrix and a bias become one Gemm, and nothing else does."""

from __future__ import annotations

import pytest

from dataflow_sim.ingest.passes.linear import LINEAR
from tests.unit.passes.chains import Chain, leaves, rewrites


@pytest.mark.parametrize("bias", [(7,), (1, 7)])
@pytest.mark.parametrize("swapped", [False, True])
def test_matrix_and_bias(swapped: bool, bias: tuple[int, ...]) -> None:
    net = Chain(x=(4, 5))
    matrix, vector = net.learned(5, 7), net.learned(*bias)
    product = net.add("MatMul", "x", matrix)
    end = net.add("Add", *((vector, product) if swapped else (product, vector)))
    node = rewrites(LINEAR, net.network(net.add("Relu", end)), {"Gemm": 1, "Relu": 1}).nodes[0]
    assert node.inputs == ("x", matrix, vector)
    assert (node.outputs, node.attributes) == ((end,), {"alpha": 1.0, "beta": 1.0})


def test_two_layers() -> None:
    net = Chain(x=(4, 5))
    hidden = net.add(
        "Relu", net.add("Add", net.add("MatMul", "x", net.learned(5, 6)), net.learned(6))
    )
    end = net.add("Add", net.learned(1), net.add("MatMul", hidden, net.learned(6, 1)))
    rewrites(LINEAR, net.network(end), {"Gemm": 2, "Relu": 1})


@pytest.mark.parametrize("bias", [(), (1,), (4, 1), (4, 7), (1, 1), (1, 1, 7)])
def test_other_additions_are_left(bias: tuple[int, ...]) -> None:
    net = Chain(x=(4, 5))
    product = net.add("MatMul", "x", net.learned(5, 7))
    leaves(LINEAR, net.network(net.add("Add", product, net.learned(*bias))))


def test_maps_of_higher_rank_are_left() -> None:
    net = Chain(x=(2, 4, 5))
    product = net.add("MatMul", "x", net.learned(5, 7))
    leaves(LINEAR, net.network(net.add("Add", product, net.learned(7))))


def test_products_of_maps_are_left() -> None:
    net = Chain(x=(4, 5), z=(5, 7), b=(7,))
    leaves(LINEAR, net.network(net.add("Add", net.add("MatMul", "x", "z"), net.learned(7))))
    product = net.add("MatMul", net.learned(3, 5), "z")
    leaves(LINEAR, net.network(net.add("Add", product, net.learned(7))))
    product = net.add("MatMul", "x", net.learned(5, 7))
    leaves(LINEAR, net.network(net.add("Add", product, "b")))


def test_a_product_that_others_read_is_left() -> None:
    net = Chain(x=(4, 5))
    product = net.add("MatMul", "x", net.learned(5, 7))
    end = net.add("Add", product, net.learned(7))
    leaves(LINEAR, net.network(end, product))
    leaves(LINEAR, net.network(end, net.add("Relu", product)))
    leaves(LINEAR, net.network(net.add("Add", product, product)))
