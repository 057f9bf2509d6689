"""The table of published counts: every row built, within 1 % and 2 %, or explained in its row."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataflow_sim.graph.analyses import layer_macs
from dataflow_sim.networks import BUILT_IN
from tests.support.zoo import graph_of

# rows that are called otherwise: a size of a network that has sizes, another name
SIZES = {
    "mobilenet_v1_0.75": "mobilenet_v1@0.75",
    "mobilenet_v1_0.50": "mobilenet_v1@0.5",
    "mobilenet_v1_0.25": "mobilenet_v1@0.25",
    "mobilenet_v2_1.4": "mobilenet_v2@1.4",
    "mobilenet_v2_0.75": "mobilenet_v2@0.75",
    "mobilenet_v2_0.50": "mobilenet_v2@0.5",
    "mobilenet_v2_0.35": "mobilenet_v2@0.35",
    "shufflenet_v1_1x_g1": "shufflenet_v1@1-1",
    "shufflenet_v1_1x_g2": "shufflenet_v1@1-2",
    "shufflenet_v1_1x_g3": "shufflenet_v1@1-3",
    "shufflenet_v1_1x_g8": "shufflenet_v1@1-8",
    "shufflenet_v1_2x_g3": "shufflenet_v1@2-3",
    "shufflenet_v1_1.5x_g3": "shufflenet_v1@1.5-3",
    "shufflenet_v1_0.5x_g4": "shufflenet_v1@0.5-4",
    "shufflenet_v2_1x": "shufflenet_v2",
    "mobilebert": "mobilebert@128",
    "mobilebert_tiny": "mobilebert_tiny@128",
    # the table counts the graph with normalisation; `googlenet` is the paper's, without
    "googlenet": "googlenet_bn",
}


def rows(shared: Path) -> Iterator[tuple[str, int | None, float | None]]:
    """(name here, parameters, millions of MACs) of every row and of the sizes in its note."""
    with (shared / "reference" / "networks.csv").open() as file:
        for row in csv.DictReader(file):
            name = SIZES.get(row["network"], row["network"])
            parameters = int(row["params"]) if row["params"] else None
            yield name, parameters, float(row["mmacs"]) if row["mmacs"] else None
            for size, mmacs in re.findall(r"(\d+): ([\d.]+)", row["note"]):
                at = f"{name}-resolution={size}" if "@" in name else f"{name}@resolution={size}"
                yield at, None, float(mmacs)


def test_the_sizes_in_the_notes_are_read(shared: Path) -> None:
    sizes = [name for name, parameters, _ in rows(shared) if "resolution=" in name]
    assert len(sizes) == 16
    assert "mobilenet_v1@0.5-resolution=128" in sizes


def test_every_row_is_built_and_counted(shared: Path) -> None:
    for name, parameters, mmacs in rows(shared):
        graph = graph_of(name)
        row = BUILT_IN[name.partition("@")[0]]
        explained = any(each.because for each in row.published)
        macs = sum(map(layer_macs, graph.layers))
        if parameters is not None and not explained:
            assert graph.parameters == pytest.approx(parameters, rel=0.01), name
        if mmacs is not None and not explained:
            assert macs / 1e6 == pytest.approx(mmacs, rel=0.02), name
