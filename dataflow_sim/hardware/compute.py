"""The compute array of a machine: how many MACs a cycle, of which widths, on which layers."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from dataflow_sim.hardware.quantities import (
    Bits,
    Bytes,
    Count,
    Hertz,
    Part,
    Switch,
    is_range,
)

_WIDTHS = frozenset(str(bits) for bits in range(1, 65))
_MOST_MACS = 1 << 40
_PAIR = "^([1-9]|[1-5][0-9]|6[0-4])x([1-9]|[1-5][0-9]|6[0-4])$"


class Strict(BaseModel):
    """Frozen, every key known, keys as the file writes them."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_alias=True)


def pair_of(key: object) -> tuple[int, int]:
    """The widths that a key `WEIGHTSxACTIVATIONS` names.  Raises ValueError for another."""
    widths = str(key).split("x")
    if len(widths) != 2 or not all(width in _WIDTHS for width in widths):
        raise ValueError(f"{key!r} is not a pair of widths such as 8x8")
    return int(widths[0]), int(widths[1])


def table_of_widths(value: str, what: str) -> WithJsonSchema:
    """The JSON Schema of one figure, or one for each pair of widths."""
    return WithJsonSchema(
        {
            "description": f"one {what}, or one for each pair of widths WEIGHTSxACTIVATIONS",
            "anyOf": [
                {"type": value},
                {"type": "object", "patternProperties": {_PAIR: {"type": value}}},
            ],
        }
    )


class ArrayConfig(Strict):
    """How many channels and pixels the array takes side by side.

    A convolution whose channels do not fill the array leaves lanes idle: of n along an axis of u
    lanes n / (u ceil(n / u)) work.
    """

    input_channels: Count = Field(
        1, description="input channels of a group that are reduced at a time"
    )
    output_channels: Count = Field(1, description="output channels of a group made at a time")
    pixels: Count = Field(1, description="pixels of the output made at a time")
    kernel_rows: Count = Field(
        1,
        description="rows of a kernel at a time, as in a row-stationary array; fewer lie there as "
        "often as they go, for other channels",
    )
    output_rows: Count = Field(
        1, description="rows of the output made at a time; fewer as often as they go, likewise"
    )
    depthwise_channels: Count | None = Field(
        None,
        description="channels of a depthwise layer taken at a time, where the array has a way to "
        "run them other than as groups of one channel; no more than it has lanes",
    )

    @property
    def lanes(self) -> int:
        """MACs of one pass."""
        plane = self.pixels * self.kernel_rows * self.output_rows
        return self.input_channels * self.output_channels * plane

    @field_validator("depthwise_channels")
    @classmethod
    def _lanes(cls, value: int | None, info: ValidationInfo) -> int | None:
        lanes = info.data.get("input_channels", 1) * info.data.get("output_channels", 1)
        if value is not None and value > lanes:
            raise ValueError(
                f"{value} channels are more than the {lanes} lanes of input_channels x "
                "output_channels; give fewer, or more of these"
            )
        return value


class VectorConfig(Strict):
    """What works on elements beside the array: additions of shortcuts, pooling, softmax."""

    operations_per_cycle: Count = Field(description="operations on elements a cycle")
    special_per_cycle: Count | None = Field(
        None,
        description="exponentials, sigmoids and their like a cycle; left out, as any operation",
    )


class UtilisationConfig(Strict):
    """What part of the MACs work besides, by kind of layer: scheduling, memory ports, drain."""

    convolution: Part = Field(1.0, description="dense and grouped convolutions")
    depthwise: Part = Field(1.0, description="convolutions of one channel a group")
    fully_connected: Part = Field(1.0, description="products of a matrix and one vector a batch")
    streamed: Part = Field(1.0, description="products of two maps, attention, recurrent layers")


class WinogradConfig(Strict):
    """Winograd's convolution F(m x m, 3 x 3), on dense 3 x 3 layers of stride 1.

    A tile of m x m results takes (m + 2)^2 multiplications of each input channel in place of 9 m^2.
    """

    tile: Literal[2, 4] = Field(2, description="m: results along each side of a tile")
    weights: Literal["offline", "on_chip"] = Field(
        "on_chip",
        description="who transforms kernels: beforehand (`offline`; DRAM and local memory hold "
        "(m + 2)^2 / 9 as many), or the array (`on_chip`)",
    )


class ZeroSkippingConfig(Strict):
    """Which multiplications by zero take neither time nor energy."""

    weights: Switch = Field(False, description="those of zero weights")
    activations: Switch = Field(False, description="those of zero activations")


class ComputeConfig(Strict):
    """The array: multiply-accumulates per cycle at full use, its clock, its sums' width."""

    macs_per_cycle: Annotated[
        int | dict[str, int], table_of_widths("integer", "number of MACs a cycle")
    ] = Field(
        description="MACs a cycle at full use: of all widths, or a table {8x8: 256, 16x8: 128}. "
        "Wider operands than listed are made of several narrower ones",
    )
    clock_hertz: Hertz = Field(alias="clock", gt=0, description="clock of the array")
    accumulator_bits: Bits = Field(32, description="width of a partial sum")
    accumulator_memory_bytes: Annotated[Bytes, Field(ge=1)] | None = Field(
        None,
        alias="accumulator_memory",
        description="memory that partial sums have to themselves between the steps of a split "
        "reduction; without it they lie in local memory",
    )
    array: ArrayConfig | None = Field(
        None, description="shape of the array; left out, every layer fills it"
    )
    utilisation: UtilisationConfig = Field(
        UtilisationConfig(), description="part of the MACs that work, by kind of layer"
    )
    vector: VectorConfig | None = Field(
        None,
        description="unit for elementwise work, pooling and softmax, beside the array; left out, "
        "these never limit",
    )
    winograd: WinogradConfig | None = Field(
        None, description="Winograd's convolution; left out, none is made that way"
    )
    zero_skipping: ZeroSkippingConfig = Field(
        ZeroSkippingConfig(), description="multiplications by zero that are left out"
    )

    @field_validator("macs_per_cycle", mode="before")
    @classmethod
    def _rates(cls, value: object) -> int | dict[str, int]:
        if not isinstance(value, Mapping):
            return _rate(value)
        if not value:
            raise ValueError("the table is empty; give MACs a cycle for 8x8")
        for key in value:
            pair_of(key)
        return {str(key): _rate(each) for key, each in value.items()}

    @property
    def fastest_macs_per_cycle(self) -> int:
        """MACs a cycle at full use of the widths that the machine is fastest at."""
        rates = self.macs_per_cycle
        return rates if isinstance(rates, int) else max(rates.values())

    def macs_per_cycle_of(self, weight_bits: int, activation_bits: int) -> Fraction:
        """MACs a cycle at full use of operands of these widths.

        Of widths that are not listed the best way to make them of listed ones: an operand of n
        bits takes ceil(n / listed) passes.
        """
        rates = self.macs_per_cycle
        if isinstance(rates, int):
            return Fraction(rates)
        found = []
        for key, rate in rates.items():
            weights, activations = pair_of(key)
            passes = -(-weight_bits // weights) * -(-activation_bits // activations)
            found.append(Fraction(rate, passes))
        return max(found)


def _rate(value: object) -> int:
    if is_range(value):
        raise ValueError("a number of MACs a cycle is no range; give one figure")
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("Input should be a valid integer")
    if value < 1:
        raise ValueError("Input should be greater than or equal to 1")
    if value > _MOST_MACS:
        raise ValueError(f"Input should be less than or equal to {_MOST_MACS:,}")
    return value
