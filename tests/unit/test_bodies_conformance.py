"""Bodies against other people's models and against drawn ones: what comes out is the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.backend.test.case.test_case import TestCase
from onnx.reference import ReferenceEvaluator

from dataflow_sim.errors import NetworkError
from dataflow_sim.ingest.bodies.entering import BodyChoices, bodies_left, enter_bodies
from tests.support.bodies import NONE, Array, Drawing, drawn, entered, folded, run

# of the standard's own tests those whose models have bodies, or are expanded to some
SUBJECTS = ("affinegrid", "if_", "loop", "rangeop", "scan", "sequence_map")

# its state is optional in the first trip, a sequence in the others: version 16 has no such nodes
NEVER_TYPED = "test_loop16_seq_none"


def standard_cases() -> list[TestCase]:
    for subject in SUBJECTS:
        import_module(f"onnx.backend.test.case.node.{subject}")
    listed = import_module("onnx.backend.test.case.node")._NodeTestCases
    return [case for case in listed if case.name != NEVER_TYPED and bodies_left(case.model)]


def lengths(model: onnx.ModelProto, feeds: Mapping[str, Any]) -> BodyChoices:
    """Loops over sequences: their lengths are not among the values that the tests fold."""
    if "sequence_map" not in model.graph.name:
        return NONE
    shortest = min(len(value) for value in feeds.values() if isinstance(value, list))
    loops = [node for node in model.graph.node if node.op_type == "Loop"]
    return BodyChoices(trips={node.output[0]: shortest for node in loops})


@pytest.mark.parametrize("case", standard_cases(), ids=lambda case: case.name)
def test_the_tests_of_the_standard(case: TestCase) -> None:
    model, data = case.model, case.data_sets
    assert model is not None
    assert data is not None
    inputs = [value.name for value in model.graph.input]
    for given, expected in data:
        feeds = {
            name: value if isinstance(value, list) else np.asarray(value)
            for name, value in zip(inputs, given, strict=True)
        }
        known = {name: value for name, value in feeds.items() if isinstance(value, np.ndarray)}
        if model.opset_import[0].version < 9:
            with pytest.raises(NetworkError, match="scans batches; export for version 9"):
                enter_bodies(model, "net", NONE, *folded(model, known))
            continue
        result, _ = entered(model, lengths(model, feeds), known)
        found = ReferenceEvaluator(result).run(None, feeds)
        wanted: Iterable[Any] = expected
        if case.name == "test_if_opt":  # the evaluator wraps what is optional once more
            wanted = ReferenceEvaluator(model).run(None, feeds)
        for one, other in zip(found, wanted, strict=True):
            if isinstance(other, list):
                np.testing.assert_equal(one, other)
            else:
                assert np.shape(one) == np.shape(other)
                np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("seed", range(60))
def test_drawn_models(seed: int) -> None:
    model = Drawing(seed).model()
    feeds: dict[str, Array] = {"x": drawn(3), "X": drawn(2, 3, seed=1)}
    for first, second in ((True, False), (False, True)):
        known = {"c0": np.array(first), "c1": np.array(second)}
        result, said = entered(model, given=known)
        assert not any("assumed" in sentence for sentence in said)
        expected = run(model, {**feeds, **known})
        np.testing.assert_array_equal(run(result, {**feeds, **known}), expected)


def test_drawn_models_have_bodies_in_bodies() -> None:
    said = [sentence for seed in range(60) for sentence in entered(Drawing(seed).model())[1]]
    for outer in ("if", "loop", "scan"):
        for inner in ("If", "Loop", "Scan"):
            assert any(s.startswith(f"{inner} '{outer}") and "/" in s for s in said)
