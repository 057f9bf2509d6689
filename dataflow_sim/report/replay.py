"""What `replay` shows, as plain data.  Reads results only."""

from __future__ import annotations

from dataflow_sim.report.tables import Table
from dataflow_sim.results_of_replay import Execution, ReplayResult
from dataflow_sim.units import format_bytes, format_capacity

_LAYERS = 4  # that are named


def replay_tables(result: ReplayResult) -> tuple[Table, ...]:
    """What was replayed, and a table for each execution."""
    rows = (
        ("network", result.network),
        ("hardware", result.hardware),
        ("policy", result.policy),
        ("weights", result.weights),
        ("inputs", f"drawn from seed {result.seed}"),
        ("result", "passed" if result.passed else "FAILED"),
    )
    return (Table("Replay", ("", ""), rows), *(_execution(each) for each in result.executions))


def _execution(found: Execution) -> Table:
    if found.left_out:
        return Table(found.numbers, ("", ""), (("not replayed", found.left_out),))
    rows = [
        ("bits of weights", ", ".join(map(str, found.weight_bits)) or "-"),
        ("bits of maps", ", ".join(map(str, found.activation_bits))),
        ("local memory", format_capacity(found.capacity_bytes)),
        ("allocated peak", format_bytes(found.peak_bytes)),
        ("instructions", _of(found.executed, found.instructions)),
        ("DRAM traffic, replay", format_bytes(-(-found.moved_bits // 8))),
        ("DRAM traffic, ledger", format_bytes(-(-found.ledger_bits // 8))),
    ]
    if found.against:
        rows += [
            ("compared with", found.against),
            ("elements compared", f"{found.elements:,}"),
            ("elements that differ", f"{found.different:,}"),
        ]
    if found.tolerance:
        rows.append(("largest difference", f"{found.largest_difference:.1e} of the largest value"))
        rows.append(("tolerance", f"{found.tolerance:.0e}"))
    if found.whole_layers:
        rows.append(("not tile by tile", _named(found.whole_layers)))
    if found.fault:
        rows.append(("fault", found.fault))
    elif not found.complete:
        rows.append(("stopped", "no fault so far; the rest is not proved"))
    return Table(found.numbers, ("", ""), tuple(rows))


def _of(done: int, total: int) -> str:
    return f"{done:,}" if done == total else f"{done:,} of {total:,}, {done / total:.1%}"


def _named(layers: tuple[str, ...]) -> str:
    more = f" and {len(layers) - _LAYERS:,} more" if len(layers) > _LAYERS else ""
    return ", ".join(layers[:_LAYERS]) + more
