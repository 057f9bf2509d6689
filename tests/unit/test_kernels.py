"""Kernels of the replay that ONNX's reference evaluator does not cover."""

from __future__ import annotations

import numpy as np
import pytest

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.layer import Pooling, Window
from dataflow_sim.graph.pointwise import (
    ConstantArg,
    InputArg,
    OperandArg,
    PointProgram,
    PointStep,
    StepArg,
)
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.simulate.kernels import pixelwise, pool
from dataflow_sim.simulate.pointwise import pointwise


def test_local_response_normalisation_by_its_definition() -> None:
    """The evaluator of onnx sums over batch instead of channels, so that it cannot judge."""
    net = OnnxBuilder("lrn", (1, 6, 2, 2))
    value = net.local_response_norm("n", "input", size=4, alpha=0.5, bias=2.0)
    (layer,) = graph_from_model(net.model(value), "lrn").layers
    tile = np.random.default_rng(3).normal(size=(1, 6, 2, 2))
    expected = np.empty_like(tile)
    for channel in range(6):
        window = [c for c in range(channel - 1, channel + 3) if 0 <= c < 6]
        squares = sum(tile[:, c] ** 2 for c in window)
        expected[:, channel] = tile[:, channel] / (2.0 + 0.5 / 4 * squares) ** 0.75
    np.testing.assert_allclose(pixelwise(layer, tile), expected, rtol=1e-6)


def test_average_pooling_counts_padding_where_asked() -> None:
    window = Window(kernel=(3, 3), stride=(2, 2), pad=(1, 1))
    ones = np.ones((1, 1, 4, 4))
    out = ((0, 2), (0, 2))
    without = pool(Pooling("average", window), ones, (0, 0), (4, 4), out)
    counted = pool(Pooling("average", window, True, (1, 1)), ones, (0, 0), (4, 4), out)
    np.testing.assert_array_equal(without, np.ones((1, 1, 2, 2)))
    assert counted[0, 0, 0, 0] == pytest.approx(4 / 9)
    with pytest.raises(ProgramError, match="needs row 2"):
        pool(Pooling("max", window), ones[:, :, :2], (0, 0), (4, 4), out)


def test_pointwise_programs_are_straight_lines() -> None:
    first = PointProgram((PointStep("Mul", (InputArg(), ConstantArg("scale"))),))
    second = PointProgram(
        (PointStep("Add", (InputArg(), OperandArg(0))), PointStep("Relu", (StepArg(0),)))
    )
    both = first.then(second)
    assert both.ops == ("Mul", "Add", "Relu")
    value = np.array([[[[1.0]], [[-2.0]]]])
    constants = {"scale": np.array([[[9.0]], [[3.0]], [[5.0]]], np.float32)}
    result = pointwise(both, value, constants, np.array([1, 2]), [np.full((1, 2, 1, 1), 4.0)])
    np.testing.assert_array_equal(result, [[[[7.0]], [[0.0]]]])
    unknown = PointProgram((PointStep("BitShift", (InputArg(),)),))
    with pytest.raises(ProgramError, match="BitShift cannot be replayed"):
        pointwise(unknown, value, {}, np.array([0, 1]))
