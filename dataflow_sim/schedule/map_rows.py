"""When the rows of a map live in a merged group, and how many bytes live at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataflow_sim.graph.region import Span
from dataflow_sim.schedule.rows import Ints

NEVER = np.iinfo(np.int64).max


@dataclass(slots=True)
class MapRows:
    """One map in a group: where it comes from and when its rows live.

    `birth` and `death` are firings by row, or by height and row; of a row that nobody in the
    group reads they are the same, of one from outside NEVER and -1.  `producer` is the layer's
    place in the group, None for a map from outside, of which only `channels` and
    `columns` are needed.
    """

    name: str
    producer: int | None
    birth: Ints
    death: Ints
    channels: Span
    columns: Span
    row_bytes: int

    def copy(self) -> MapRows:
        """The same rows, to live on."""
        return MapRows(
            self.name,
            self.producer,
            self.birth,
            self.death,
            self.channels,
            self.columns,
            self.row_bytes,
        )

    def at(self, chosen: npt.NDArray[np.bool_]) -> MapRows:
        """Of several heights some."""
        other = self.copy()
        other.birth, other.death = self.birth[chosen], self.death[chosen]
        return other

    @property
    def needed(self) -> Ints:
        """Rows that live at all."""
        birth = self.birth if self.birth.ndim == 1 else self.birth[0]
        return np.asarray((birth != NEVER).nonzero()[0], np.int64)

    def lives(self, streamed: bool) -> tuple[Ints, Ints]:
        """First and last firing of each row that lives; `streamed` buffers doubly.

        An input row is then there one row early, an output row one row longer.
        """
        birth, death = self.birth, self.death
        if self.producer is None:
            rows = self.needed
            birth, death = birth[..., rows], death[..., rows]
        if streamed and birth.shape[-1] > 1:
            if self.producer is None:
                before = np.concatenate([birth[..., :1], birth[..., :-1]], axis=-1)
                birth = np.minimum(birth, before)
            else:
                behind = np.concatenate([birth[..., 1:], birth[..., -1:]], axis=-1)
                death = np.maximum(death, behind)
        return birth, death


def live_sums(
    maps: Sequence[tuple[int, MapRows, bool]], count: int, firings: Ints
) -> npt.NDArray[np.float64]:
    """Bytes of the rows that live at each of `firings` (ascending), summed by line.

    Each map comes with its line, one of `count`, and whether it is streamed doubly.  The
    result is (lines, firings); the bytes are integers, exact in float64.
    """
    width = len(firings) + 1
    if not maps:
        return np.zeros((count, len(firings)))
    lives = [found.lives(streamed) for _, found, streamed in maps]
    sizes = [birth.size for birth, _ in lives]
    line = np.repeat([number * width for number, _, _ in maps], sizes)
    weights = np.repeat([float(found.row_bytes) for _, found, _ in maps], sizes)
    births = firings.searchsorted(np.concatenate([birth.ravel() for birth, _ in lives]))
    deaths = firings.searchsorted(np.concatenate([death.ravel() for _, death in lives]), "right")
    change = np.bincount(line + births, weights, count * width)
    change -= np.bincount(line + deaths, weights, count * width)
    sums = change.reshape(count, width).cumsum(axis=1)
    return np.asarray(sums[:, :-1], np.float64)
