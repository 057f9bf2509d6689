"""`--layers` on the command line: what is run, what it says, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.commands import command

NETWORK = "mobilenet_v1@0.25-128"


def test_commands_that_take_a_part(tmp_path: Path) -> None:
    whole = json.loads(command("inspect", NETWORK, "--json", cwd=tmp_path).stdout)
    names = [layer["name"] for layer in whole["layers"]]
    text = f"{names[2]}:{names[4]}"
    part = ("--layers", text, "--hw", "bare", "--json")
    found = json.loads(command("run", NETWORK, *part, cwd=tmp_path).stdout)
    assert (found["network"], found["part"]) == (f"{NETWORK} {text}", text)
    assert [layer["name"] for layer in found["layers"]] == names[2:5]
    assert found["macs"] == sum(layer["macs"] for layer in whole["layers"][2:5])
    curve = json.loads(command("curve", NETWORK, *part, cwd=tmp_path).stdout)
    assert curve["part"] == text
    assert curve["points"][-1]["dram_bytes"] == found["bounds"]["compulsory_bytes"]
    told = command("explain", NETWORK, "2", *part[:-1], cwd=tmp_path).stdout
    assert f"{names[3]}, layer 2 of 3 of {NETWORK} {text}" in " ".join(told.split())
    tables = command("run", NETWORK, "--layers", "3:5", "--hw", "bare", cwd=tmp_path).stdout
    assert f"{NETWORK} {text} on bare, layerwise" in " ".join(tables.split())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5:3", "give the earlier one first"),
        ("3", "write FIRST:LAST"),
        ("3:1000", "has no layer number 1000, only 1 to 28"),
    ],
)
@pytest.mark.parametrize("name", ["run", "curve"])
def test_parts_that_there_are_not(tmp_path: Path, name: str, text: str, message: str) -> None:
    done = command(name, NETWORK, "--layers", text, cwd=tmp_path, code=2)
    assert f"--layers {text}: " in done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
