"""Every built-in network with random weights: two evaluators give the same output.

At the smallest size of its name, so that nothing but shapes and arithmetic is compared: onnxruntime
against ONNX's own reference evaluator, which share no kernels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from dataflow_sim.networks import BUILT_IN
from dataflow_sim.networks.export import export
from tests.support.plain_operators import LRN
from tests.support.zoo import smallest_model

Array = npt.NDArray[np.float32]


runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

# a second or less each; together they hold every builder method
QUICK = ("mobilenet_v1", "mobilenet_v2")
TOLERANCE = 1e-3  # of the largest value


def feeds(model: onnx.ModelProto) -> dict[str, npt.NDArray[np.generic]]:
    """Inputs: normal numbers, or small whole ones where numbers of rows are meant."""
    generator = np.random.default_rng(3)
    found: dict[str, npt.NDArray[np.generic]] = {}
    for value in model.graph.input:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        drawn = generator.standard_normal(shape) if kind.kind == "f" else np.zeros(shape)
        found[value.name] = drawn.astype(kind)
    return found


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in BUILT_IN],
)
def test_two_evaluators_agree(name: str, tmp_path: Path) -> None:
    model = smallest_model(name)
    given = feeds(model)
    path = str(export(model, tmp_path / "net.onnx", 7, lambda *_: None)[0])
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(None, given)
    # the evaluator's sigmoid computes both of its branches and drops the one that overflows
    with np.errstate(over="ignore", invalid="ignore"):
        expected = ReferenceEvaluator(path, new_ops=[LRN]).run(None, given)
    assert len(found) == len(expected) == len(model.graph.output)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        largest = np.abs(other).max(initial=0)
        assert np.isfinite(other).all()
        assert largest > 0
        assert np.abs(one - other).max(initial=0) <= TOLERANCE * largest
