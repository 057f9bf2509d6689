"""One machine: its parts, what they cost, and where every figure is from."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from dataflow_sim.hardware.compute import ComputeConfig, Strict
from dataflow_sim.hardware.costs import EnergyConfig
from dataflow_sim.hardware.dram import DramConfig
from dataflow_sim.hardware.formats import FormatsConfig
from dataflow_sim.hardware.memory import (
    CommandStreamConfig,
    DmaConfig,
    FlashConfig,
    LocalMemoryConfig,
    SystemCacheConfig,
)
from dataflow_sim.hardware.quantities import Bits, Switch
from dataflow_sim.hardware.tables import ENERGY_TABLES


class PrecisionConfig(Strict):
    """Bits per element of tensors whose width the network file does not state itself."""

    weights: Bits = Field(8, description="bits of a weight; the width that the array is made for")
    activations: Bits = Field(8, description="bits of an element of a feature map; likewise")
    local_weights: Bits | None = Field(
        None,
        description="bits of a kernel's element in local memory, where the DMA unpacks it; left "
        "out, as in DRAM",
    )

    @field_validator("local_weights")
    @classmethod
    def _unpacked(cls, value: int | None, info: ValidationInfo) -> int | None:
        weights = info.data.get("weights", 1)
        if value is not None and value < weights:
            raise ValueError(
                f"{value} bits in local memory are less than the {weights} that weights have in "
                f"DRAM; give {weights} or more, or lower precision.weights"
            )
        return value


class HardwareFile(Strict):
    """One machine as its file describes it."""

    name: Annotated[str, Field(min_length=1)] = Field(description="what results call it")
    description: str = Field("", description="the machine in a line")
    precision: PrecisionConfig = Field(
        PrecisionConfig(), description="bits of what the network file leaves open"
    )
    count_biases: Switch = Field(
        True,
        description="biases and folded scale and shift are fetched, `accumulator_bits` each",
    )
    pooling: Literal["separate", "producer", "consumer"] = Field(
        "producer",
        description="who pools: the layer that makes a map (`producer`), all that read the pooled "
        "one (`consumer`), or a layer of its own (`separate`)",
    )
    compute: ComputeConfig = Field(description="the array")
    local_memory: LocalMemoryConfig = Field(description="on-chip memory that tiles live in")
    dram: DramConfig = Field(description="external memory")
    flash: FlashConfig | None = Field(
        None, description="where weights are fetched from; left out, from DRAM"
    )
    dma: DmaConfig = Field(DmaConfig(), description="what moves data to and from DRAM")
    command_stream: CommandStreamConfig = Field(
        CommandStreamConfig(), description="commands read from DRAM"
    )
    system_cache: SystemCacheConfig | None = Field(
        None, description="a second level between local memory and DRAM; left out, there is none"
    )
    formats: FormatsConfig = Field(
        FormatsConfig(), description="compressed formats, each `none`, `dma`, `array` or `computed`"
    )
    energy: EnergyConfig = Field(description="energies on chip")

    def mac_pj(self, weight_bits: int, activation_bits: int) -> float:
        """pJ of a MAC of these widths: as listed, else scaled from 8 x 8 bits, else the table's."""
        listed = self.energy.mac
        if listed is None:
            table = ENERGY_TABLES[self.energy.table or ""]
            return table.mac_pj(weight_bits, activation_bits, self.compute.accumulator_bits)
        own = listed.get(f"{weight_bits}x{activation_bits}")
        return listed["8x8"] * weight_bits * activation_bits / 64 if own is None else own

    @property
    def local_pj_per_bit(self) -> float:
        """pJ of a bit in or out of local memory where nothing else is stated."""
        if self.energy.local_pj_per_bit is not None:
            return self.energy.local_pj_per_bit
        if self.energy.table is None:
            return 0.0
        return ENERGY_TABLES[self.energy.table].sram_pj_per_bit(self.local_memory.capacity_bytes)

    @property
    def local_read_pj_per_bit(self) -> float:
        """pJ of a bit read from local memory."""
        stated = self.energy.local_read_pj_per_bit
        return self.local_pj_per_bit if stated is None else stated

    @property
    def local_write_pj_per_bit(self) -> float:
        """pJ of a bit written to local memory."""
        stated = self.energy.local_write_pj_per_bit
        return self.local_pj_per_bit if stated is None else stated


class Confidence(StrEnum):
    """How well a figure is known; the last two are of those that no file states."""

    PUBLISHED = "published"
    DERIVED = "derived"
    ASSUMED = "assumed"
    SET = "set"


class Figure(Strict):
    """A key of the file, its value as written, and where that is from."""

    key: str
    value: str
    confidence: Confidence
    source: str


class Hardware(HardwareFile):
    """One machine, ready to be used.

    `overrides` are the keys changed after reading, as (path, value) texts; `based_on` the files
    that it extends, the nearest first; `figures` every key that a file or an override states.
    Where figures are ranges, `better` and `worse` are the machine with all of them at their better
    and at their worse end; None where none is.
    """

    overrides: tuple[tuple[str, str], ...] = ()
    based_on: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    better: HardwareFile | None = None
    worse: HardwareFile | None = None

    def to_json(self) -> dict[str, object]:
        """The machine as plain data, every default filled in, in the units that keys name."""
        dram = {"bandwidth_bytes_per_second": self.dram.bandwidth_bytes_per_second}
        plain = self.model_dump(mode="json", exclude={"better", "worse"})
        return {**plain, "dram": {**plain["dram"], **dram}}
