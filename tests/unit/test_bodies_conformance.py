"""Bodies against other people's models and against drawn ones: what comes out is the same."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import onnx
import pytest

from dataflow_sim.errors import NetworkError
from dataflow_sim.ingest.bodies import bodies_left, enter_bodies
from tests.support.bodies import NONE, Array, Drawing, drawn, entered, folded, run

# of the standard's own tests those whose models have bodies, or are expanded to some
SUBJECTS = ("affinegrid", "if_", "loop", "rangeop", "scan", "sequence_map")


def standard_cases() -> list[onnx.backend.test.case.test_case.TestCase]:
    for subject in SUBJECTS:
        import_module(f"onnx.backend.test.case.node.{subject}")
    listed = import_module("onnx.backend.test.case.node")._NodeTestCases
    found = []
    for case in listed:
        if bodies_left(case.model):
            found.append(case)
    return found


@pytest.mark.parametrize("case", standard_cases(), ids=lambda case: case.name)
def test_the_tests_of_the_standard(case: onnx.backend.test.case.test_case.TestCase) -> None:
    inputs = [value.name for value in case.model.graph.input]
    for given, _ in case.data_sets:
        feeds = {
            name: value if isinstance(value, list) or value is None else np.asarray(value)
            for name, value in zip(inputs, given, strict=True)
        }
        known = {name: value for name, value in feeds.items() if isinstance(value, np.ndarray)}
        if case.model.opset_import[0].version < 9:
            with pytest.raises(NetworkError, match="scans batches; export for version 9"):
                enter_bodies(case.model, "net", NONE, *folded(case.model, known))
            continue
        result, _ = entered(case.model, given=known)
        expected = onnx.reference.ReferenceEvaluator(case.model).run(None, feeds)
        found = onnx.reference.ReferenceEvaluator(result).run(None, feeds)
        np.testing.assert_equal(found, expected)


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
