"""What a step reads and writes, running sums and partial sums among them, for who times it.

Sums are read by all steps but the first of their reduction, and written by all but the last, which
writes the result instead.
"""

from __future__ import annotations

from dataflow_sim.program.instructions import Compute, Slice, Stream


def reads_of(step: Compute | Stream) -> tuple[Slice, ...]:
    """All that a step reads."""
    return step.reads if step.sums is None or step.first else (*step.reads, step.sums)


def writes_of(step: Compute | Stream) -> tuple[Slice, ...]:
    """All that a step writes."""
    if isinstance(step, Stream):
        made = step.writes
    else:
        made = (step.result, *step.more) if step.last else ()
    return made if step.sums is None or step.last else (*made, step.sums)
