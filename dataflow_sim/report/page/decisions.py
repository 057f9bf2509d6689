"""Which modelling decisions apply to a run, and what is not modelled: from the records themselves.

Every record in `reports/decisions` has a rule here that says of which runs it tells something.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from dataflow_sim.resources import shipped_files
from dataflow_sim.results import RunResult
from dataflow_sim.traffic import Reason

RECORDS = "reports/decisions"
NOT_MODELLED = "not-modelled"

Rule = Callable[[RunResult], bool]

_CODES = {
    *("sparsity", "n_of_m", "map_sparsity", "codebook", "weight_compression", "map_compression"),
    "entropy",
}
_ENLARGING = {"ConvTranspose", "Resize", "Upsample"}


def _always(run: RunResult) -> bool:
    return True


def _never(run: RunResult) -> bool:
    """Of records on other commands than `run`, and on volumes, of which no result tells."""
    return False


def _merged(run: RunResult) -> bool:
    return any(group.merged for group in run.groups)


def _coded(run: RunResult) -> bool:
    return any(each.text.partition("=")[0] in _CODES for each in run.what_ifs)


def _pinned(run: RunResult) -> bool:
    return any(
        layer.tiling.get("pinned_input_channels") or layer.tiling.get("pinned_output_channels")
        for layer in run.layers
    )


RULES: Mapping[str, Rule] = {
    "0001": _always,
    "0002": _always,
    "0003": lambda run: any(layer.kind == "convolution" for layer in run.layers),
    "0004": _always,
    "0005": _always,
    "0006": lambda run: any(layer.kind == "streamed" for layer in run.layers),
    "0007": _merged,
    "0008": lambda run: run.policy != "layerwise",
    "0009": _always,
    "0010": _always,
    "0011": _always,
    "0012": lambda run: not run.network.endswith(".onnx"),
    "0013": lambda run: any(not group.merged for group in run.groups),
    "0014": lambda run: any(layer.op in _ENLARGING for layer in run.layers),
    "0015": _always,
    "0016": _pinned,
    "0017": _never,
    "0018": _merged,
    "0019": lambda run: run.frames.frames > 1,
    "0020": lambda run: run.objective != "dram",
    "0021": lambda run: any(group.tile for group in run.groups),
    "0022": lambda run: run.exact is not None,
    "0023": _always,
    "0024": lambda run: bool(run.part),
    "0025": _merged,
    "0026": lambda run: any(group.handover for group in run.groups),
    "0027": lambda run: run.machine["local_memory"]["banks"] > 1,
    "0028": _never,
    "0029": _never,
    "0030": _always,
    "0031": _always,
    "0032": _coded,
    "0033": lambda run: bool(run.what_ifs),
    "0034": lambda run: run.timeline is not None,
    "0035": lambda run: run.dram_delivery is not None or run.traffic.of(Reason.BURST_PADDING) > 0,
    "0036": _never,
    "0037": _never,
}


@dataclass(frozen=True, slots=True)
class Record:
    """A decision record: its number, and its title."""

    number: str
    title: str
    file: str


@cache
def _records() -> tuple[Record, ...]:
    found = []
    for name, path in shipped_files(RECORDS, ".md").items():
        if name != NOT_MODELLED:
            heading = path.read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# ")
            number, _, title = heading.partition(" ")
            found.append(Record(number, title, path.name))
    return tuple(found)


def applying(run: RunResult) -> tuple[Record, ...]:
    """The records that tell something of a run, by number."""
    return tuple(record for record in _records() if RULES[record.number](run))


@cache
def not_modelled() -> tuple[str, ...]:
    """What is not modelled, a sentence or two each."""
    text = shipped_files(RECORDS, ".md")[NOT_MODELLED].read_text(encoding="utf-8")
    items: list[str] = []
    for line in text.splitlines():
        if line.startswith("* "):
            items.append(line[2:])
        elif items and line.strip():
            items[-1] += " " + line.strip()
    return tuple(items)
