"""DRAM as a hardware file describes it: its peak and its cost, or the part that it is made of.

`model` says what becomes of the peak.  `peak` takes it, times a flat `efficiency`.  The others know
the part (`hardware.dram_parts`), where the tensors lie in it and how addresses are spread over it:
`banks` plays every access, `efficiency` is the closed form of that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from dataflow_sim.errors import InputError
from dataflow_sim.hardware.compute import Strict
from dataflow_sim.hardware.dram_parts import DRAM_PARTS, DramPart
from dataflow_sim.hardware.memory import power_of_two
from dataflow_sim.hardware.presets import DRAM_PRESETS, preset_named
from dataflow_sim.hardware.quantities import (
    Bytes,
    BytesPerSecond,
    Count,
    Part,
    PjPerBit,
    Watt,
)

_Layout = Literal["packed", "row-major", "channels-last", "channel-blocked", "tiles", "best"]
MAP_LAYOUTS = ("row-major", "channels-last", "channel-blocked", "tiles")
_MAXIMUM_QUEUE = 256
_PREFIX = "Value error, "


class DramConfig(Strict):
    """External memory: peak bandwidth and energy per bit, the same both ways unless stated."""

    preset: str | None = Field(
        None,
        description=f"a technology that stands for `bandwidth` and `energy`: "
        f"{', '.join(DRAM_PRESETS)}",
    )
    channel_bytes_per_second: BytesPerSecond = Field(
        alias="bandwidth", gt=0, description="peak of one channel"
    )
    channels: Count = Field(1, description="channels side by side, each of the peak")
    share: Part = Field(1.0, description="part of the bandwidth that other masters leave")
    efficiency: Part = Field(
        1.0,
        description="part of the bandwidth that transfers reach: bursts cut short, rows opened, "
        "turns between reads and writes, refresh; for `model: peak`, the others find it themselves",
    )
    model: Literal["peak", "efficiency", "banks"] = Field(
        "peak",
        description="what becomes of the peak: taken as it is, times `efficiency` (`peak`); or "
        "found from the part that `preset` names, by playing every access on its banks (`banks`), "
        "or by the closed form of that (`efficiency`)",
    )
    width_bits: Count | None = Field(
        None,
        alias="width",
        description="data pins of one interface, where they are not those of the preset: a "
        "multiple of its channels' width; give `bandwidth` beside it",
    )
    queue: Annotated[int, Field(ge=1, le=_MAXIMUM_QUEUE, strict=True)] = Field(
        64,
        description="accesses of a channel that its controller chooses from: whichever can go "
        "first, of these the oldest",
    )
    mapping: Literal["row-bank-column", "bank-row-column"] = Field(
        "row-bank-column",
        description="how addresses ascend, the slowest first: through all banks row by row, or "
        "through all rows of a bank; bank groups and channels alternate below",
    )
    interleave_bytes: Bytes = Field(
        256,
        alias="interleave",
        description="bytes beside each other that lie in one channel: a power of two, at least an "
        "access",
    )
    energy_pj_per_bit: PjPerBit = Field(alias="energy", description="energy of a bit either way")
    read_pj_per_bit: PjPerBit | None = Field(
        None, alias="energy_read", description="energy of a bit read; left out, `energy`"
    )
    write_pj_per_bit: PjPerBit | None = Field(
        None, alias="energy_write", description="energy of a bit written; left out, `energy`"
    )
    background_watt: Watt = Field(
        0.0,
        alias="background_power",
        description="power of one channel for as long as a run takes, whatever moves: standby and "
        "refresh",
    )
    burst_bytes: Bytes = Field(
        1,
        alias="burst",
        description="every transfer moves whole bursts of so many bytes: a power of two; the rest "
        "of the last one is `burst_padding`; under `model: banks` and `efficiency` at least an "
        "access of the part",
    )
    layout: _Layout | None = Field(
        None,
        description="where the elements of a map lie: as if every transfer were one piece, the "
        "least that it can move (`packed`); row by row of each channel (`row-major`); pixel by "
        "pixel (`channels-last`); row by row, pixels of blocks of channels (`channel-blocked`); "
        "tile by tile as they are stored (`tiles`); or whichever of these four costs least under "
        "the objective (`best`).  Left out, `packed` under `model: peak`, else `best`",
    )
    weights_layout: Literal["fetch-order", "row-major"] = Field(
        "fetch-order",
        description="where kernels and constants lie, unless all is `packed`: as they are fetched "
        "first, or as in the network file",
    )
    interface_layout: Literal["row-major", "channels-last"] = Field(
        "row-major",
        alias="interface",
        description="how the network's inputs and outputs lie, unless all is `packed`",
    )
    channel_block: Count = Field(16, description="channels of a block of `channel-blocked`")
    alignment_bytes: Bytes = Field(
        64,
        alias="alignment",
        description="what every tensor, tile and compressed block begins at a multiple of: a power "
        "of two",
    )
    pitch_bytes: Bytes = Field(
        1,
        alias="pitch",
        description="what every row of a map begins at a multiple of: a power of two",
    )
    index_bytes: Bytes = Field(
        4,
        alias="index",
        description="what tells of each block of a compressed tensor where it begins, read beside "
        "it, unless all is `packed`",
    )

    @field_validator("burst_bytes")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        return power_of_two(value, "burst", 4096)

    @field_validator("alignment_bytes", "pitch_bytes")
    @classmethod
    def _aligned(cls, value: int) -> int:
        return power_of_two(value, "alignment", 1 << 16)

    @field_validator("interleave_bytes")
    @classmethod
    def _interleaved(cls, value: int) -> int:
        return power_of_two(value, "interleave", 1 << 16)

    @model_validator(mode="after")
    def _of_a_part(self) -> Self:
        """What needs the part is asked of one, and fits it."""
        problems = list(self._problems())
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _problems(self) -> Iterator[str]:
        part = self.named_part
        if self.model == "peak":
            if self.width_bits is not None:
                yield "width: a part's; set dram.model to banks or efficiency, too"
            return
        if self.efficiency != 1:
            yield f"efficiency: model {self.model} finds it; leave one of them out"
        if part is None:
            said = "there is no preset"
            if self.preset is not None:
                said = f"the times of {self.preset} are not known"
            yield f"model: {self.model}: {said}; give a preset of {', '.join(DRAM_PARTS)}"
            return
        if self.width_bits is not None and self.width_bits % part.width_bits:
            yield f"width: {self.width_bits} bits make no channels of {part.width_bits} each"
        if self.interleave_bytes < part.access_bytes:
            yield (
                f"interleave: {self.interleave_bytes} bytes are less than an access of "
                f"{part.access_bytes}"
            )

    @property
    def named_part(self) -> DramPart | None:
        """What the preset names, where its times are known."""
        return DRAM_PARTS.get(self.part_name)

    @property
    def part_name(self) -> str:
        """What the preset is called in full; nothing where there is none."""
        preset = None if self.preset is None else preset_named(self.preset)
        return "" if preset is None else preset.name

    @property
    def part(self) -> DramPart | None:
        """The part that the model plays; None under `peak`."""
        part = self.named_part
        if self.model == "peak" or part is None:
            return None
        if self.width_bits is None:
            return part
        return replace(part, channels=self.width_bits // part.width_bits)

    @property
    def map_layout(self) -> str:
        """Where maps lie, or `best` of MAP_LAYOUTS."""
        return self.layout or ("packed" if self.part is None else "best")

    @property
    def granule_bytes(self) -> int:
        """What DRAM moves at least: a burst, and whole accesses of its part."""
        part = self.part
        return self.burst_bytes if part is None else max(self.burst_bytes, part.access_bytes)

    @property
    def bandwidth_bytes_per_second(self) -> float:
        """Peak of all channels, less what other masters take and what transfers do not reach."""
        return self.peak_bytes_per_second * self.share * self.efficiency

    @property
    def peak_bytes_per_second(self) -> float:
        """What the pins of all channels can move."""
        return self.channel_bytes_per_second * self.channels

    @property
    def read_energy_pj_per_bit(self) -> float:
        """Energy of a bit read."""
        return self.energy_pj_per_bit if self.read_pj_per_bit is None else self.read_pj_per_bit

    @property
    def write_energy_pj_per_bit(self) -> float:
        """Energy of a bit written."""
        return self.energy_pj_per_bit if self.write_pj_per_bit is None else self.write_pj_per_bit


def dram_of(preset: str, **keys: object) -> DramConfig:
    """One interface of a preset, with keys of `dram` changed.

    Raises InputError for a preset whose times are not known, and for keys that do not fit.
    """
    known = preset_named(preset)
    if known is None or known.name not in DRAM_PARTS:
        raise InputError(
            f"--preset {preset}: no part whose times are known; one of {', '.join(DRAM_PARTS)}"
        )
    try:
        return DramConfig.model_validate({"preset": known.name, **known.keys(), **keys})
    except ValidationError as failure:
        told = [
            ": ".join(["dram", *map(str, each["loc"]), str(each["msg"]).removeprefix(_PREFIX)])
            for each in failure.errors()
        ]
        raise InputError("\n".join(told)) from None
