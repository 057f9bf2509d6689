"""Local memory over time as plain data: bytes in use by what is held, the peak and its names.

Read from the stays of buffers, which a run lists in order of allocation.  What a buffer
holds is read from its label: `<layer>: kernel`, `<layer>: input` and so on, `<map>: row`, or
the bare name of a map that is resident, or of weights that stay from frame to frame.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataflow_sim.results import RunResult

Numbers = npt.NDArray[np.int64]

RESIDENT, WEIGHTS, TILES, SUMS = HELD = (
    "resident maps",
    "weights",
    "rows and tiles of maps",
    "partial sums",
)
_WEIGHT_ROLES = {"kernel", "constants", "input vectors", "output vectors"}


@dataclass(frozen=True, slots=True)
class Holding:
    """Buffers of one label in use at the peak: how many, and their bytes together."""

    held: str
    label: str
    count: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """A group's place in time: it begins at an instruction, and covers layers [first, stop) of
    those in the order in which they run."""

    start_instruction: int
    first_layer: int
    stop_layer: int
    first_name: str
    last_name: str

    @property
    def name(self) -> str:
        """Its layers: the name of one, the first and the last of several."""
        if self.first_name == self.last_name:
            return self.first_name
        return f"{self.first_name} to {self.last_name}"


@dataclass(frozen=True, slots=True)
class LiveSet:
    """Bytes in use after each change.

    The i-th change is at instruction `instructions[i]`; `held_bytes[k, i]` are the bytes of
    the k-th kind of HELD from there on.  `end_instruction` is the last change, where nothing
    is left but weights that stay for the next frame; `peak` is the index of the first change
    after which most bytes are in use, and `holdings` are in use then, the largest first.
    `stretches` are the groups in order; a group without a buffer of its own that names a layer,
    which works on resident maps or on weights that stay, is not among them.
    """

    instructions: Numbers
    held_bytes: Numbers
    end_instruction: int
    peak: int
    holdings: tuple[Holding, ...]
    stretches: tuple[Stretch, ...]

    @property
    def peak_bytes(self) -> int:
        """The most bytes that are in use at a time."""
        return int(self.held_bytes[:, self.peak].sum())


def live_set(result: RunResult) -> LiveSet:
    """The live set over time of a run that lists its buffers."""
    stays = result.buffers
    fields = [(s.first_instruction, s.last_instruction, s.size_bytes) for s in stays]
    first, last, size = np.array(fields, dtype=np.int64).T
    labels = [stay.label for stay in stays]
    resident, standing = _resident(result), set(result.frames.resident_weights)
    kinds = np.array(kinds_of(result), dtype=np.int64)
    held_of = {label: HELD[kind] for label, kind in zip(labels, kinds.tolist(), strict=True)}
    lasts = [label in resident or label in standing for label in labels]
    instructions, held_bytes = _over_time(first, last, size, kinds)
    peak = int(held_bytes.sum(axis=0).argmax())
    at = instructions[peak]
    return LiveSet(
        instructions=instructions,
        held_bytes=held_bytes,
        end_instruction=int(last.max()),
        peak=peak,
        holdings=holdings_of(labels, held_of, size, (first <= at) & (at < last)),
        stretches=_stretches(result, labels, first, last, ~np.array(lasts, bool)),
    )


def kinds_of(result: RunResult) -> list[int]:
    """What each buffer holds, as an index into HELD, in the order of `result.buffers`."""
    kind_of = kind_by_label(result)
    return [kind_of[stay.label] for stay in result.buffers]


def kind_by_label(result: RunResult) -> dict[str, int]:
    """What buffers of each label hold, as an index into HELD."""
    resident, standing = _resident(result), set(result.frames.resident_weights)
    labels = {stay.label for stay in result.buffers}
    return {label: HELD.index(_held(label, resident, standing)) for label in labels}


def _resident(result: RunResult) -> set[str]:
    """The maps that are resident around some group."""
    return {name for group in result.groups for name in group.resident}


def layer_positions(live: LiveSet, layers: int, at: Numbers) -> npt.NDArray[np.float64]:
    """Instructions as places along the layers: each group is as wide as its number of layers, and
    its instructions are spread evenly over that width."""
    starts = [stretch.start_instruction for stretch in live.stretches]
    places = [stretch.first_layer for stretch in live.stretches]
    if not starts or starts[0] > live.instructions[0]:
        starts, places = [int(live.instructions[0]), *starts], [0, *places]
    found: npt.NDArray[np.float64] = np.interp(
        at, [*starts, live.end_instruction], [*places, layers]
    )
    return found


def _held(label: str, resident: set[str], standing: set[str]) -> str:
    """What a buffer of this label holds."""
    if label in standing:
        return WEIGHTS
    if label in resident:
        return RESIDENT
    role = label.rpartition(": ")[2]
    if role in _WEIGHT_ROLES:
        return WEIGHTS
    return SUMS if role == "partial sums" else TILES


def _over_time(
    first: Numbers, last: Numbers, size: Numbers, kinds: Numbers
) -> tuple[Numbers, Numbers]:
    """The instructions at which something changes, and the bytes of each kind from then on."""
    instructions, place = np.unique(np.concatenate([first, last]), return_inverse=True)
    changes = np.zeros((len(HELD), len(instructions)), dtype=np.int64)
    np.add.at(changes, (kinds, place[: len(first)]), size)
    np.subtract.at(changes, (kinds, place[len(first) :]), size)
    return instructions, changes.cumsum(axis=1)


def holdings_of(
    labels: Sequence[str], held_of: Mapping[str, str], size: Numbers, alive: npt.NDArray[np.bool_]
) -> tuple[Holding, ...]:
    """Buffers that are alive, by label, the largest first: `held_of` tells what a label holds."""
    counts: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    for index in alive.nonzero()[0].tolist():
        counts[labels[index]] += 1
        totals[labels[index]] += int(size[index])
    order = sorted(counts, key=lambda label: (-totals[label], label))
    return tuple(Holding(held_of[label], label, counts[label], totals[label]) for label in order)


def _stretches(
    result: RunResult,
    labels: list[str],
    first: Numbers,
    last: Numbers,
    own: npt.NDArray[np.bool_],
) -> tuple[Stretch, ...]:
    """When groups begin: all of a group's own buffers are free before the next one's first."""
    group_of = {
        layer: number for number, group in enumerate(result.groups) for layer in group.layers
    }
    ends = np.cumsum([len(group.layers) for group in result.groups]).tolist()
    numbers = {label: _group(label, group_of) for label in set(labels)}
    found: dict[int, int] = {}
    start, free_from, latest = 0, -1, -1
    for index in own.nonzero()[0].tolist():
        if first[index] > free_from:
            start = int(first[index])
        free_from = max(free_from, int(last[index]))
        number = numbers[labels[index]]
        if number is not None and number > latest:
            found[number] = start
            latest = number
    return tuple(
        Stretch(
            start,
            ends[number] - len(result.groups[number].layers),
            ends[number],
            result.groups[number].layers[0],
            result.groups[number].layers[-1],
        )
        for number, start in found.items()
    )


def _group(label: str, group_of: dict[str, int]) -> int | None:
    """The group whose layer a label names, `<layer>: <what>`, if it does."""
    place = label.find(": ")
    while place >= 0:
        if label[:place] in group_of:
            return group_of[label[:place]]
        place = label.find(": ", place + 1)
    return None
