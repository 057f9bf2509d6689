"""A schedule whose program finds addresses in a memory of banks: the best one that does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from dataflow_sim.choosing import schedules_down
from dataflow_sim.errors import DataflowSimError, InputError
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.program.banks import in_banks
from dataflow_sim.program.instructions import Program
from dataflow_sim.program.lowering import lower
from dataflow_sim.proof import MAXIMUM_COUNTED_STEPS
from dataflow_sim.schedule.demands import Demand
from dataflow_sim.schedule.types import MemoryOptions, Schedule
from dataflow_sim.simulate.banks import check_banks

Progress = Callable[[str, int, int], None]


class NoBanksError(DataflowSimError):
    """No schedule finds addresses in a memory of banks, though some fit one of a single bank."""

    exit_code = 3


def banked_schedule(
    graph: NetworkGraph,
    memory: MemoryOptions,
    policy: str,
    bank_bytes: int,
    progress: Progress,
    demand: Demand | None = None,
) -> tuple[Schedule, Program]:
    """The schedule that moves the fewest bytes of those whose programs fit banks, and its program.

    One that does not fit makes way for the next of the budget curve, which needs less memory.
    Raises DoesNotFitError, NoBanksError where none fits, and InputError for programs too long to
    be placed.
    """
    tried = 0
    for schedule in schedules_down(graph, memory, policy, partial(progress, "scheduling"), demand):
        if schedule.steps > MAXIMUM_COUNTED_STEPS:
            raise InputError(
                f"local_memory.banks: a program of {schedule.steps:,} steps, more than "
                f"{MAXIMUM_COUNTED_STEPS:,} are not placed; give more local memory or one bank"
            )
        tried += 1
        progress("banks", tried, tried)
        program = in_banks(lower(graph, schedule), bank_bytes)
        if program is not None:
            check_banks(program, bank_bytes)
            return schedule, program
    raise NoBanksError(
        f"none of {tried:,} schedules finds addresses in {memory.capacity_bytes // bank_bytes} "
        f"banks of {bank_bytes:,} bytes with maps, weights and results apart; raise "
        "local_memory.capacity, or give fewer banks"
    )


def check_alone(frames: int, objective: str, exact: bool) -> None:
    """Raise InputError for what does not go with banks."""
    asked = [
        *([f"--frames {frames}"] if frames > 1 else []),
        *([f"--objective {objective}"] if objective != "dram" else []),
        *(["--exact"] if exact else []),
    ]
    if asked:
        raise InputError(
            "local_memory.banks goes with one frame, --objective dram and no --exact; "
            f"leave out {', '.join(asked)}, or give one bank"
        )
