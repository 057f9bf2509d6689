"""DRAM technologies: what `dram.preset` stands for.

The bandwidth is the peak of one interface of the stated width; energies are of all that the source
counts, without the controller where it does not say so.  Background power is not apart in these
figures, which are of well used memories; a machine that idles states `dram.background_power`.

Source: the table of DRAM technologies that the figures were gathered in, each with its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DramPreset:
    """One technology: the width of its interface, its peak and its energy as a file writes them."""

    name: str
    interface: str
    bandwidth: str
    energy: str
    bandwidth_source: str
    energy_source: str

    def keys(self) -> dict[str, str]:
        """The keys of `dram` that the preset stands for."""
        return {"bandwidth": self.bandwidth, "energy": self.energy}

    def sources(self) -> dict[str, str]:
        """Where each of them is from."""
        return {"bandwidth": self.bandwidth_source, "energy": self.energy_source}


def _peak(bits: int, rate: int, standard: str) -> tuple[str, str]:
    """Peak of so many bits at so many million transfers a second, and the words for it."""
    peak = f"{bits * rate / 8000:g}GB/s"
    return peak, f"published: {bits} bit x {rate} MT/s ({standard})"


def _preset(
    name: str, interface: str, bits: int, rate: int, standard: str, energy: str, energy_source: str
) -> DramPreset:
    peak, source = _peak(bits, rate, standard)
    return DramPreset(name, interface, peak, energy, source, energy_source)


_ISCA = "Jouppi et al., ISCA 2021"

DRAM_PRESETS: Mapping[str, DramPreset] = {
    preset.name: preset
    for preset in (
        _preset(
            *("lpddr4-3200", "x32", 32, 3200, "JEDEC JESD209-4", "8..11.8pJ/bit"),
            "published: 8, Accelergy's public data; 11.8, a DRAMsim3 run of LPDDR4-2400 at 91 %",
        ),
        _preset(
            *("lpddr4-2400", "x64", 64, 2400, "JEDEC JESD209-4", "11.8pJ/bit"),
            "published: a DRAMsim3 run at 91 %, reads in sequence",
        ),
        _preset(
            *("lpddr4x-4266", "x64", 64, 4266, "JEDEC JESD209-4-1", "9pJ/bit"),
            "derived: second-hand figure",
        ),
        _preset(
            *("lpddr5-6400", "x64", 64, 6400, "JEDEC JESD209-5", "7..20pJ/bit"),
            "derived: second-hand range",
        ),
        _preset(
            *("lpddr5x-8533", "x64", 64, 8533, "JEDEC JESD209-5B", "10pJ/bit"),
            "derived: second-hand figure",
        ),
        _preset(
            *("ddr4-3200", "x64", 64, 3200, "JEDEC JESD79-4", "20.3..40.6pJ/bit"),
            f"published: 1300 to 2600 pJ for 64 bit ({_ISCA}; Horowitz, ISSCC 2014)",
        ),
        _preset(
            *("ddr3-1600", "x64", 64, 1600, "JEDEC JESD79-3", "20.3..70pJ/bit"),
            f"published: {_ISCA}; 70, Chatterjee et al., MICRO 2017, by Accelergy",
        ),
        _preset(
            *("hbm2", "stack", 1024, 2400, "JEDEC JESD235", "3.9..7.03pJ/bit"),
            f"published: O'Connor et al., MICRO 2017; {_ISCA}",
        ),
        _preset(
            *("hbm3", "stack", 1024, 6400, "JEDEC JESD238", "3.44..4.05pJ/bit"),
            "derived: second-hand figure of a vendor",
        ),
        _preset(
            *("gddr5", "x32", 32, 8000, "JEDEC JESD212", "14pJ/bit"),
            "published: Accelergy's public data",
        ),
        _preset(
            *("gddr6", "x32", 32, 16000, "JEDEC JESD250", "5.5..7.5pJ/bit"),
            f"derived: {_ISCA}, second-hand",
        ),
    )
}

# the usual speed of a family, by the family's name
_FAMILIES: Mapping[str, str] = {
    "lpddr4": "lpddr4-3200",
    "lpddr4x": "lpddr4x-4266",
    "lpddr5": "lpddr5-6400",
    "lpddr5x": "lpddr5x-8533",
    "ddr4": "ddr4-3200",
    "ddr3": "ddr3-1600",
}


def preset_named(name: str) -> DramPreset | None:
    """The preset of a name, or of a family's; None where there is none."""
    return DRAM_PRESETS.get(_FAMILIES.get(name, name))
