"""Reading, measured: `pytest tests/benchmarks -n 0`.

A decoder as large as those people run, written as an exporter leaves it, and the convolutional
networks and detectors of the reference files, each within its bound.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataflow_sim.ingest import ReadRequest, read_network
from dataflow_sim.ingest.bodies.entering import enter_bodies
from dataflow_sim.ingest.file.load import load_model
from tests.support.bodies import NONE
from tests.support.body_models import nested
from tests.support.decoder import decoder

Benchmark = Any

DIMS = {"batch": 1, "sequence": 128, "past": 128, "total": 256}
MINIMUM_NODES = 6000


def best_seconds(benchmark: Benchmark, work: Callable[[], object]) -> float:
    """The shortest of three rounds, all of them reported."""
    seconds = []

    def timed() -> None:
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)

    benchmark.pedantic(timed, rounds=3)
    return min(seconds)


@pytest.fixture(scope="module")
def decoder_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("decoder") / "decoder.onnx"
    path.write_bytes(decoder().SerializeToString())
    return path


def test_a_decoder_of_six_thousand_nodes(benchmark: Benchmark, decoder_file: Path) -> None:
    assert len(load_model(decoder_file).graph.node) >= MINIMUM_NODES
    work = lambda: read_network(decoder_file, ReadRequest(DIMS))  # noqa: E731
    assert best_seconds(benchmark, work) <= 60


MEMORY = """
import sys
from pathlib import Path
from dataflow_sim.ingest import ReadRequest, read_network
from dataflow_sim.ingest.file.load import load_model
dims = dict(batch=1, sequence=128, past=128, total=256)
read_network(Path(sys.argv[1]), ReadRequest(dims))
# the process's own peak: getrusage would tell that of the process it was forked from
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) * 1024)
"""


def test_a_decoder_takes_at_most_two_gigabytes(decoder_file: Path) -> None:
    command = [sys.executable, "-c", MEMORY, str(decoder_file)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(found.stdout) <= 2 * 10**9


@pytest.mark.parametrize(
    ("name", "limit_s"),
    [
        ("tv_resnet50_dynamo", 1.0),
        ("timm_efficientnet_b0", 1.0),
        ("timm_swin_tiny_script17", 3.0),
        ("tv_ssdlite320_script17", 3.0),
    ],
)
def test_networks_of_exporters(
    benchmark: Benchmark, name: str, limit_s: float, shared: Path
) -> None:
    path = shared / "models" / f"{name}.onnx"
    assert best_seconds(benchmark, lambda: read_network(path)) <= limit_s


def test_deep_nesting_is_walked_in_linear_time(benchmark: Benchmark) -> None:
    """Branches within branches: four times as many take at most six times as long."""

    def seconds(levels: int) -> float:
        model = nested(levels)
        start = time.perf_counter()
        enter_bodies(model, "net", NONE, {}, {})
        return time.perf_counter() - start

    few = min(seconds(500) for _ in range(3))
    many = min(seconds(2000) for _ in range(3))
    benchmark(lambda: seconds(500))
    assert many <= 6 * few
