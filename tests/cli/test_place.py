"""`dataflow-sim place` as users run it: whole outputs, files, errors, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import command

# the largest first reaches 9 bytes, the best 8
LIVES = """\
size,id,upper,lower,label
4,a,4,1,map
1,b,6,3,row
4,c,3,0,kernel
5,d,7,4,map
"""
BAD_LIVES = """\
id,lower,upper,size
a,0,4,x
a,5,5,-1
"""


@pytest.fixture(autouse=True)
def lives(tmp_path: Path) -> None:
    (tmp_path / "lives.csv").write_text(LIVES)
    (tmp_path / "bad.csv").write_text(BAD_LIVES)
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "binary.csv").write_bytes(b"\x89PNG\r\n\x1a\n\0\xff")
    (tmp_path / "without.csv").write_text("id,lower,size\na,1,2\n")
    (tmp_path / "taken.csv").mkdir()


def state(directory: Path) -> dict[str, bytes]:
    """All files below a directory with their contents."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths}


def place_json(*arguments: str, cwd: Path) -> dict[str, Any]:
    found = json.loads(command("place", *arguments, "--json", cwd=cwd).stdout)
    assert isinstance(found, dict)
    return found


def test_the_whole_table(tmp_path: Path) -> None:
    before = state(tmp_path)
    done = command("place", "lives.csv", "--capacity", "1KiB", cwd=tmp_path)
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert [line for line in lines if line] == [
        "lives.csv: placed",
        "buffers 4",
        "live peak, which no placement is below 8 B",
        "allocated peak 9 B",
        "capacity 1 KiB",
        "fragmentation 11.11%",
        "proved the least no, none is below 8 B",
    ]
    assert done.stderr == ""
    assert state(tmp_path) == before


def test_the_whole_json(tmp_path: Path) -> None:
    assert place_json("lives.csv", "--capacity", "8", cwd=tmp_path) == {
        "schema": "dataflow_sim.placement/1",
        "lifetimes": "lives.csv",
        "capacity_bytes": 8,
        "alignment_bytes": 1,
        "buffers": 4,
        "live_peak_bytes": 8,
        "least_bytes": 8,
        "peak_bytes": 8,
        "fragmentation": 0.0,
        "proved_least": True,
        "placements": [
            {"id": "a", "lower": 1, "upper": 4, "size_bytes": 4, "offset_bytes": 0},
            {"id": "b", "lower": 3, "upper": 6, "size_bytes": 1, "offset_bytes": 5},
            {"id": "c", "lower": 0, "upper": 3, "size_bytes": 4, "offset_bytes": 4},
            {"id": "d", "lower": 4, "upper": 7, "size_bytes": 5, "offset_bytes": 0},
        ],
    }


def test_without_a_capacity_as_low_as_it_goes(tmp_path: Path) -> None:
    found = place_json("lives.csv", cwd=tmp_path)
    assert (found["peak_bytes"], found["proved_least"], found["capacity_bytes"]) == (8, True, None)
    found = place_json("lives.csv", "--work", "0", cwd=tmp_path)
    assert (found["peak_bytes"], found["proved_least"]) == (9, False)
    assert found["fragmentation"] == 1 - 8 / 9
    aligned = place_json("lives.csv", "--alignment", "4B", cwd=tmp_path)
    assert all(each["offset_bytes"] % 4 == 0 for each in aligned["placements"])
    assert "alignment" in command("place", "lives.csv", "--alignment", "4", cwd=tmp_path).stdout


def test_out_and_plot(tmp_path: Path) -> None:
    arguments = ("--capacity", "8", "--out", "placed.csv", "--plot", "memory.svg")
    done = command("place", "lives.csv", *arguments, cwd=tmp_path)
    assert done.stdout.endswith("written to placed.csv\nwritten to memory.svg\n")
    assert (tmp_path / "placed.csv").read_text() == (
        "id,lower,upper,size,offset\na,1,4,4,0\nb,3,6,1,5\nc,0,3,4,4\nd,4,7,5,0\n"
    )
    assert b"<svg" in (tmp_path / "memory.svg").read_bytes()[:600]
    # what was written is read again, and written over
    again = command("place", "placed.csv", "--capacity", "8", "--out", "other.csv", cwd=tmp_path)
    assert again.stdout.endswith("written to other.csv\n")
    assert (tmp_path / "other.csv").read_text() == (tmp_path / "placed.csv").read_text()
    command("place", "lives.csv", "--work", "0", "--out", "other.csv", cwd=tmp_path)
    assert (tmp_path / "other.csv").read_text() != (tmp_path / "placed.csv").read_text()
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]


def test_the_same_bytes_under_another_hash_seed(tmp_path: Path) -> None:
    outputs = []
    for seed in (None, "4242"):
        own = tmp_path / str(seed)
        own.mkdir()
        (own / "lives.csv").write_text(LIVES)
        arguments = ("lives.csv", "--json", "--out", "placed.csv", "--plot", "memory.png")
        text = command("place", *arguments, cwd=own, seed=seed).stdout
        outputs.append((text, state(own)))
    assert set(outputs[0][1]) == {"lives.csv", "placed.csv", "memory.png"}
    assert outputs[0] == outputs[1]


def test_what_does_not_fit_ends_with_three_and_nothing_written(tmp_path: Path) -> None:
    before = state(tmp_path)
    arguments = ("lives.csv", "--out", "placed.csv", "--plot", "memory.png", "--json")
    done = command("place", *arguments, "--capacity", "7", cwd=tmp_path, code=3)
    assert done.stderr == (
        "error: the buffers do not fit 7 bytes: their live peak is 8, the lowest placement found "
        "reaches 9 (proved impossible, since so much lives at a time); raise --capacity to 9B\n"
    )
    assert done.stdout == ""
    more = ("--capacity", "8", "--work", "0")
    done = command("place", *arguments, *more, cwd=tmp_path, code=3)
    assert done.stderr == (
        "error: the buffers do not fit 8 bytes: their live peak is 8, the lowest placement found "
        "reaches 9 (not proved impossible); raise --capacity to 9B, or let it work longer "
        "(--work)\n"
    )
    assert state(tmp_path) == before


BAD = [
    (("absent.csv",), "'absent.csv' does not exist; give a CSV file"),
    ((".",), "'.' is a directory; give the CSV file inside it"),
    (("empty.csv",), "'empty.csv' is empty; its first line names the columns id, lower, upper"),
    (("binary.csv",), "'binary.csv' is no CSV file: byte 0 is not UTF-8"),
    (("without.csv",), "without.csv:1: no column 'upper' among 'id', 'lower', 'size'"),
    (("bad.csv",), "bad.csv:2: size is 'x', no whole number"),
    (("bad.csv",), "bad.csv:3: id 'a' stands on line 2 already"),
    (("bad.csv",), "bad.csv:3: size is '-1', negative"),
    (("bad.csv",), "bad.csv:3: upper is 5, lower 5"),
    (("bad.csv", "--capacity", "0"), "--capacity is 0 bytes; give 1 to 1,099,511,627,776\nbad"),
    (("lives.csv", "--capacity", "1Mb"), "--capacity: '1Mb' has the unknown unit 'Mb'"),
    (("lives.csv", "--capacity", "-1"), "--capacity: "),
    (("lives.csv", "--capacity", "1TB"), "--capacity: '1TB' has the unknown unit"),
    (("lives.csv", "--alignment", "0"), "--alignment is 0 bytes"),
    (("lives.csv", "--alignment", "2000GiB"), "--alignment is 2,147,483,648,000 bytes"),
    (("lives.csv", "--work", "-1"), "--work is -1; give 0 to"),
    (("lives.csv", "--work", "x"), "is not a valid integer"),
    (("lives.csv", "--out", "placed.txt"), "the name of a table ends in .csv"),
    (("lives.csv", "--out", ""), "the name of a table ends in .csv"),
    (("lives.csv", "--out", "lives.csv"), "'lives.csv' is the file of lifetimes itself"),
    (("lives.csv", "--out", "./lives.csv"), "is the file of lifetimes itself"),
    (("lives.csv", "--out", "taken.csv"), "'taken.csv' is a directory; give another --out file"),
    (("lives.csv", "--out", "absent/placed.csv"), "'absent' is no directory; make it"),
    (("lives.csv", "--plot", "memory.pdf"), "the name of a picture ends in .png or .svg"),
    (("lives.csv", "--plot", "absent/memory.png"), "'absent' is no directory; make it"),
    (("lives.csv", "--out", "placed.csv", "--plot", "absent/m.png"), "give another --plot file"),
    ((), "Missing argument"),
]


@pytest.mark.parametrize(
    ("arguments", "expected"), BAD, ids=[" ".join((*b[0], b[1][:12])) for b in BAD]
)
def test_bad_input_ends_with_two_and_nothing_written(
    arguments: tuple[str, ...], expected: str, tmp_path: Path
) -> None:
    before = state(tmp_path)
    done = command("place", *arguments, cwd=tmp_path, code=2)
    assert expected in done.stderr
    assert done.stderr.count("rror:") == 1
    assert done.stdout == ""
    assert state(tmp_path) == before


def test_every_problem_at_once(tmp_path: Path) -> None:
    arguments = ("--capacity", "0", "--alignment", "1KB/s", "--work", "-2")
    files = ("--out", "absent/placed.csv", "--plot", "memory.gif")
    done = command("place", "bad.csv", *arguments, *files, cwd=tmp_path, code=2)
    beginnings = [line[:20] for line in done.stderr.splitlines()]
    assert beginnings == [
        "error: --capacity is",
        "--alignment: '1KB/s'",
        "--work is -2; give 0",
        "'absent' is no direc",
        "--plot memory.gif: t",
        "bad.csv:2: size is '",
        "bad.csv:3: id 'a' st",
        "bad.csv:3: size is '",
        "bad.csv:3: upper is ",
    ]
