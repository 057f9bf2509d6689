"""What `networks` shows: the catalogue, and one network, as plain data.  Reads results only."""

from __future__ import annotations

from collections.abc import Sequence

from dataflow_sim.report.tables import Table
from dataflow_sim.results_of_networks import Comparison, NetworkSummary

_VALUES = 2  # inputs that are named
_TITLE = (
    "Built-in networks; ops/weight byte = 2 x MACs / (weights + constants), one byte an element; "
    "live set: the largest, of whole maps, 8 bit"
)
_COLUMNS = (
    *("network", "@numbers", "task", "input", "parameters", "MACs", "ops/weight byte", "live set"),
)


def catalogue_table(networks: Sequence[NetworkSummary]) -> Table:
    """One row a network, at the defaults of its numbers."""
    rows = tuple(
        (
            each.name,
            "-".join(setting.name for setting in each.settings) or "-",
            each.task,
            _shapes(each.inputs, 1),
            _millions(each.parameters),
            _millions(each.macs),
            _ratio(each.operations_per_weight_byte),
            f"{each.live_peak_elements / 1e6:,.3f} MB",
        )
        for each in networks
    )
    return Table(_TITLE, _COLUMNS, rows)


def network_tables(network: NetworkSummary) -> tuple[Table, ...]:
    """A summary; the numbers of the name; what was published; what departs from the source."""
    tables = [_summary(network)]
    if network.settings:
        tables.append(_settings(network))
    if network.published:
        tables.append(_published(network.published))
    if network.deviations:
        lines = tuple((each,) for each in network.deviations)
        tables.append(Table("Deviations and conventions", ("",), lines))
    return tuple(tables)


def _summary(network: NetworkSummary) -> Table:
    rows = (
        ("what", network.description),
        ("task", network.task),
        ("source", network.source),
        ("input", _shapes(network.inputs)),
        ("output", _shapes(network.outputs)),
        ("layers", f"{network.layers:,}"),
        ("parameters", f"{network.parameters:,}"),
        ("MACs", f"{network.macs:,}"),
        ("operations per weight byte", _ratio(network.operations_per_weight_byte)),
        ("largest live set", f"{network.live_peak_elements:,} elements"),
    )
    return Table(network.name, ("", ""), rows)


def _settings(network: NetworkSummary) -> Table:
    rows = tuple(
        (each.name, f"{each.value:g}", f"{each.default:g}", each.limits, each.meaning)
        for each in network.settings
    )
    columns = ("number", "here", "default", "legal", "meaning")
    return Table(f"Numbers of the name: {network.pattern}", columns, rows)


def _published(comparisons: Sequence[Comparison]) -> Table:
    rows = tuple(
        (
            each.at or "default",
            each.what,
            f"{each.published:,}",
            f"{each.counted:,}",
            f"{100 * each.difference:+.2f} %",
            each.source,
            each.because or "-",
        )
        for each in comparisons
    )
    columns = ("at", "figure", "published", "here", "difference", "source", "because")
    return Table("Published figures", columns, rows)


def _shapes(values: Sequence[tuple[str, tuple[int, ...]]], most: int = _VALUES) -> str:
    shown = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in values[:most])
    further = len(values) - most
    return f"{shown} and {further:,} more" if further > 0 else shown or "-"


def _millions(count: int) -> str:
    return f"{count / 1e6:,.3f} M"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"
