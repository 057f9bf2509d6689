"""The file as the user asked for it: other domains defined, sizes changed, bodies entered.

What comes out are standard operators in one graph, whose shapes are still to be inferred.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from dataflow_sim.graph.network import PassReport
from dataflow_sim.ingest.bodies.entering import BodyChoices, bodies_left, enter_bodies
from dataflow_sim.ingest.contrib import standardised
from dataflow_sim.ingest.request import ReadRequest
from dataflow_sim.ingest.shapes.reader import bind_dimensions
from dataflow_sim.ingest.shapes.resolver import Resolver
from dataflow_sim.ingest.sizes.resize import resized

_DEFINED = "operators of other domains are standard operators"
_ENTERED = "bodies of If, Loop and Scan, and local functions, are nodes of the graph"
_SIZED = "inputs have the size asked for, and constants derived from it follow"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model to read, dimensions still to bind, sentences for the user, and what was done."""

    model: onnx.ModelProto
    dims: Mapping[str, int]
    statements: tuple[str, ...]
    reports: tuple[PassReport, ...]


class _Preparing:
    def __init__(self, model: onnx.ModelProto, label: str, request: ReadRequest) -> None:
        self.model = model
        self.label = label
        self.request = request
        self.dims: Mapping[str, int] = request.dims
        self.defined: tuple[str, ...] = ()
        self.entered: tuple[str, ...] = ()
        self.sized: tuple[str, ...] = ()

    def define(self) -> None:
        self.model, names = standardised(self.model)
        self.defined += names

    def bind(self) -> None:
        """Write the dimensions that --dim binds into the inputs."""
        copy = onnx.ModelProto()
        copy.CopyFrom(self.model)
        for value in copy.graph.input:
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_param in self.request.dims:
                    dim.dim_value = self.request.dims[dim.dim_param]
        # what the file says of other shapes was true for its own binding only
        del copy.graph.value_info[:]
        for value in copy.graph.output:
            value.type.tensor_type.ClearField("shape")
        self.model = copy
        self.dims = {}

    def is_symbolic(self) -> bool:
        """Whether an input has a dimension without a number."""
        return any(
            not dim.HasField("dim_value")
            for value in self.model.graph.input
            for dim in value.type.tensor_type.shape.dim
        )

    def size(self) -> None:
        request = self.request
        self.model, self.sized = resized(self.model, self.label, request.input_size, request.batch)

    def enter(self) -> None:
        choices = BodyChoices(self.request.branches, self.request.trips)
        asked = bool(choices.branches or choices.trips)
        while bodies_left(self.model) or asked:
            stated = bind_dimensions(self.model, {}, self.label)
            resolver = Resolver(self.model, self.label, stated)
            resolver.run()
            self.model, sentences = enter_bodies(
                self.model, self.label, choices, resolver.values, resolver.shapes
            )
            self.entered += sentences
            self.define()
            asked = False


def prepared(model: onnx.ModelProto, label: str, request: ReadRequest) -> Prepared:
    """The model as the user asked for it.

    Raises NetworkError for sizes that the network cannot take, for dimensions left open, for
    choices that name no node, and for malformed bodies.
    """
    work = _Preparing(model, label, request)
    work.define()
    changes = request.input_size is not None or request.batch is not None
    if changes or bodies_left(model) or request.branches or request.trips:
        if request.dims:
            bind_dimensions(model, request.dims, label, partly=changes)
            work.bind()
        # numbers inside bodies follow a new size only once they are nodes of the graph, but
        # nothing can be entered while a size is open
        if changes and work.is_symbolic():
            work.size()
            changes = False
        work.enter()
        if changes:
            work.size()
    reports = tuple(
        PassReport(name, after, changed)
        for name, after, changed in (
            ("definitions", _DEFINED, work.defined),
            ("size", _SIZED, work.sized),
            ("bodies", _ENTERED, work.entered),
        )
        if changed
    )
    return Prepared(work.model, work.dims, (*work.sized, *work.entered), reports)
