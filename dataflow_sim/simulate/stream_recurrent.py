"""Recurrent layers, a time step at a time: rows of the gates, then the next state."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dataflow_sim.errors import ProgramError
from dataflow_sim.simulate.recurrent import STATES, State, Weights, cell_of
from dataflow_sim.simulate.stream_step import Results, SweepStep
from dataflow_sim.simulate.stream_tiles import Array, Tile


def recurrent_step(step: SweepStep) -> tuple[Results, Array | None]:
    """These rows of the gates, and with the last ones the next state and the results."""
    meaning, groups = step.meaning, step.loops["G"]
    x, rows = step.tile(0), step.tile(1)
    direction, time = rows.first[0], x.first[0]
    if x.array.shape[0] != 1 or rows.array.shape[0] != 1 or groups.length != 1:
        raise ProgramError("a step of a recurrent layer is one time step of one direction")
    hidden, batch = step.tile(2).full[2], x.array.shape[1]
    cell = cell_of(meaning, hidden, direction, step.arithmetic.kept)
    weights = _weights(step, hidden, direction)
    state = _state(step, hidden, batch, direction)
    gates = cell.unfinished(x.array[0], weights, state)
    whole = State(state.values, gates)
    results: Results = {}
    values, finished = state.values, weights.rows.stop == gates.shape[1]
    if finished:
        values = cell.finished(weights, whole)
        active = _active(step, time)
        values = tuple(
            np.where(active, step.arithmetic.kept(new), old)
            for new, old in zip(values, state.values, strict=True)
        )
        y = np.where(active, values[0], 0.0)
        results = {0: y[None, None], **{n: each[None] for n, each in enumerate(values, 1)}}
    if not step.found.keeps:
        return results, None
    split = step.loops["N"].length < step.sweep.columns
    parts = [*values, gates] if split else list(values)
    flat = np.concatenate([part.ravel() for part in parts])
    return results, flat.reshape(1, 1, 1, -1)


def _weights(step: SweepStep, hidden: int, direction: int) -> Weights:
    rows = step.tile(1)
    size = rows.full[1]
    bias, looks = (step.at_hand(place) for place in (3, 7))
    both = np.zeros(2 * size) if bias is None else _of_direction(bias, direction)
    peepholes = np.zeros(3 * hidden) if looks is None else _of_direction(looks, direction)
    span = slice(rows.first[1], rows.stop[1])
    hidden_rows = step.tile(2).array[0]
    return Weights(span, rows.array[0], hidden_rows, both[:size], both[size:], peepholes)


def _of_direction(tile: Tile, direction: int) -> Array:
    return np.asarray(tile.array[direction - tile.first[0]], np.float64)


def _state(step: SweepStep, hidden: int, batch: int, direction: int) -> State:
    """What the step before left, or the initial state."""
    op, gates = step.meaning.op, step.tile(1).full[1]
    count = STATES[op]
    if step.found.sums is None:
        given = [step.at_hand(5 + number) for number in range(count)]
        values = tuple(
            np.zeros((batch, hidden)) if each is None else _of_direction(each, direction)
            for each in given
        )
        return State(values, np.zeros((batch, gates)))
    flat = step.found.sums.ravel()
    size = batch * hidden
    values = tuple(flat[n * size : (n + 1) * size].reshape(batch, hidden) for n in range(count))
    rest = flat[count * size :]
    return State(values, rest.reshape(batch, gates) if rest.size else np.zeros((batch, gates)))


def _active(step: SweepStep, time: int) -> npt.NDArray[np.bool_]:
    """Of each batch entry whether its sequence reaches this time step, as (batch, 1)."""
    lengths = step.at_hand(4)
    return np.asarray([[True]] if lengths is None else lengths.array[:, None] > time, np.bool_)
