"""Errors that reach the user, and the exit code each one ends the command with.

Every message names the thing, the value, the limit and the way out.  Anything that is
not one of these classes is a defect of the program and keeps its traceback.
"""

from __future__ import annotations

EXIT_BAD_INPUT = 2
EXIT_DOES_NOT_FIT = 3


class DataflowSimError(Exception):
    """Base of all errors meant for the user; `exit_code` is what the command returns."""

    exit_code = EXIT_BAD_INPUT


class InputError(DataflowSimError):
    """The user's input is wrong: a file, a name, a value or a unit."""


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


class ScheduleError(DataflowSimError):
    """A schedule breaks a rule of the checker: a defect of the search, not of the input."""

    exit_code = 1


class ProgramError(DataflowSimError):
    """A program breaks a rule of the machine: a defect of the lowering, not of the input."""

    exit_code = 1
