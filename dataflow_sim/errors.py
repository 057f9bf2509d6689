"""Errors that reach the user, and the exit code each one ends the command with.

Every message names the thing, the value, the limit and the way out.  Anything that is
not one of these classes is a defect of the program and keeps its traceback.
"""

from __future__ import annotations

EXIT_BAD_INPUT = 2
EXIT_DOES_NOT_FIT = 3
EXIT_INTERRUPTED = 130


class DataflowSimError(Exception):
    """Base of all errors meant for the user; `exit_code` is what the command returns."""

    exit_code = EXIT_BAD_INPUT


class InputError(DataflowSimError):
    """The user's input is wrong: a file, a name, a value or a unit."""


class TooLongError(InputError):
    """What is to be timed takes longer than times are counted."""


class NetworkError(InputError):
    """The network file cannot be read or contradicts itself."""


class HardwareError(InputError):
    """The hardware file, or an override of one of its keys, is not legal."""


class DoesNotFitError(DataflowSimError):
    """No schedule of a layer fits the local memory.

    `layer_name` is the layer, `needed_bytes` its least footprint over all tilings and
    `available_bytes` the local memory there is.
    """

    exit_code = EXIT_DOES_NOT_FIT

    def __init__(self, layer_name: str, needed_bytes: int, available_bytes: int) -> None:
        self.layer_name = layer_name
        self.needed_bytes = needed_bytes
        self.available_bytes = available_bytes
        super().__init__(
            f"layer '{layer_name}' does not fit local memory: its smallest tiling needs "
            f"{needed_bytes:,} bytes, there are {available_bytes:,}; "
            f"raise local_memory.capacity (--local-memory {needed_bytes}B), "
            "lower the precision, or turn double buffering off"
        )


class BuffersDoNotFitError(DataflowSimError):
    """No addresses were found at which buffers fit a memory.

    `live_peak_bytes` is their largest live set, `lowest_bytes` the height of the lowest placement
    that was found, above `capacity_bytes`.  No placement is below `least_bytes`: where that is
    above the capacity, it is proved that nothing fits.
    """

    exit_code = EXIT_DOES_NOT_FIT

    def __init__(
        self, capacity_bytes: int, live_peak_bytes: int, least_bytes: int, lowest_bytes: int
    ) -> None:
        self.capacity_bytes = capacity_bytes
        self.live_peak_bytes = live_peak_bytes
        self.least_bytes = least_bytes
        self.lowest_bytes = lowest_bytes
        if live_peak_bytes > capacity_bytes:
            why = "proved impossible, since so much lives at a time"
        elif least_bytes > capacity_bytes:
            why = f"proved impossible, since no placement is below {least_bytes:,}"
        else:
            why = "not proved impossible"
        super().__init__(
            f"the buffers do not fit {capacity_bytes:,} bytes: their live peak is "
            f"{live_peak_bytes:,}, the lowest placement found reaches {lowest_bytes:,} ({why}); "
            f"raise --capacity to {lowest_bytes}B"
            + ("" if least_bytes > capacity_bytes else ", or let it work longer (--work)")
        )


class ScheduleError(DataflowSimError):
    """A schedule breaks a rule of the checker: a defect of the search, not of the input."""

    exit_code = 1


class ProgramError(DataflowSimError):
    """A program breaks a rule of the machine: a defect of the lowering, not of the input."""

    exit_code = 1
