"""Roles of a loop nest's buffers: which tile each holds, and what of it a step uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from dataflow_sim.graph.region import Box, Span
from dataflow_sim.program.emitter import ORIGIN, Slots
from dataflow_sim.program.instructions import Slice

NOTHING = Slice(-1, ORIGIN, Box(Span(0, 0), Span(0, 0), Span(0, 0), Span(0, 0)))


class Step(NamedTuple):
    """Indices of the tiles that one iteration of the nest works on."""

    group: int
    output: int
    input: int
    plane: int


@dataclass(slots=True)
class Role:
    """A buffer, the tile it holds and the part of it that the current step uses."""

    slots: Slots
    key: tuple[int, ...] = ()
    part: Slice = NOTHING
    parts: tuple[Slice, ...] = ()


def channel_of(part: Slice, channel: int) -> Slice:
    """One channel of a slice."""
    batch, first, row, column = part.origin
    origin = (batch, first + channel - part.box.channel.start, row, column)
    box = part.box._replace(channel=Span(channel, channel + 1))
    return part._replace(origin=origin, box=box)
