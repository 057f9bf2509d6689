"""Names with numbers: what they build, and what is said of wrong ones."""

from __future__ import annotations

import pytest

from dataflow_sim.errors import NetworkError
from dataflow_sim.networks import build_network, input_shapes, is_built_in, numbers_of
from dataflow_sim.networks.row import Parameter


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("mobilenet_v1", {}),
        ("mobilenet_v1@0.5", {"width": 0.5}),
        ("mobilenet_v1@0.5-160", {"width": 0.5, "resolution": 160}),
        ("mobilenet_v1@resolution=160", {"resolution": 160}),
        ("mobilenet_v1@resolution=160-width=2", {"width": 2.0, "resolution": 160}),
        ("mobilenet_v1@.5-resolution=96", {"width": 0.5, "resolution": 96}),
        ("densenet121@128-12", {"resolution": 128, "growth": 12}),
    ],
)
def test_numbers_by_place_and_by_name(name: str, numbers: dict[str, float]) -> None:
    assert numbers_of(name) == numbers


def test_the_model_has_the_numbers_and_the_name() -> None:
    model = build_network("mobilenet_v1@0.5-160")
    assert model.graph.name == "mobilenet_v1@0.5-160"
    assert input_shapes(model) == (("input", (1, 3, 160, 160)),)
    (first,) = (t for t in model.graph.initializer if t.name == "conv1.weight")
    assert list(first.dims) == [16, 3, 3, 3]


@pytest.mark.parametrize(
    ("name", "messages"),
    [
        ("mobilnet_v1", ["did you mean 'mobilenet_v1'"]),
        ("mobilenet_v1_0.75", ["did you mean 'mobilenet_v1@0.75'?"]),
        ("nothing", ["give an .onnx file"]),
        ("vgg16@0.5", ["resolution '0.5' is not a whole number from 32 to 4096", "'vgg16@224'"]),
        ("mobilenet_v1@0", ["width '0' is not a number from 0.1 to 4.0"]),
        ("mobilenet_v1@wide", ["width 'wide'"]),
        ("mobilenet_v1@", ["width ''"]),
        ("mobilenet_v1@nan", ["width 'nan'"]),
        ("mobilenet_v1@1e0", ["width '1e0'"]),
        ("mobilenet_v1@-1", ["width ''", "resolution '1'"]),
        ("mobilenet_v1@1-224-3", ["'3' is one too many", "takes width, resolution"]),
        ("mobilenet_v1@1-width=1", ["width is given twice"]),
        ("mobilenet_v1@x-31-depth=1", ["width 'x'", "resolution '31'", "there is no 'depth'"]),
        ("mobilenet_v1@" + "9" * 5000, ["width '999"]),
    ],
)
def test_everything_wrong_with_a_name_is_said_at_once(name: str, messages: list[str]) -> None:
    with pytest.raises(NetworkError) as caught:
        build_network(name)
    assert all(message in str(caught.value) for message in messages), caught.value
    assert len(str(caught.value)) < 500


def test_what_counts_as_built_in() -> None:
    assert is_built_in("vgg16")
    assert is_built_in("vgg16@anything")
    assert not is_built_in("vgg16.onnx")


def test_choices_and_multiples_are_limits() -> None:
    groups = Parameter("groups", 3, 1, 8, "groups", choices=(1, 2, 3, 4, 8))
    assert [groups.read(text) for text in ("3", "8", "5", "3.0")] == [3, 8, None, None]
    assert groups.limits == "one of 1, 2, 3, 4, 8"
    rows = Parameter("resolution", 416, 32, 4096, "rows", multiple_of=32)
    assert [rows.read(text) for text in ("32", "416", "400", "4128")] == [32, 416, None, None]
    assert rows.limits == "a whole number from 32 to 4096 in multiples of 32"
