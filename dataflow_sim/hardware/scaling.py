"""Machines like another one, with more or less of one thing: for asking what buys most."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction

from dataflow_sim.hardware.compute import ArrayConfig, ComputeConfig
from dataflow_sim.hardware.machine import Hardware, HardwareFile


def _bandwidth(machine: HardwareFile, factor: Fraction) -> dict[str, object]:
    rate = machine.dram.channel_bytes_per_second * float(factor)
    changed: dict[str, object] = {
        "dram": machine.dram.model_copy(update={"channel_bytes_per_second": rate})
    }
    if machine.flash is not None:
        rate = machine.flash.bandwidth_bytes_per_second * float(factor)
        flash = machine.flash.model_copy(update={"bandwidth_bytes_per_second": rate})
        changed["flash"] = flash
    return changed


def _memory(machine: HardwareFile, factor: Fraction) -> dict[str, object]:
    memory = machine.local_memory
    capacity = int(memory.capacity_bytes * factor) // memory.banks * memory.banks
    changed = memory.model_copy(update={"capacity_bytes": max(capacity, memory.banks)})
    return {"local_memory": changed}


def _clock(machine: HardwareFile, factor: Fraction) -> dict[str, object]:
    clock = machine.compute.clock_hertz * float(factor)
    return {"compute": machine.compute.model_copy(update={"clock_hertz": clock})}


def _wider(array: ArrayConfig, factor: Fraction) -> ArrayConfig:
    """The array with so many times the lanes along the first axis that has them to give."""
    for axis in ("output_channels", "input_channels", "pixels", "output_rows", "kernel_rows"):
        lanes = getattr(array, axis) * factor
        if getattr(array, axis) > 1 and lanes.denominator == 1:
            changed = {axis: int(lanes)}
            if array.depthwise_channels is not None:
                changed["depthwise_channels"] = max(1, int(array.depthwise_channels * factor))
            return array.model_copy(update=changed)
    return array


def _macs(machine: HardwareFile, factor: Fraction) -> dict[str, object]:
    compute: ComputeConfig = machine.compute
    rates = compute.macs_per_cycle
    if isinstance(rates, int):
        changed: dict[str, object] = {"macs_per_cycle": max(1, int(rates * factor))}
    else:
        table = {key: max(1, int(rate * factor)) for key, rate in rates.items()}
        changed = {"macs_per_cycle": table}
    if compute.array is not None:
        changed["array"] = _wider(compute.array, factor)
    return {"compute": compute.model_copy(update=changed)}


# what there may be more or less of, and which of it changes the schedules there are
RESOURCES: Mapping[str, Callable[[HardwareFile, Fraction], dict[str, object]]] = {
    "bandwidth": _bandwidth,
    "memory": _memory,
    "MACs": _macs,
    "clock": _clock,
}


def scaled(hardware: Hardware, resource: str, factor: Fraction) -> Hardware:
    """The machine with so many times of a resource: DRAM (and flash) `bandwidth`, local `memory`,
    `MACs` a cycle, or the array's `clock`; figures that are ranges stand at their nominal value."""
    changed = RESOURCES[resource](hardware, factor)
    return hardware.model_copy(update={**changed, "better": None, "worse": None})
