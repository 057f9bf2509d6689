"""Figures written back into a copy of an ONNX file, where viewers such as Netron show them.

They stand in the `metadata_props` of the nodes and of the model, under keys that begin with
`dataflow_sim.`; nothing else of the model changes.  Weights are never read: external data stays
external, at the location that the file states, which is relative to the directory of the file.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import EncodeError

from dataflow_sim.errors import InputError
from dataflow_sim.ingest.file.load import load_model

PREFIX = "dataflow_sim."

_REMEDY = "give another --annotate file"
_NAMES_SHOWN = 4

Figures = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class LayerFigures:
    """The figures of one layer as (key, text); its name and the maps it writes find its node."""

    name: str
    outputs: tuple[str, ...]
    figures: Figures


@dataclass(frozen=True, slots=True)
class Annotation:
    """What is to be written into a model: figures of the whole, and of each layer."""

    totals: Figures
    layers: tuple[LayerFigures, ...]


def annotated(model: onnx.ModelProto, annotation: Annotation) -> onnx.ModelProto:
    """A copy of a model with the figures in its metadata, in place of any older ones."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _set(copy, annotation.totals)
    for node in copy.graph.node:
        _set(node, ())
    for layer, position in zip(annotation.layers, positions(model, annotation.layers), strict=True):
        if position is not None:
            _set(copy.graph.node[position], layer.figures)
    return copy


def positions(model: onnx.ModelProto, layers: Sequence[LayerFigures]) -> tuple[int | None, ...]:
    """For each layer the position of its node among the graph's nodes, None where it has none.

    A layer's node has the layer's name (a node without a name goes by its first output), if
    no other node has it; else it is the node that writes one of the layer's maps, or the
    value that the reader's own layer, such as `VALUE copy`, is named after.  No two layers
    share a node, so that the figures of the nodes add up.
    """
    names = [node.name or next(filter(None, node.output), "") for node in model.graph.node]
    often = Counter(names)
    by_name = {name: place for place, name in enumerate(names) if often[name] == 1}
    by_output = {
        name: place for place, node in enumerate(model.graph.node) for name in node.output if name
    }
    found = [by_name.get(layer.name) for layer in layers]
    taken = {place for place in found if place is not None}
    for index, layer in enumerate(layers):
        if found[index] is None:
            for place in map(by_output.get, _values(layer)):
                if place is not None and place not in taken:
                    found[index] = place
                    taken.add(place)
                    break
    return tuple(found)


def _values(layer: LayerFigures) -> Iterator[str]:
    """Values whose node may be the layer's, the likeliest first."""
    yield from layer.outputs
    name = layer.name
    while " " in name:
        name = name.rpartition(" ")[0]
        yield name


def external_locations(model: onnx.ModelProto) -> tuple[str, ...]:
    """The files of weights that a model refers to, each once, in the order of the model."""
    tensors = [*_tensors_of_graph(model.graph)]
    for function in model.functions:
        tensors.extend(_tensors_of_nodes(function.node))
    return tuple(
        dict.fromkeys(
            str(entry.value)
            for tensor in tensors
            if tensor.data_location == onnx.TensorProto.EXTERNAL
            for entry in tensor.external_data
            if entry.key == "location"
        )
    )


def check_target(source: Path, target: Path) -> None:
    """Refuse a file that no annotated copy of `source` can be written to.

    Raises InputError for another ending than .onnx, for a directory, where the directory is
    missing or cannot be written, and for the source itself.
    """
    if target.suffix.lower() != ".onnx":
        raise InputError(f"--annotate {target}: the name of the copy ends in .onnx")
    try:
        if target.is_dir():
            raise InputError(f"'{target}' is a directory; {_REMEDY}")
        if not target.parent.is_dir():
            raise InputError(f"'{target.parent}' is no directory; make it, or {_REMEDY}")
        if target.exists() and source.exists() and target.samefile(source):
            raise InputError(f"--annotate {target} is the network file itself; {_REMEDY}")
        trial = _temporary(target)
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise InputError(f"'{target}' cannot be written ({error.strerror}); {_REMEDY}") from None


def write_annotated(source: Path, target: Path, annotation: Annotation) -> tuple[str, ...]:
    """Write a copy of an ONNX file with figures, whole or not at all; return the warnings.

    Raises InputError when the copy cannot be written, NetworkError when the file cannot be read.
    """
    check_target(source, target)
    model = load_model(source)
    try:
        content = annotated(model, annotation).SerializeToString()
    except EncodeError:
        raise InputError(
            f"'{target}' would have more than 2 GiB, which no ONNX file may; keep the weights "
            "of the network as external data"
        ) from None
    temporary = _temporary(target)
    try:
        temporary.write_bytes(content)
        temporary.replace(target)
    except OSError as error:
        raise InputError(f"'{target}' cannot be written ({error.strerror}); {_REMEDY}") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return (*_without_node(model, annotation), *_left_behind(model, source, target))


def _without_node(model: onnx.ModelProto, annotation: Annotation) -> Iterator[str]:
    """A warning that names the layers whose figures stand nowhere in the copy."""
    found = positions(model, annotation.layers)
    lost = [
        layer.name for layer, place in zip(annotation.layers, found, strict=True) if place is None
    ]
    if lost:
        yield (
            f"{len(lost):,} of {len(found):,} layers are no node of the file, so that the copy "
            f"has no figures of them: {_named(lost)}"
        )


def _left_behind(model: onnx.ModelProto, source: Path, target: Path) -> Iterator[str]:
    """A warning where the copy will not find the weights that the file refers to."""
    locations = external_locations(model)
    if locations and not target.parent.samefile(source.parent):
        yield (
            f"the weights are found only beside the original, in '{source.parent}': "
            f"'{target}' refers to {_named(locations)}; move the copy there, or those files "
            "to the copy"
        )


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_NAMES_SHOWN])
    return shown + (" .." if len(names) > _NAMES_SHOWN else "")


def _temporary(target: Path) -> Path:
    """Where the copy is written before it is moved into place."""
    return target.parent / f".{target.name}.{os.getpid()}.tmp"


def _set(holder: onnx.ModelProto | onnx.NodeProto, figures: Figures) -> None:
    """Replace the figures in the metadata of a model or of a node."""
    kept = [entry for entry in holder.metadata_props if not entry.key.startswith(PREFIX)]
    added = [onnx.StringStringEntryProto(key=PREFIX + key, value=value) for key, value in figures]
    if len(kept) < len(holder.metadata_props) or added:
        del holder.metadata_props[:]
        holder.metadata_props.extend([*kept, *added])


def _tensors_of_graph(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _tensors_of_nodes(graph.node)


def _tensors_of_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for graph in (attribute.g, *attribute.graphs):
                yield from _tensors_of_graph(graph)
