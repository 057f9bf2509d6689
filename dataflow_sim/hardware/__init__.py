"""Hardware files: what a machine can hold, move and compute, and what that costs.

A hardware file is YAML.  Quantities carry their unit (`256KiB`, `6.4GB/s`, `10pJ/bit`) and are
converted here, once; `sources` tells of every figure where it is from and how well it is known.
Everything wrong with a file is reported at once, with file, line and key.
"""

from dataflow_sim.hardware.document import hardware_path
from dataflow_sim.hardware.dram import MAP_LAYOUTS, DramConfig, dram_of
from dataflow_sim.hardware.dram_parts import DRAM_PARTS, DramPart
from dataflow_sim.hardware.machine import Confidence, Figure, Hardware, HardwareFile
from dataflow_sim.hardware.memory import DoubleBufferConfig
from dataflow_sim.hardware.reading import DEFAULT_HARDWARE, load_hardware
from dataflow_sim.hardware.scaling import RESOURCES, scaled

__all__ = [
    "DEFAULT_HARDWARE",
    "DRAM_PARTS",
    "MAP_LAYOUTS",
    "RESOURCES",
    "Confidence",
    "DoubleBufferConfig",
    "DramConfig",
    "DramPart",
    "Figure",
    "Hardware",
    "HardwareFile",
    "dram_of",
    "hardware_path",
    "load_hardware",
    "scaled",
]
