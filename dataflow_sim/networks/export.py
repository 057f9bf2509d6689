"""Write a built-in network to an .onnx file, whole or not at all, with random weights if wanted.

A model with more than `MOST_INSIDE_BYTES` of weights has them in a second file beside it, since
no ONNX file may exceed 2 GiB; they are drawn and written one tensor at a time.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path

import onnx
from onnx import numpy_helper

from dataflow_sim.errors import InputError
from dataflow_sim.networks.weights import is_left_out, random_weights

MOST_INSIDE_BYTES = 1 << 30
_BYTES = 4  # of a float32
_ALIGNMENT = 4096  # of a tensor in the second file, so that it can be mapped into memory
_REMEDY = "give another file"

Progress = Callable[[str, int, int], None]


def check_export(target: Path) -> None:
    """Refuse a file that no network can be written to.  Raises InputError."""
    if target.suffix.lower() != ".onnx":
        raise InputError(f"'{target}': the name of an ONNX file ends in .onnx")
    try:
        if target.is_dir():
            raise InputError(f"'{target}' is a directory; {_REMEDY}")
        if not target.parent.is_dir():
            raise InputError(f"'{target.parent}' is no directory; make it, or {_REMEDY}")
        with _moved_into_place(target) as temporary:
            temporary.touch()
            temporary.unlink()
    except OSError as error:
        raise InputError(f"'{target}' cannot be written ({error.strerror}); {_REMEDY}") from None


def export(
    model: onnx.ModelProto, target: Path, seed: int | None, progress: Progress
) -> tuple[Path, ...]:
    """Write a model that `networks` built; with a seed also weights.  Returns the files written.

    Raises InputError when a file cannot be written.
    """
    learned = [tensor for tensor in model.graph.initializer if is_left_out(tensor)]
    size_bytes = sum(_BYTES * prod(tensor.dims) for tensor in learned)
    try:
        if seed is None:
            return _write(model, target)
        _check_space(target, size_bytes)
        if size_bytes <= MOST_INSIDE_BYTES:
            for done, (tensor, values) in enumerate(random_weights(model, seed)):
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
                progress("drawing weights", done + 1, len(learned))
            return _write(model, target)
        return _write_beside(model, target, seed, len(learned), progress)
    except OSError as error:
        raise InputError(f"'{target}' cannot be written ({error.strerror}); {_REMEDY}") from None


def _check_space(target: Path, size_bytes: int) -> None:
    free_bytes = shutil.disk_usage(target.parent).free
    if size_bytes > free_bytes:
        raise InputError(
            f"'{target}' with weights takes {size_bytes:,} bytes, {free_bytes:,} are free there; "
            f"{_REMEDY}, or leave the weights out"
        )


def _write(model: onnx.ModelProto, target: Path) -> tuple[Path, ...]:
    with _moved_into_place(target) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
    return (target,)


def _write_beside(
    model: onnx.ModelProto, target: Path, seed: int, count: int, progress: Progress
) -> tuple[Path, ...]:
    beside = target.with_name(f"{target.name}.data")
    if beside.is_dir():
        raise InputError(f"'{beside}', where the weights go, is a directory; {_REMEDY}")
    with _moved_into_place(beside) as temporary:
        with temporary.open("wb") as file:
            for done, (tensor, values) in enumerate(random_weights(model, seed)):
                file.seek(-file.tell() % _ALIGNMENT, os.SEEK_CUR)
                place = {"location": beside.name, "offset": file.tell(), "length": values.nbytes}
                del tensor.external_data[:]
                for key, value in place.items():
                    tensor.external_data.add(key=key, value=str(value))
                file.write(values.astype("<f4", copy=False).data)
                progress("drawing weights", done + 1, count)
        written = _write(model, target)
    return (*written, beside)


@contextmanager
def _moved_into_place(target: Path) -> Iterator[Path]:
    """A temporary name beside the target; what stands there at the end takes its place."""
    temporary = target.parent / f".{target.name}.{os.getpid()}.tmp"
    try:
        yield temporary
        if temporary.exists():
            temporary.replace(target)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
