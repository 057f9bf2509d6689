"""Figures of fused layers that differ by who pools: VGG19, conv1_1 to conv3_1 with both poolings.

Maps alone, 32 bit, in plenty of memory: all reads and writes of maps, input and last output among
them.  By hand, in MiB: input 0.574, conv1 12.25 unpooled and 3.0625 pooled, conv2 6.125 and
1.53125, conv3_1 3.0625.  Published of the fused layers: 3.64 MB, and 77.14 of the unfused ones,
whose consumers pool (Alwani et al., Fused-layer CNN accelerators, MICRO 2016).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import command

MIB = 1 << 20
INPUT, CONV1, CONV2, CONV3 = 0.57421875, 12.25, 6.125, 3.0625


def vgg19(tmp_path: Path, *more: str) -> dict[str, Any]:
    """dataflow-sim run vgg19 --layers conv1_1:conv3_1 --hw bare --local-memory 1GiB
    --weight-bits 32 --activation-bits 32 --json, and more."""
    part = ("--layers", "conv1_1:conv3_1", "--hw", "bare", "--local-memory", "1GiB")
    widths = ("--weight-bits", "32", "--activation-bits", "32", "--json")
    done = command("run", "vgg19", *part, *widths, *more, cwd=tmp_path)
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    assert found["part"] == "conv1_1:conv3_1"
    assert found["proof"]["counted"]
    return found


def map_mib(found: dict[str, Any]) -> float:
    """What maps move, network input and output among them."""
    return float((found["dram"]["total_bytes"] - found["dram"]["weight_bytes"]) / MIB)


@pytest.mark.parametrize(
    ("pooling", "by_hand", "published"),
    [
        ("consumer", 4 * CONV1 + 4 * CONV2, 77.14),
        ("producer", 2 * CONV1 + 2 * CONV1 / 4 + 2 * CONV2 + 2 * CONV2 / 4, 49.57),
        ("separate", 4 * CONV1 + 2 * CONV1 / 4 + 4 * CONV2 + 2 * CONV2 / 4, 86.32),
    ],
)
def test_layer_by_layer(tmp_path: Path, pooling: str, by_hand: float, published: float) -> None:
    """dataflow-sim run vgg19 --layers conv1_1:conv3_1 --hw bare --local-memory 1GiB
    --weight-bits 32 --activation-bits 32 --json --policy layerwise --set pooling=consumer"""
    found = vgg19(tmp_path, "--policy", "layerwise", "--set", f"pooling={pooling}")
    assert map_mib(found) == INPUT + by_hand + CONV3
    assert map_mib(found) == pytest.approx(published, rel=0.001)
    assert len(found["layers"]) == (7 if pooling == "separate" else 5)
    assert found["overrides"] == {"local_memory.capacity": f"{1 << 30}B", "pooling": pooling}


@pytest.mark.parametrize("pooling", ["consumer", "producer"])
def test_merged(tmp_path: Path, pooling: str) -> None:
    """dataflow-sim run vgg19 --layers conv1_1:conv3_1 --hw bare --local-memory 1GiB
    --weight-bits 32 --activation-bits 32 --json --policy merged --set pooling=consumer"""
    found = vgg19(tmp_path, "--policy", "merged", "--set", f"pooling={pooling}")
    assert map_mib(found) == INPUT + CONV3 == pytest.approx(3.64, rel=0.001)
    assert found["groups"] == 1
