"""The memories of a machine, what moves data between them, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator

from dataflow_sim.hardware.compute import Strict
from dataflow_sim.hardware.quantities import (
    Bytes,
    BytesPerSecond,
    Count,
    PjPerBit,
    Seconds,
    Switch,
)

_MAXIMUM_ALIGNMENT = 1 << 16
_MAXIMUM_BANKS = 1024


class DoubleBufferConfig(Strict):
    """Whose streamed tiles have two buffers; a single switch stands for all four."""

    inputs: Switch = Field(True, description="feature maps that are read")
    weights: Switch = Field(True, description="kernels and constants")
    outputs: Switch = Field(True, description="results")
    partial_sums: Switch = Field(True, description="unfinished sums")


def switches(value: object) -> object:
    """A switch for all as one for each.  Raises ValueError for what is neither."""
    if isinstance(value, bool):
        return dict.fromkeys(DoubleBufferConfig.model_fields, value)
    if not isinstance(value, Mapping | DoubleBufferConfig):
        names = ", ".join(DoubleBufferConfig.model_fields)
        raise ValueError(f"true or false, or a switch each for {names}")
    return value


_SWITCHES_SCHEMA = WithJsonSchema(
    {
        "anyOf": [
            {"type": "boolean"},
            {
                "type": "object",
                "properties": {
                    name: {"type": "boolean"} for name in DoubleBufferConfig.model_fields
                },
                "additionalProperties": False,
            },
        ]
    }
)


def power_of_two(value_bytes: int, what: str, most_bytes: int) -> int:
    """The value, once found to be a power of two.  Raises ValueError."""
    if not 1 <= value_bytes <= most_bytes or value_bytes & (value_bytes - 1):
        raise ValueError(
            f"{value_bytes} bytes are no {what}; give a power of two from 1B (none) to "
            f"{most_bytes // 1024}KiB"
        )
    return value_bytes


class LocalMemoryConfig(Strict):
    """On-chip memory that tiles live in."""

    capacity_bytes: Bytes = Field(alias="capacity", ge=1, description="its size, the budget S")
    double_buffer: Annotated[DoubleBufferConfig, BeforeValidator(switches), _SWITCHES_SCHEMA] = (
        Field(
            DoubleBufferConfig(),
            description="a second buffer for every streamed tile; or a switch each for `inputs`, "
            "`weights`, `outputs`, `partial_sums`",
        )
    )
    alignment_bytes: Bytes = Field(
        1,
        alias="alignment",
        description="every buffer begins at a multiple of it and takes a multiple of it: a power "
        "of two up to 64KiB",
    )
    banks: Annotated[int, Field(ge=1, le=_MAXIMUM_BANKS, strict=True)] = Field(
        1,
        description="banks of equal size; of several, what a step reads as maps, reads as "
        "weights, and writes lies in banks apart",
    )
    channel_rounding: Count = Field(
        1,
        description="channels of a feature map between layers are stored in whole blocks of so "
        "many, in DRAM as in local memory; 16 is NHWC16",
    )
    bandwidth_bytes_per_second: Annotated[BytesPerSecond, Field(gt=0)] | None = Field(
        None,
        alias="bandwidth",
        description="what passes in and out of it in a second; left out, it never limits",
    )

    @field_validator("banks")
    @classmethod
    def _equal(cls, value: int, info: ValidationInfo) -> int:
        capacity = info.data.get("capacity_bytes")
        if capacity is not None and capacity % value:
            raise ValueError(
                f"{capacity} bytes make no {value} banks of equal size; give a capacity that "
                f"{value} divides, such as {capacity // value * value or value}B, or other banks"
            )
        return value

    @property
    def bank_bytes(self) -> int | None:
        """The size of a bank, None where there is one only."""
        return self.capacity_bytes // self.banks if self.banks > 1 else None

    @field_validator("alignment_bytes")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        return power_of_two(value, "alignment", _MAXIMUM_ALIGNMENT)


class FlashConfig(Strict):
    """A memory of its own that weights are fetched from, such as the flash of a microcontroller.

    It takes no feature maps: these, inputs and outputs stay with DRAM.
    """

    bandwidth_bytes_per_second: BytesPerSecond = Field(
        alias="bandwidth", gt=0, description="peak of its interface"
    )
    energy_pj_per_bit: PjPerBit = Field(alias="energy", description="energy of a bit read")


class DmaConfig(Strict):
    """What moves data between DRAM and local memory."""

    channels: Count = Field(1, description="transfers that are set up side by side")
    setup_s: Seconds = Field(
        0.0, alias="setup", description="time to set up one transfer, in which none of it moves"
    )


class CommandStreamConfig(Strict):
    """Commands that the machine reads from DRAM beside its data."""

    per_layer_bytes: Bytes = Field(0, alias="per_layer", description="bytes for every layer")
    per_step_bytes: Bytes = Field(
        0, alias="per_step", description="bytes for every compute step of a layer"
    )


class SystemCacheConfig(Strict):
    """A second level between local memory and DRAM, such as a cache that a whole chip shares.

    Feature maps that are written and read again, and weights that are fetched again, stay in it
    for as long as they are needed, where they fit; which, `simulate.system_cache` says.
    """

    capacity_bytes: Bytes = Field(alias="capacity", ge=1, description="its size")
    energy_pj_per_bit: PjPerBit = Field(
        0.0, alias="energy", description="energy of a bit in or out of it"
    )
    bandwidth_bytes_per_second: Annotated[BytesPerSecond, Field(gt=0)] | None = Field(
        None,
        alias="bandwidth",
        description="what passes in and out of it in a second; left out, it never limits",
    )
