"""What the reader knows of every operator, as plain rows."""

from __future__ import annotations

from dataclasses import dataclass

from dataflow_sim.ingest.contrib import DEFINITIONS
from dataflow_sim.ingest.operators import OPERATORS

OWN_DOMAIN = "dataflow_sim::"

# MACs, what is read, and how it merges, of an operator that others define
_BY_DEFINITION = ("by definition",) * 3

# operators that never reach the registry: what becomes of them
BEFORE = {
    **dict.fromkeys(("Constant", "ConstantOfShape", "Shape", "Size", "Range"), "folded away"),
    **dict.fromkeys(("If", "Loop", "Scan"), "bodies entered"),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul"), "as without quantisation"),
}


@dataclass(frozen=True, slots=True)
class CatalogueRow:
    """One operator: what becomes of a node, its MACs, what it reads, how it merges."""

    operator: str
    becomes: str
    macs: str
    reads: str
    merges: str
    in_place: bool


def catalogue() -> tuple[CatalogueRow, ...]:
    """All operators that are understood, in the order of their names.

    Operators that passes make of several nodes stand under the name of what they are.
    """
    rows = [
        CatalogueRow(
            operator=row.name.removeprefix(OWN_DOMAIN),
            becomes=row.becomes,
            macs=row.macs.formula,
            reads=row.reads,
            merges=row.merges.value,
            in_place=row.in_place,
        )
        for row in OPERATORS.values()
        if row.name.removeprefix(OWN_DOMAIN) == row.name
        or row.name.removeprefix(OWN_DOMAIN) not in OPERATORS
    ]
    rows += [
        CatalogueRow(name, becomes, "0", "nothing", "no layer", False)
        for name, becomes in BEFORE.items()
    ]
    rows += [
        CatalogueRow(f"{domain}::{op}", "standard operators", *_BY_DEFINITION, False)
        for domain, op in DEFINITIONS
        if domain
    ]
    return tuple(sorted(rows, key=lambda row: row.operator))
