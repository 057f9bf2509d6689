"""Which compressed formats a machine knows, and where their elements become plain again.

What a format is worth depends on that alone:

    none       the machine stores elements plain: nothing is gained
    dma        they are packed in DRAM only: fetches shrink
    array      they stay packed in local memory too, which leaves it room for other things
    computed   besides, the array computes on them as they are: narrow operands at their own width

Widths below the machine's own (`precision`) are a format like any other, `low_bits`.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from dataflow_sim.hardware.compute import Strict


class Support(StrEnum):
    """Where the elements of a compressed format become plain."""

    NONE = "none"
    DMA = "dma"
    ARRAY = "array"
    COMPUTED = "computed"


class WeightFormats(Strict):
    """Compressed formats of kernels."""

    low_bits: Support = Field(Support.COMPUTED, description="fewer bits than `precision.weights`")
    bitmap: Support = Field(Support.NONE, description="a bit for each weight, and those not zero")
    run_length: Support = Field(
        Support.NONE, description="those not zero, each behind a count of the zeros before it"
    )
    csr: Support = Field(
        Support.NONE, description="those not zero with their columns, and where each row begins"
    )
    n_of_m: Support = Field(
        Support.NONE, description="N of every M weights, each with its place among the M"
    )
    structured: Support = Field(
        Support.NONE, description="those not zero, at places that a pattern fixes beforehand"
    )
    codebook: Support = Field(
        Support.NONE, description="for each weight a number in a table of shared values"
    )
    entropy: Support = Field(Support.NONE, description="a Huffman code for each weight")
    packed: Support = Field(
        Support.NONE, description="any other code, of which only the ratio is known"
    )
    ideal: Support = Field(
        Support.NONE, description="those not zero, at no cost for their places: a bound"
    )


class MapFormats(Strict):
    """Compressed formats of feature maps."""

    low_bits: Support = Field(
        Support.COMPUTED, description="fewer bits than `precision.activations`"
    )
    bitmap: Support = Field(Support.NONE, description="a bit for each element, and those not zero")
    run_length: Support = Field(
        Support.NONE, description="those not zero, each behind a count of the zeros before it"
    )
    packed: Support = Field(
        Support.NONE, description="any other code, of which only the ratio is known"
    )


class FormatsConfig(Strict):
    """Formats of kernels and of feature maps."""

    weights: WeightFormats = Field(WeightFormats(), description="formats of kernels")
    maps: MapFormats = Field(MapFormats(), description="formats of feature maps")
