"""`dataflow-sim replay` as users run it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from dataflow_sim import replaying
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.program.instructions import Instruction, Load, Program
from dataflow_sim.program.lowering import Progress, lower
from dataflow_sim.schedule.types import Schedule
from tests.support.commands import command

SMALL = ("replay", "ds_cnn_s", "--hw", "bare", "--layers", "1..4")


def replays(stdout: str) -> dict[str, dict[str, object]]:
    return {each["numbers"]: each for each in json.loads(stdout)["replays"]}


def test_both_kinds_of_numbers(tmp_path: Path) -> None:
    done = command(*SMALL, "--policy", "merged", "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert found["passed"]
    assert found["weights"] == "47 constants drawn from seed 1"
    assert found["part"] == "conv1:block2.dw"
    for numbers, bits in (("integers", 8), ("float32", 32)):
        each = replays(done.stdout)[numbers]
        assert each["weight_bits"] == each["activation_bits"] == [bits]
        assert each["complete"]
        assert each["different"] == 0
        assert each["dram_bits"] == each["ledger_bits"]
        assert each["peak_bytes"] <= each["capacity_bytes"] == 262_144  # type: ignore[operator]


def test_a_whole_network_against_onnx(tmp_path: Path) -> None:
    done = command("replay", "ds_cnn_s", "--hw", "bare", "--numbers", "float32", cwd=tmp_path)
    assert "result" in done.stdout
    assert "passed" in done.stdout
    assert "evaluator" in done.stdout or "onnxruntime" in done.stdout


def test_narrow_and_packed(tmp_path: Path) -> None:
    done = command(
        *(*SMALL, "--numbers", "integers", "--weight-bits", "3", "--activation-bits", "5"),
        *("--policy", "resident", "--local-memory", "8KiB", "--json"),
        cwd=tmp_path,
    )
    (each,) = json.loads(done.stdout)["replays"]
    assert (each["weight_bits"], each["activation_bits"]) == ([3], [5])
    assert each["passed"]


@pytest.mark.slow
def test_the_same_on_every_hash_seed(tmp_path: Path) -> None:
    first, second = (command(*SMALL, "--json", cwd=tmp_path, seed=seed) for seed in ("0", "77"))
    assert first.stdout == second.stdout
    other = command(*SMALL, "--json", "--seed", "2", cwd=tmp_path)
    assert json.loads(other.stdout)["weights"] == "47 constants drawn from seed 2"


def test_a_limit_of_time(tmp_path: Path) -> None:
    done = command(
        *("replay", "mobilenet_v1@0.25-128", "--hw", "bare", "--local-memory", "2KiB"),
        *("--numbers", "integers", "--max-seconds", "0.1", "--json"),
        cwd=tmp_path,
    )
    (each,) = json.loads(done.stdout)["replays"]
    assert not each["complete"]
    assert 0 < each["executed"] < each["instructions"]
    assert each["elements"] > 0
    assert each["different"] == 0


def test_a_program_that_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows of the input change places: every count is as it should be."""

    def swapped(graph: NetworkGraph, schedule: Schedule, progress: Progress) -> Program:
        program = lower(graph, schedule, progress)
        loads = [i for i, each in enumerate(program.instructions) if is_row_of_input(each)]
        found = list(program.instructions)
        one, other = found[loads[3]], found[loads[4]]
        assert isinstance(one, Load)
        assert isinstance(other, Load)
        found[loads[3]], found[loads[4]] = one._replace(box=other.box), other._replace(box=one.box)
        return replace(program, instructions=tuple(found))

    monkeypatch.setattr(replaying, "lower", swapped)
    arguments = (*SMALL, "--numbers", "integers", "--policy", "merged")
    done = command(*arguments, cwd=tmp_path, code=1)
    assert re.search(
        r"error: the replay failed: integers: instruction \d+ \(Compute\)", done.stderr
    )
    assert "does not hold element" in done.stderr
    assert "FAILED" in done.stdout


def is_row_of_input(instruction: Instruction) -> bool:
    return isinstance(instruction, Load) and instruction.tensor == "input"


def test_single_precision_needs_more_memory(tmp_path: Path) -> None:
    done = command(*SMALL, "--local-memory", "120B", "--json", cwd=tmp_path)
    found = replays(done.stdout)
    assert found["integers"]["passed"]
    assert "does not fit" in str(found["float32"]["left_out"])


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--seed", "-1"), 2, "--seed is -1; a seed is 0 to 4294967295"),
        (("--max-seconds", "0"), 2, "--max-seconds is 0.0; a time is above 0"),
        (("--max-seconds", "nan"), 2, "--max-seconds is nan"),
        (("--numbers", "reals"), 2, "'reals' is not one of"),
        (("--local-memory", "4B"), 3, "does not fit local memory"),
        (("--layers", "9..2"), 2, "give the earlier one first"),
        (("--layers", "conv1"), 2, "write FIRST:LAST"),
    ],
)
def test_bad_input(arguments: tuple[str, ...], code: int, told: str, tmp_path: Path) -> None:
    done = command("replay", "ds_cnn_s", "--hw", "bare", *arguments, cwd=tmp_path, code=code)
    assert told in done.stderr
    assert not done.stdout
    assert not list(tmp_path.iterdir())
