"""Why a tensor is read how often, in a sentence."""

from __future__ import annotations

from dataclasses import replace

from dataflow_sim.report.explanation import why
from dataflow_sim.results_of_explanation import Pinned, Repeat, TensorTraffic


def traffic(**changes: object) -> TensorTraffic:
    values: dict[str, object] = {
        "roles": ("input",),
        "tensors": ("x",),
        "elements": 10,
        "moved_elements": 10,
        "once_bytes": 10,
        "dram_bytes": 10,
        "repeats": (),
        "halo_share": 0.0,
        "halo_axes": (),
        "rows_stay": False,
        "pinned": None,
    }
    return TensorTraffic(**{**values, **changes})  # type: ignore[arg-type]


def test_sentences() -> None:
    assert why(traffic()) == "read once"
    assert why(traffic(roles=("output",))) == "written once"
    repeats = (Repeat("output channels", 3, ("space",)),)
    sentence = why(traffic(moved_elements=33, repeats=repeats))
    assert "once for each of the 3 tiles of output channels" in sentence
    assert "the tile changes with space" in sentence
    halo: dict[str, object] = {"halo_share": 0.1, "halo_axes": ("columns",), "rows_stay": True}
    assert "10.0% more in a pass" in why(traffic(moved_elements=11, **halo))
    assert "rows that the tile above left stay" in why(traffic(moved_elements=11, **halo))
    both = why(traffic(roles=("input", "operand 0"), moved_elements=20))
    assert both == "read as input and as operand 0"
    some = Pinned("input", "input channels", 4, 512, (1, 4, 1, 1), 4, 4)
    mixed = why(traffic(moved_elements=22, repeats=repeats, pinned=some))
    assert mixed.startswith(
        "4 of 512 input channels stay in left-over memory and are read once; "
        "the others once for each of the 3 tiles of output channels: inside"
    )
    mixed = why(traffic(moved_elements=22, pinned=some, **halo))
    assert "are read once; of the others 10.0% more in a pass" in mixed
    one, all_of_them = replace(some, channels=1), replace(some, channels=512)
    mixed = why(traffic(moved_elements=22, repeats=repeats, pinned=one))
    assert mixed.startswith("1 of 512 input channels stays in left-over memory and is read once;")
    whole = why(traffic(pinned=all_of_them))
    assert whole == "all 512 input channels stay in left-over memory: read once"
    sums = traffic(roles=("partial sums",), repeats=(Repeat("input channels", 4, ()),))
    assert "each of the 4 tiles of input channels but the last" in why(sums)
