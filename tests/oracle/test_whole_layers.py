"""Layers on whole maps give what ONNX's evaluator gives: the answer that replays are held to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dataflow_sim.graph.layer import LayerKind
from dataflow_sim.graph.pooling import Pooler, place_pooling
from dataflow_sim.simulate.arithmetic import Reals
from dataflow_sim.simulate.image import dram_image
from dataflow_sim.simulate.whole import evaluate_layers
from tests.support.runs import Case, case, outputs_of
from tests.support.small import SMALL
from tests.support.tokens import TOKENS


def streams(found: Case) -> bool:
    return any(layer.kind is LayerKind.STREAMED for layer in found.graph.layers)


@pytest.mark.parametrize("pooler", list(Pooler))
@pytest.mark.parametrize("name", sorted({**SMALL, **TOKENS}))
def test_real_numbers(name: str, pooler: Pooler) -> None:
    found = case(name)
    if streams(found):
        pytest.skip("streamed layers")
    found = replace(found, graph=place_pooling(found.graph, pooler))
    constants = {n: c.value for n, c in found.graph.constants.items() if c.value is not None}
    values = evaluate_layers(found.graph, Reals(constants), dram_image(found.graph, found.inputs))
    output = outputs_of(found.graph, values, found.expected)["output"]
    scale = float(np.abs(found.expected).max())
    np.testing.assert_allclose(output, found.expected, rtol=1e-5, atol=1e-6 * scale)
