"""A tensor's elements on the grid of all borders that boxes draw: coordinate compression."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dataflow_sim.graph.region import Box, Span


def _borders(span: Span) -> range:
    return range(span.start, span.stop) if span.step > 1 else range(0)


def _steps_between(ordered: list[int]) -> npt.NDArray[np.int64]:
    edges = np.array(ordered, np.int64)
    return edges[1:] - edges[:-1]


class Grid:
    """One tensor's elements on the grid of all borders that its transfers draw."""

    def __init__(self, boxes: list[Box]) -> None:
        self.edges: list[dict[int, int]] = []
        lengths = []
        for axis in range(4):
            borders: set[int] = set()
            for box in boxes:
                span = box[axis]
                borders.update((span.start, span.stop))
                for index in _borders(span):
                    borders.update((index, index + 1))
            ordered = sorted(borders)
            self.edges.append({edge: cell for cell, edge in enumerate(ordered)})
            lengths.append(_steps_between(ordered))
        n, c, h, w = lengths
        self.volume: npt.NDArray[np.int64] = (
            n[:, None, None, None] * c[:, None, None] * h[:, None] * w
        )

    def cells(self, box: Box) -> tuple[slice | npt.NDArray[np.int64], ...]:
        """The box as an index into the grid's arrays."""
        index: list[slice | list[int]] = []
        strided = False
        for edges, span in zip(self.edges, box, strict=True):
            if span.step == 1:
                index.append(slice(edges[span.start], edges[span.stop]))
            else:
                strided = True
                index.append([edges[i] for i in range(span.start, span.stop, span.step)])
        if not strided:
            return tuple(part for part in index if isinstance(part, slice))
        full = [
            list(range(part.start, part.stop)) if isinstance(part, slice) else part
            for part in index
        ]
        return tuple(np.ix_(*full))

    def empty(self) -> npt.NDArray[np.bool_]:
        """A mask of no cell."""
        return np.zeros(self.volume.shape, bool)
