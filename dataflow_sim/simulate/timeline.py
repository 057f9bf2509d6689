"""The timeline: when every step and every transfer of a program runs, and who waits for whom.

    step k        start = max(end of step k - 1, done of what it needs)      end = start + its time
    transfer n    begin = max(end of the step, done of the transfer it waits for, done of n - C)
                  moves on each bus it uses from max(begin + set-up, when the bus is free)
                  done  = max(end, done of n - 1): transfers are reported in their order

C is the number of DMA channels: so many transfers are begun and not done.  Buses (DRAM, flash, a
cache) serve transfers in the order of the queue, each at its own rate.

All of these are sums and maxima of times, so that no end moves later when a duration shrinks, a
channel is added or a set-up is dropped: a faster machine is never slower on the same program.
(Max-plus linear systems; Baccelli et al., Synchronization and Linearity, 1992.)

Time is counted in whole femtoseconds, each duration rounded up, so that sums are exact and no
memory is faster than its pins.  The order of all this is `simulate.precedence`'s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dataflow_sim.errors import ProgramError
from dataflow_sim.simulate.arrays import Ints
from dataflow_sim.simulate.precedence import Precedence

FS_PER_S = 10**15


@dataclass(frozen=True, slots=True, eq=False)
class Durations:
    """How long things take, in femtoseconds: `steps` each; each transfer on each of the buses
    (bus, place in the queue), and the set-up of one.  `channels` are the DMA's."""

    steps: Ints
    buses: Ints
    setup: int
    channels: int


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """When everything runs, in femtoseconds from the begin: arrays of int64.

    `start` and `end` of each step; of each transfer in the order of the queue `begin`, when it
    starts to move (`moves`), its `finish` and when it is `done`; on each bus when it is `served`
    from, by (bus, place).
    """

    start: Ints
    end: Ints
    begin: Ints
    moves: Ints
    finish: Ints
    done: Ints
    served: Ints
    latency: int

    @property
    def before(self) -> Ints:
        """The end of the step before each."""
        return np.concatenate([[0], self.end[:-1]])[: self.end.size]


def play(found: Precedence, durations: Durations) -> Timeline:
    """Run steps and transfers.

    Raises ProgramError where a step and a transfer wait for each other, or the timeline loses time.
    """
    needs, step_fs = found.needs.tolist(), durations.steps.tolist()
    count, transfers = len(needs), found.bits.size
    run = _Queue(found, durations)
    start, end, done = [0] * count, run.step_end, run.done
    last = 0
    for number, (need, time) in enumerate(zip(needs, step_fs, strict=True)):
        if need >= run.place:
            run.up_to(need + 1, number)
        ready = done[need] if need >= 0 else 0
        last = ready if ready > last else last
        start[number] = last
        last += time
        end[number] = last
    run.up_to(transfers, count)
    ends = np.array(end[:-1], np.int64)
    finish, dones = np.array(run.finish, np.int64), np.array(done[:-1], np.int64)
    latency = max(int(ends.max(initial=0)), int(dones.max(initial=0)))
    timeline = Timeline(
        start=np.array(start, np.int64),
        end=ends,
        begin=np.array(run.begin, np.int64),
        moves=np.array(run.moves, np.int64),
        finish=finish,
        done=dones,
        served=np.array(run.served, np.int64).reshape(durations.buses.shape),
        latency=latency,
    )
    _check(found, durations, timeline)
    return timeline


class _Queue:
    """Transfers in the order of the queue."""

    def __init__(self, found: Precedence, durations: Durations) -> None:
        size = found.bits.size
        self.after_step = found.after_step.tolist()
        self.after_transfer = found.after_transfer.tolist()
        self.durations = [bus.tolist() for bus in durations.buses]
        self.setup, self.channels = durations.setup, durations.channels
        # one more each, never written, which stands for nothing at -1
        self.step_end = [0] * (found.needs.size + 1)
        self.done = [0] * (size + 1)
        self.begin, self.moves, self.finish = [0] * size, [0] * size, [0] * size
        self.served = [[0] * size for _ in self.durations]
        self.free = [0] * len(self.durations)
        self.place = 0

    def up_to(self, stop: int, steps: int) -> None:
        """Run the transfers below a place; so many steps have run."""
        done, step_end, channels, setup = self.done, self.step_end, self.channels, self.setup
        previous = done[self.place - 1]
        for place in range(self.place, stop):
            step = self.after_step[place]
            if step >= steps:
                raise ProgramError(f"transfer {place} waits for step {step}, which waits for it")
            ready = max(step_end[step], done[self.after_transfer[place]])
            if place >= channels and done[place - channels] > ready:
                ready = done[place - channels]
            self.begin[place] = ready
            ready += setup
            end, moves = ready, -1
            for bus, free in enumerate(self.free):
                time = self.durations[bus][place]
                if time:
                    served = free if free > ready else ready
                    moves = served if moves < 0 or served < moves else moves
                    self.served[bus][place] = served
                    self.free[bus] = served + time
                    end = max(end, served + time)
            self.moves[place] = ready if moves < 0 else moves
            self.finish[place] = end
            previous = end if end > previous else previous
            done[place] = previous
        self.place = stop


def _check(found: Precedence, durations: Durations, timeline: Timeline) -> None:
    """Raise ProgramError unless engines do one thing at a time and nothing begins too early."""
    inner = timeline.start[1:] >= timeline.end[:-1]
    waited = timeline.start >= np.append(timeline.done, 0)[found.needs]
    behind = timeline.begin >= np.append(timeline.end, 0)[found.after_step]
    if not (inner.all() and waited.all() and behind.all()):
        raise ProgramError("a step or a transfer begins before what it waits for is over")
    for times, served in zip(durations.buses, timeline.served, strict=True):
        used = times > 0
        ends = (served + times)[used]
        if (served[used][1:] < ends[:-1]).any() or times.sum() > timeline.latency:
            raise ProgramError("a bus serves two transfers at a time")
    if timeline.latency < int(durations.steps.sum()):
        raise ProgramError("steps take more time than there is")
