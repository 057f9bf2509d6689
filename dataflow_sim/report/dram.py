"""What DRAM delivers as tables, CSV rows, and request traces for other simulators."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dataflow_sim.report.tables import Table
from dataflow_sim.results_of_dram import (
    CommandEnergy,
    DramResult,
    PartDelivery,
    RequestStream,
    StreamResult,
)
from dataflow_sim.units import format_bytes

TRACE_FORMATS = ("dramsim3", "ramulator2")


def _energies(energy: CommandEnergy) -> list[tuple[str, float]]:
    return [
        ("rows opened", energy.activate_pj),
        ("reads", energy.read_pj),
        ("writes", energy.write_pj),
        ("refresh", energy.refresh_pj),
        ("standing by", energy.background_pj),
    ]


def difference(found: PartDelivery) -> str:
    """Why energy by commands is not the flat one, in a sentence."""
    flat = found.pj_per_bit(found.flat_pj)
    own = found.pj_per_bit(found.energy.total_pj)
    data = found.pj_per_bit(found.energy.read_pj + found.energy.write_pj)
    rows = found.pj_per_bit(found.energy.activate_pj)
    waits = found.pj_per_bit(found.energy.refresh_pj + found.energy.background_pj)
    told = (
        f"{own:.2f} pJ/bit by commands: {data:.2f} for data, {rows:.2f} for rows, {waits:.2f} for "
        f"refresh and standing by over the latency; {flat:.2f} flat"
    )
    if own < flat:
        return f"{told}, which counts controller and interface, too"
    return f"{told}, which knows neither the rows opened nor the time"


def dram_table(found: DramResult) -> Table:
    """What the part makes of the transfers, in a dozen lines; the layout alone where there is no
    part."""
    runs = sum(each.runs for each in found.tensors)
    moved = sum(each.moved_bytes for each in found.tensors)
    rows = [("maps lie", found.layout)]
    if runs:
        rows.append(("moved in one go, on average", format_bytes(round(moved / runs))))
    part = found.delivery
    if part is not None:
        rows += [
            ("part", f"{part.part}, {part.channels:,} channels, {part.model}"),
            ("reaches while busy", f"{part.efficiency:.1%} of its pins"),
            ("accesses", f"{part.accesses:,} of {part.access_bytes} B, {part.row_hits:.1%} hits"),
            ("turns between reads and writes", f"{part.turns:,}"),
            *((f"energy, {name}", f"{pj / 1e6:,.3f} uJ") for name, pj in _energies(part.energy)),
            ("energy by commands", f"{part.energy.total_pj / 1e6:,.3f} uJ"),
            ("energy of DRAM's bits above", f"{part.flat_pj / 1e6:,.3f} uJ"),
            ("the difference", difference(part)),
        ]
    return Table("What DRAM delivers", ("", ""), tuple(rows))


def place_frame(found: DramResult) -> pd.DataFrame:
    """Where every tensor lies, and what its transfers came to; one row each, by address."""
    return pd.DataFrame(
        [
            {
                "tensor": each.tensor,
                "layout": each.layout,
                "start_byte": each.start_byte,
                "size_bytes": each.size_bytes,
                "transfers": each.transfers,
                "runs": each.runs,
                "own_bytes": each.own_bytes,
                "moved_bytes": each.moved_bytes,
                "mean_run_bytes": each.mean_run_bytes,
            }
            for each in found.tensors
        ]
    )


def stream_table(found: Sequence[StreamResult]) -> Table:
    """What a part makes of streams, one column each."""
    rows = [
        ("requests", *(f"{each.requests:,}" for each in found)),
        ("of which write", *(f"{each.writes:,}" for each in found)),
        ("clocks", *(f"{each.clocks:,}" for each in found)),
        ("time", *(f"{each.seconds * 1e6:,.3f} us" for each in found)),
        ("rate", *(f"{each.bytes_per_second / 1e9:,.3f} GB/s" for each in found)),
        ("of the channel's pins", *(f"{each.utilisation:.1%}" for each in found)),
        ("rows opened", *(f"{each.activates:,}" for each in found)),
        ("row hits", *(f"{each.row_hits:.1%}" for each in found)),
        ("turns between reads and writes", *(f"{each.turns:,}" for each in found)),
    ]
    for index, (name, _) in enumerate(_energies(found[0].energy)):
        values = (_energies(each.energy)[index][1] for each in found)
        rows.append((f"energy, {name}", *(f"{value / 1e6:,.3f} uJ" for value in values)))
    rows.append(("energy of a bit", *(f"{each.pj_per_bit:,.2f} pJ" for each in found)))
    title = f"One channel of {found[0].part}, {found[0].model}"
    return Table(title, ("", *(each.name for each in found)), tuple(rows))


def stream_text(stream: RequestStream, trace_format: str) -> str:
    """A stream as another simulator reads it."""
    requests = zip(stream.addresses, stream.writes, strict=True)
    if trace_format == "ramulator2":
        return "".join(f"{'ST' if write else 'LD'} 0x{each:X}\n" for each, write in requests)
    clocks = stream.clocks if stream.clocks is not None else [0] * len(stream.addresses)
    return "".join(
        f"0x{each:X} {'WRITE' if write else 'READ'} {clock}\n"
        for (each, write), clock in zip(requests, clocks, strict=True)
    )
