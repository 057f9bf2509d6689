"""The evaluator that random networks are held against, held against onnxruntime."""

from __future__ import annotations

from random import Random

import numpy as np
import onnx
import pytest

from dataflow_sim.networks.writer import input_shapes
from dataflow_sim.simulate.reference import random_inputs, with_weights
from tests.support.plain_operators import evaluate
from tests.support.random_networks import draw

runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


def pads_less_than_nothing(model: onnx.ModelProto) -> bool:
    """Whether a window that pads by itself steps over elements, where onnxruntime crops them."""
    for node in model.graph.node:
        said = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if said.get("auto_pad", b"").startswith(b"SAME") and any(
            stride > kernel
            for stride, kernel in zip(said["strides"], said["kernel_shape"], strict=True)
        ):
            return True
    return False


def test_onnxruntime_agrees() -> None:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    compared = 0
    for seed in range(80):
        model = with_weights(draw(Random(seed)).model, seed=1, unit_gain=True)
        if pads_less_than_nothing(model):
            continue
        inputs = random_inputs(dict(input_shapes(model)), seed=2)
        try:
            session = runtime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            found = session.run(None, dict(inputs))
        except Exception:  # even sizes of LRN, longer transposed convolutions: refused
            continue
        compared += 1
        for one, other in zip(found, evaluate(model, inputs).values(), strict=True):
            assert one.shape == other.shape
            scale = max(1.0, float(np.abs(other).max(initial=0)))
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * scale, err_msg=f"{seed}")
    assert compared > 65
