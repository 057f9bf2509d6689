"""Which inputs of a model are images, where their rows and columns are, and its batch.

An image has four axes, or three where the first holds the three colours.  Its channels are on
axis 1, or on the last one where the network itself moves them to axis 1, or where no spatial
operator reads it at once, and the last extent is that of colours and the one of axis 1 is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto

from dataflow_sim.errors import NetworkError
from dataflow_sim.ingest.file.nodes import MAXIMUM_EXTENT, is_standard, names_read

Extent = int | str | None
Extents = tuple[Extent, ...]

_COLOURS = (1, 3, 4)
_ELEMENTS = frozenset(
    (
        *(TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE),
        *(TensorProto.UINT8, TensorProto.INT8),
    )
)
_SPATIAL = frozenset(
    (
        *("AveragePool", "Conv", "ConvInteger", "ConvTranspose", "DeformConv", "DepthToSpace"),
        *("GlobalAveragePool", "GlobalMaxPool", "GridSample", "InstanceNormalization", "LRN"),
        *("LpPool", "MaxPool", "QLinearConv", "Resize", "SpaceToDepth", "Upsample"),
    )
)
_SEQUENTIAL = frozenset(("Conv", "GRU", "Gemm", "LSTM", "MatMul", "RNN"))
# what stands between an input and the first operator that tells its layout
_PREPARATION = frozenset(
    (
        *("Add", "Cast", "Clip", "DequantizeLinear", "Div", "Identity", "Mul", "Pad"),
        *("QuantizeLinear", "Sub"),
    )
)
_TO_CHANNELS_FIRST = (0, 3, 1, 2)


@dataclass(frozen=True, slots=True)
class RealInput:
    """An input that is no constant: its extents are numbers, names, or None for neither."""

    name: str
    element_type: int
    extents: Extents

    def __str__(self) -> str:
        """The input as messages show it."""
        return f"'{self.name}' {shown(self.extents)}"


@dataclass(frozen=True, slots=True)
class ImageInput:
    """An image among the inputs; `rows` and `columns` are axes."""

    source: RealInput
    rows: int
    columns: int


def shown(extents: Sequence[int | float | str | None]) -> str:
    """Extents, or other numbers, as messages show them."""
    inner = ", ".join("?" if extent is None else str(extent) for extent in extents)
    return f"({inner},)" if len(extents) == 1 else f"({inner})"


def real_inputs(model: onnx.ModelProto) -> tuple[RealInput, ...]:
    """The inputs that something reads, initialisers and those of unstated shape left out."""
    graph = model.graph
    held = {tensor.name for tensor in graph.initializer}
    held |= {tensor.values.name for tensor in graph.sparse_initializer}
    read = {name for node in graph.node for name in names_read(node)}
    found = []
    for value in graph.input:
        tensor = value.type.tensor_type
        if value.name in held or value.name not in read or not tensor.HasField("shape"):
            continue
        extents: Extents = tuple(
            dim.dim_value if dim.HasField("dim_value") else (dim.dim_param or None)
            for dim in tensor.shape.dim
        )
        found.append(RealInput(value.name, tensor.elem_type, extents))
    return tuple(found)


class _Readers:
    """Who reads what."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.of: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for name in dict.fromkeys(names_read(node)):
                self.of.setdefault(name, []).append(node)

    def first(self, name: str) -> Iterator[onnx.NodeProto]:
        """The first readers of an input behind its preparation."""
        pending, seen = [name], {name}
        while pending:
            for node in self.of.get(pending.pop(), ()):
                if not (is_standard(node) and node.op_type in _PREPARATION):
                    yield node
                elif node.output[0] not in seen:
                    seen.add(node.output[0])
                    pending.append(node.output[0])

    def reach(self, name: str) -> bool:
        """Whether a spatial operator is anywhere behind an input."""
        pending, seen = [name], {name}
        while pending:
            for node in self.of.get(pending.pop(), ()):
                if node.op_type in _SPATIAL:
                    return True
                fresh = [each for each in node.output if each and each not in seen]
                seen.update(fresh)
                pending.extend(fresh)
        return False


def _order(node: onnx.NodeProto) -> tuple[int, ...]:
    """How a Transpose orders axes; () for any other node."""
    if node.op_type != "Transpose" or not is_standard(node):
        return ()
    return tuple(axis for each in node.attribute if each.name == "perm" for axis in each.ints)


def _channels_last(extents: Extents, name: str, readers: _Readers) -> bool:
    first = list(readers.first(name))
    if any(_order(node) == _TO_CHANNELS_FIRST for node in first):
        return True
    if any(node.op_type in _SPATIAL for node in first):  # they read channels from axis 1
        return False
    return extents[3] in _COLOURS and extents[1] not in _COLOURS


def image_inputs(model: onnx.ModelProto, inputs: tuple[RealInput, ...]) -> tuple[ImageInput, ...]:
    """The images among the inputs.

    Of inputs with four axes those that convolutions, pooling or scaling follow; if there are
    none such, the only one, if it has channels of colours.
    """
    readers = _Readers(model)
    numbers = [each for each in inputs if each.element_type in _ELEMENTS]
    planes = [each for each in numbers if len(each.extents) == 4]
    images = [each for each in planes if readers.reach(each.name)]
    if not images and len(planes) == len(inputs) == 1:
        colours = (planes[0].extents[1], planes[0].extents[3])
        images = planes if any(extent in _COLOURS for extent in colours) else []
    if images:
        last = {each.name: _channels_last(each.extents, each.name, readers) for each in images}
        return tuple(ImageInput(e, 1, 2) if last[e.name] else ImageInput(e, 2, 3) for e in images)
    return tuple(
        ImageInput(each, 1, 2)
        for each in numbers
        if len(each.extents) == 3
        and each.extents[0] == 3
        and readers.reach(each.name)
        and not any(node.op_type in _SEQUENTIAL for node in readers.first(each.name))
    )


def _bind(
    wanted: dict[str, list[Extent]],
    names: dict[str, int],
    where: tuple[RealInput, int],
    value: int,
    label: str,
) -> None:
    """Note the extent of an axis, and that of its name, if it has one."""
    source, axis = where
    extent = source.extents[axis]
    if isinstance(extent, str) and names.setdefault(extent, value) != value:
        raise NetworkError(
            f"{label}: axis {axis} of {source} is to become {value}, but its dimension "
            f"'{extent}' is {names[extent]} elsewhere; give both the same extent"
        )
    wanted[source.name][axis] = value


def _check(value: int, what: str, label: str) -> None:
    if not 1 <= value <= MAXIMUM_EXTENT:
        raise NetworkError(f"{label}: {what} {value}: an extent is 1 to {MAXIMUM_EXTENT:,}")


def _listed(inputs: tuple[RealInput, ...]) -> str:
    return ", ".join(map(str, inputs)) or "none"


def _images(
    model: onnx.ModelProto, label: str, inputs: tuple[RealInput, ...]
) -> tuple[ImageInput, ...]:
    """The images of a model, all of one size.  Raises NetworkError."""
    images = image_inputs(model, inputs)
    if not images:
        raise NetworkError(
            f"{label}: it has no image input, which --input-size could change; its inputs are "
            f"{_listed(inputs)}; the length of a sequence is bound with --dim NAME=VALUE if it "
            "has a name, else export the network again"
        )
    sizes = {(e.source.extents[e.rows], e.source.extents[e.columns]) for e in images}
    if len(sizes) > 1:
        raise NetworkError(
            f"{label}: its image inputs differ in size: {_listed(tuple(e.source for e in images))};"
            " --input-size gives one size to all; export the network again"
        )
    return images


def _bind_batch(
    wanted: dict[str, list[Extent]],
    names: dict[str, int],
    inputs: tuple[RealInput, ...],
    images: tuple[ImageInput, ...],
    batch: int,
    label: str,
) -> None:
    """Note the batch of every input that has the batch of the image, or of the first input."""
    batched = [each for each in inputs if each.extents]
    leading = images[0].source if images else next(iter(batched), None)
    if leading is None:
        raise NetworkError(
            f"{label}: no input has an axis for --batch; its inputs are {_listed(inputs)}"
        )
    if images and len(leading.extents) == 3:
        if batch != 1:
            raise NetworkError(
                f"{label}: input {leading} is a single image without an axis for the batch; "
                "leave --batch out, or export the network with one"
            )
        return
    for each in batched:
        if each.extents[0] == leading.extents[0]:
            _bind(wanted, names, (each, 0), batch, label)


def wanted_extents(
    model: onnx.ModelProto, label: str, size: tuple[int, int] | None, batch: int | None
) -> Mapping[str, Extents]:
    """The extents of all real inputs once images have a size, and inputs a batch.

    Where an axis has a name, that name has the extent wherever it stands.  Raises NetworkError
    where there is no image, or no batch, to change.
    """
    inputs = real_inputs(model)
    wanted = {each.name: list(each.extents) for each in inputs}
    names: dict[str, int] = {}
    if size is not None:
        for number, what in zip(size, ("rows", "columns"), strict=True):
            _check(number, f"--input-size with {what} of", label)
        for image in _images(model, label, inputs):
            _bind(wanted, names, (image.source, image.rows), size[0], label)
            _bind(wanted, names, (image.source, image.columns), size[1], label)
    if batch is not None:
        _check(batch, "--batch", label)
        images = image_inputs(model, inputs)
        _bind_batch(wanted, names, inputs, images, batch, label)
    for extents in wanted.values():
        for axis, extent in enumerate(extents):
            if isinstance(extent, str) and extent in names:
                extents[axis] = names[extent]
    return {name: tuple(extents) for name, extents in wanted.items()}


def check_numbers(inputs: tuple[RealInput, ...], label: str) -> None:
    """Every extent is a number that a map can have.  Raises NetworkError."""
    unbound = []
    for each in inputs:
        for axis, extent in enumerate(each.extents):
            if extent is None:
                raise NetworkError(
                    f"{label}: axis {axis} of input {each} has neither an extent nor a name to "
                    "bind; write one into the file"
                )
            if isinstance(extent, str):
                unbound.append(f"'{extent}' (axis {axis} of '{each.name}')")
            else:
                _check(extent, f"axis {axis} of input {each} is", label)
    if unbound:
        raise NetworkError(
            f"{label}: unbound dimensions {', '.join(unbound)}; to change numbers of the file, "
            "give each with --dim NAME=VALUE, that of the batch with --batch"
        )
