"""Attention, keys by keys: scores of a step's queries and keys, taken into the running sums."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dataflow_sim.graph.meaning import Meaning
from dataflow_sim.simulate.stream_step import Results, SweepStep
from dataflow_sim.simulate.stream_tiles import Array, Tile, packed, runs_of, unpacked


def attention_step(step: SweepStep) -> tuple[Results, Array | None]:
    """These queries and keys, and with the last keys the results."""
    query, key, value = (step.tile(place) for place in range(3))
    scores = _scores(step, query, key)
    runs = runs_of(step.meaning.results[0], step.sweep.outputs[0], step.layer.output_shape)
    shape = (*query.array.shape[:3], value.array.shape[3] + 2)
    before = None
    if step.found.sums is not None:
        before = unpacked(step.found.sums, shape, runs, step.loops)
    sums = step.arithmetic.attended(scores, value.array, before)
    results = {0: step.arithmetic.attention_result(sums)} if step.found.writes else {}
    return results, packed(sums, runs, step.loops) if step.found.keeps else None


def _scores(step: SweepStep, query: Tile, key: Tile) -> Array:
    """Scores with the cap, the masks, and what a query may not see."""
    meaning = step.meaning
    scale = meaning.number("scale", 1 / np.sqrt(query.full[3]))
    scores = step.arithmetic.scores(query.array, key.array, scale)
    cap = meaning.number("softcap", 0.0)
    if cap > 0:
        scores = np.tanh(scores / cap) * cap
    first = (query.first[0], query.first[1], query.first[2], key.first[2])
    against = Tile(scores, first, (*query.full[:3], key.full[2]))
    for place in range(3, len(meaning.inputs)):
        mask = step.at_hand(place)
        if mask is None:
            continue
        if meaning.inputs[place].element == "bool":
            mask = Tile(np.where(mask.array != 0, 0.0, -np.inf), mask.first, mask.full)
        scores = scores + _as_long(mask, against.full[3]).beside(against)
    return np.where(_seen(meaning, against), scores, -np.inf)


def _as_long(mask: Tile, columns: int) -> Tile:
    """A mask of fewer columns than there are keys, behind which nothing is seen."""
    missing = columns - mask.full[-1]
    if mask.full[-1] == 1 or missing <= 0:
        return mask
    widths = [(0, 0)] * (mask.array.ndim - 1) + [(0, missing)]
    array = np.pad(mask.array, widths, constant_values=-np.inf)
    return Tile(array, mask.first, (*mask.full[:-1], columns))


def _seen(meaning: Meaning, scores: Tile) -> npt.NDArray[np.bool_]:
    """Which keys a query may look at, by their places: none behind its own, none too far away."""
    rows = np.arange(scores.first[2], scores.stop[2])[:, None] + int(meaning.number("past", 0))
    columns = np.arange(scores.first[3], scores.stop[3])
    seen = np.ones((len(rows), len(columns)), bool)
    if meaning.number("is_causal", 0):
        seen &= columns <= rows
    left, right = (int(meaning.number(f"{side}_window_size", -1)) for side in ("left", "right"))
    if left >= 0:
        seen &= rows - columns <= left
    if right >= 0:
        seen &= columns - rows <= right
    return seen
