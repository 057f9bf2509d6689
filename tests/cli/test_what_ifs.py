"""--what-if and `whatifs`: what is printed, recorded and refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dataflow_sim.cli.main import cli
from dataflow_sim.errors import InputError
from dataflow_sim.whatif import WHAT_IFS, parse
from dataflow_sim.whatif.contract import Stage

SMALL = "mobilenet_v1@0.25-32"


def invoked(*arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments])


def refused(*texts: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        parse(texts)
    return str(caught.value).splitlines()


def test_all_are_listed_in_the_order_in_which_they_run() -> None:
    listed = json.loads(invoked("whatifs", "--json").stdout)
    assert [each["name"] for each in listed] == list(WHAT_IFS)
    stages = [Stage[each["stage"].upper()] for each in listed]
    assert stages == sorted(stages)
    for each in listed:
        assert all(each[key] for key in ("meaning", "before", "after"))
    table = invoked("whatifs").stdout
    assert all(each["name"] in table for each in listed)
    assert "[default: 1]" in invoked("whatifs", "prune").stdout
    assert isinstance(invoked("whatifs", "prun").exception, InputError)


def test_what_was_changed_is_recorded_in_the_order_of_the_stages() -> None:
    asked = ("entropy=huffman", "weight_bits=4", "prune=0.5:multiple=8", "batch=2")
    given = [part for text in asked for part in ("--what-if", text)]
    found = json.loads(invoked("run", SMALL, "--hw", "bare", "--json", *given).stdout)
    assert [each["text"] for each in found["what_ifs"]] == [
        *("batch=2", "prune=0.5:multiple=8", "weight_bits=4", "entropy=huffman"),
    ]
    assert all(each["effects"] for each in found["what_ifs"])
    turned = [part for text in reversed(asked) for part in ("--what-if", text)]
    again = json.loads(invoked("run", SMALL, "--hw", "bare", "--json", *turned).stdout)
    assert again == found
    assert any("does not know formats.weights.entropy" in each for each in found["warnings"])
    shown = invoked("run", SMALL, "--hw", "bare", *given).stdout
    assert "what if prune=0.5:multiple=8" in shown


@pytest.mark.parametrize("command", ["curve", "inspect", "explain", "replay"])
def test_every_command_that_reads_a_network_takes_them(command: str) -> None:
    arguments = [command, SMALL, "--what-if", "prune=0.5", "--json"]
    arguments += ["conv1"] if command == "explain" else []
    arguments += [] if command == "inspect" else ["--hw", "bare"]
    done = invoked(*arguments)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [each["text"] for each in found["what_ifs"]] == ["prune=0.5"]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    found = refused(
        "wieght_bits=4", "prune=1", "sparsity=0.5:encodng=csr:by=x", "batch", "weight_bits=17"
    )
    assert len(found) == 6
    assert "did you mean 'weight_bits'?" in found[0]
    assert "write prune=0..<1" in found[1]
    assert "did you mean 'encoding'?" in found[2]
    assert "by=x: write uniform|size" in found[3]
    assert "write batch=1..16777216" in found[4]
    assert "write weight_bits=1..16" in found[5]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("weight_bits=4", "mixed_precision=5"), "says otherwise of the same tensors"),
        (("weight_bits=4", "weight_bits=5"), "says otherwise"),
        (("sparsity=0.5", "n_of_m=2of4"), "says otherwise"),
        (("binary=xnor", "activation_bits=4"), "says otherwise"),
        (("entropy=huffman", "weight_compression=0.5"), "says otherwise"),
        (("batch=2", "batch=3"), "given 2 times"),
    ],
)
def test_one_does_not_undo_the_other(texts: tuple[str, ...], expected: str) -> None:
    assert any(expected in line for line in refused(*texts))


@pytest.mark.parametrize(
    "texts",
    [
        ("weight_bits=4", "weight_bits=8:kind=fully_connected"),
        ("binary=weights", "activation_bits=4"),
        ("codebook=16", "entropy=huffman"),
        ("sparsity=0.5", "map_sparsity=0.5", "codebook=16"),
    ],
)
def test_what_goes_together_does(texts: tuple[str, ...]) -> None:
    assert len(parse(texts).steps) == len(texts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gelu=relu", "the network has none of these"),
        ("layer_norm=no_norm", "the network has none of these"),
        ("kernel=5to3", "the network has no such block"),
        ("bottleneck=inverted", "the network has no such block"),
        ("kernel=3to2", "two odd sizes"),
        ("n_of_m=3of2", "smaller number first"),
        ("sparsity=measured", "are not in the file"),
        ("codebook=measured", "no values in the file"),
        ("weight_bits=4:layer=conv99", "conv99"),
        ("mixed_precision=1:levels=8/4", "below the lowest level"),
    ],
)
def test_what_finds_nothing_to_change_is_refused(text: str, expected: str) -> None:
    done = invoked("run", SMALL, "--hw", "bare", "--what-if", text)
    assert isinstance(done.exception, InputError)
    assert expected in str(done.exception)


def test_a_changed_network_is_not_its_files(tmp_path: Path) -> None:
    done = invoked(
        "replay", SMALL, "--hw", "bare", "--what-if", "prune=0.5", "--numbers", "float32"
    )
    assert isinstance(done.exception, InputError)
    path = tmp_path / "net.onnx"
    assert invoked("networks", "export", SMALL, str(path)).exit_code == 0
    copy = str(tmp_path / "copy.onnx")
    done = invoked("inspect", str(path), "--annotate", copy, "--what-if", "width=0.5")
    assert isinstance(done.exception, InputError)
    assert not Path(copy).exists()
    done = invoked("run", SMALL, "--batch", "2", "--what-if", "batch=3")
    assert "--batch says it too" in str(done.exception)


def test_the_weights_of_a_file_are_measured(tmp_path: Path) -> None:
    path = str(tmp_path / "net.onnx")
    assert invoked("networks", "export", SMALL, path, "--random-weights", "1").exit_code == 0
    found = json.loads(invoked("inspect", path, "--weights", "--json").stdout)["weights"]
    assert len(found) == 28
    for each in found:
        assert each["entropy_bits"] <= each["huffman_bits"] < each["entropy_bits"] + 1
        assert each["huffman_bits"] <= 8
    assert "Huffman" in invoked("inspect", path, "--weights").stdout
    done = invoked("run", path, "--hw", "bare", "--json", "--what-if", "entropy=huffman")
    (told,) = json.loads(done.stdout)["what_ifs"]
    assert told["effects"][0].endswith("values of 28 kernels measured")
    assert isinstance(invoked("inspect", SMALL, "--weights").exception, InputError)


def test_widths_that_are_asked_for_go_before_general_options() -> None:
    def weights(*arguments: str) -> int:
        done = invoked("run", SMALL, "--hw", "bare", "--json", *arguments)
        found = json.loads(done.stdout)["dram"]["weight_bytes"]
        assert isinstance(found, int)
        return found

    assert weights("--weight-bits", "4", "--what-if", "weight_bits=8") == weights()
    mixed = weights("--weight-bits", "4", "--what-if", "weight_bits=8:kind=fully_connected")
    assert weights("--weight-bits", "4") < mixed < weights()
