"""What work on chip costs: a MAC, a bit in or out of local memory, being switched on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from dataflow_sim.errors import InputError
from dataflow_sim.hardware.compute import Strict, pair_of, table_of_widths
from dataflow_sim.hardware.quantities import PjPerBit, PjPerMac, Watt, end_of, figure
from dataflow_sim.hardware.tables import ENERGY_TABLES
from dataflow_sim.units import parse_pj_per_mac


class EnergyConfig(Strict):
    """Energies on chip: of a MAC, of local memory, of being on."""

    table: str | None = Field(
        None,
        description="energies of a technology, which those not stated follow from by their widths "
        f"and by the size of local memory: {', '.join(ENERGY_TABLES)}",
    )
    mac: Annotated[dict[str, float] | None, table_of_widths("string", "energy")] = Field(
        None,
        validate_default=True,
        description="energy of a MAC: one figure (at 8x8), or a table {8x8: 1pJ, 16x16: 3pJ}; "
        "other widths scale with weight bits x activation bits from 8x8.  Required without "
        "`table`",
    )
    local_pj_per_bit: PjPerBit | None = Field(
        None, alias="local", description="energy of a bit in or out of local memory"
    )
    local_read_pj_per_bit: PjPerBit | None = Field(
        None, alias="local_read", description="energy of a bit read there; left out, `local`"
    )
    local_write_pj_per_bit: PjPerBit | None = Field(
        None, alias="local_write", description="energy of a bit written there; left out, `local`"
    )
    idle_pj_per_mac: PjPerMac = Field(
        0.0,
        alias="idle_mac",
        description="energy of a lane of the array in a cycle in which it multiplies nothing: "
        "clocks that are not gated",
    )
    static_watt: Watt = Field(
        0.0, alias="static_power", description="leakage and clocks, for as long as a run takes"
    )

    @field_validator("table")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None and value not in ENERGY_TABLES:
            raise ValueError(
                f"'{value}' is no table of energies; one of {', '.join(ENERGY_TABLES)}"
            )
        return value

    @field_validator("mac", mode="before")
    @classmethod
    def _table(cls, value: object, info: ValidationInfo) -> dict[str, float] | None:
        if value is None:
            if info.data.get("table") is None:
                raise ValueError("required key is missing; give it, or energy.table")
            return None
        entries = value if isinstance(value, Mapping) else {"8x8": value}
        found: dict[str, float] = {}
        for key, text in entries.items():
            pair_of(key)
            try:
                found[str(key)] = figure(parse_pj_per_mac, text, end_of(info), less_is_better=True)
            except InputError as error:
                raise ValueError(str(error)) from None
        if "8x8" not in found:
            raise ValueError("the table needs a figure for 8x8, which others are scaled from")
        return found
