"""Freeze a built network: name the drafts' tensors, count parameters, write the warnings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod

from dataflow_sim.graph.arrangement import plain
from dataflow_sim.graph.layer import (
    Layer,
    Segment,
    Tensor,
    TensorKind,
    UnpooledMap,
    View,
    WeightRole,
)
from dataflow_sim.graph.network import NetworkGraph, Numbers, Placement, Result
from dataflow_sim.graph.pointwise import ConstantArg, PointProgram
from dataflow_sim.graph.quantisation import Quantisation
from dataflow_sim.graph.region import Shape4
from dataflow_sim.ingest.layers.builder import GraphBuilder
from dataflow_sim.ingest.layers.drafts import ConstantMap, Draft, Value, whole_view
from dataflow_sim.ingest.layers.pointwise import vector_labels
from dataflow_sim.ingest.layers.rounding import kernel_meaning

# what is appended to a layer's name to name the tensors that belong to it
_SUFFIXES = (".pre", ".post", ".partial_sums")
_FILE_BITS = 32  # replaced by the hardware's precision before anything is counted


def finish(builder: GraphBuilder) -> NetworkGraph:
    """All drafts as layers, all tensors, the count of parameters, the warnings."""
    return _Finisher(builder).run()


class _Finisher:
    def __init__(self, builder: GraphBuilder) -> None:
        self.builder = builder
        self.network = builder.network
        self.tensors: dict[str, Tensor] = {}
        self.names: dict[str, str] = {}
        self.given = set(self.network.shapes) | set(self.network.constants)
        self.per_channel = {n: prod(c.shape) > 1 for n, c in self.network.constants.items()}

    def run(self) -> NetworkGraph:
        builder = self.builder
        separate = self._separate_outputs()
        placements = []
        for name in self.network.inputs:
            self.names[f"={name}"] = name
            value = builder.inputs[name]
            self._tensor(name, TensorKind.INPUT, value.view.shape)
            placements.append(Placement(name, name, value.axes))
        for index, draft in enumerate(builder.drafts):
            self.names[f"@{index}"] = draft.end
            self._tensor(draft.end, TensorKind.MAP, draft.shape)
            for position, (name, shape) in enumerate(draft.extra):
                self.names[f"@{index}.{position}"] = name
                self._tensor(name, TensorKind.MAP, shape)
        placed: dict[str, Placement] = {}
        for index, each in enumerate(builder.constant_maps):
            place = self._placed(each, placed)
            self.names[f"#{index}"] = place.tensor
            if each.axes is not None:
                placements.append(place)
        outputs = tuple(self._mark_outputs(separate))
        taken: set[str] = set()
        layers = tuple(
            self._layer(index, draft, self._unique(draft.name, taken))
            for index, draft in enumerate(builder.drafts)
        )
        layers = tuple(
            replace(layer, unpooled=self._unpooled(draft, taken)) if draft.pool_node else layer
            for layer, draft in zip(layers, builder.drafts, strict=True)
        )
        results = tuple(
            Result(name, self._view(value.view), value.axes)
            for name, parts in separate.items()
            for value in parts
        )
        return NetworkGraph(
            name=self.network.name,
            layers=layers,
            tensors=self.tensors,
            inputs=self.network.inputs,
            outputs=outputs,
            parameters=sum(prod(self.network.constants[n].shape) for n in builder.learned),
            constants=self.network.constants,
            warnings=self._warnings(),
            placements=tuple(dict.fromkeys(placements)),
            results=results,
            unrounded=self.network.unrounded,
        )

    def _tensor(
        self,
        name: str,
        kind: TensorKind,
        shape: Shape4,
        role: WeightRole = WeightRole.NONE,
        stated: int | None = None,
        meaning: Quantisation | None = None,
    ) -> str:
        bits = self.builder.roundings.width(name) if stated is None else stated
        if kind is not TensorKind.WEIGHT:
            meaning = self.builder.roundings.of_name(name)
        found = Tensor(name, kind, shape, bits or _FILE_BITS, role, quantised=bool(bits))
        if meaning is not None and meaning.bits <= found.bits:
            found = replace(found, quantisation=meaning)
        self.tensors[name] = found
        return name

    def _separate_outputs(self) -> dict[str, tuple[Value, ...]]:
        """Give every network output tensors of its own where its view shares or selects.

        An output that joins whole maps, each once, is those maps; any other view (part of a
        map, a map twice, the network's input) is copied.  Of a state that grew, what the
        host does not have yet is the output; what is handed over to nodes that are left out is
        whole maps.  Returns the outputs that are maps.
        """
        builder = self.builder
        found: dict[str, tuple[Value, ...]] = {}
        taken: set[str] = set()
        for name in self.network.outputs:
            if name in builder.joined:
                parts = list(builder.joined[name].parts)
                found[name] = tuple(
                    self._own(f"{name} part {place}", part, taken)
                    for place, part in enumerate(parts)
                    if place > 0  # the first part is what the host keeps
                )
            elif name in builder.results or name in builder.values:
                value = builder.results.get(name) or builder.values[name]
                if name in self.network.handed_over and not value.pre:
                    found[name] = tuple(self._left_whole(value, taken))
                else:
                    found[name] = (self._own(name, value, taken),)
        return found

    def _left_whole(self, value: Value, taken: set[str]) -> Iterator[Value]:
        """The maps behind a view that what is left out of the network will read."""
        for tensor in dict.fromkeys(segment.tensor for segment in value.view.segments):
            if tensor.startswith("@") and tensor not in taken:
                taken.add(tensor)
                index, _, extra = tensor[1:].partition(".")
                draft = self.builder.drafts[int(index)]
                shape = draft.extra[int(extra)][1] if extra else draft.shape
                yield Value(whole_view(tensor, shape), plain(shape))

    def _own(self, name: str, value: Value, taken: set[str]) -> Value:
        """The value, or a copy of it, in tensors that no other output has taken yet."""
        segments = value.view.segments
        whole = all(
            s.tensor.startswith("@") and s.channels == self._channels(s.tensor) for s in segments
        )
        tensors = {s.tensor for s in segments}
        if value.pre or not whole or len(tensors) < len(segments) or tensors & taken:
            value = self.builder.copied(name, value)
            tensors = {s.tensor for s in value.view.segments}
        taken |= tensors
        return value

    def _channels(self, tensor: str) -> int:
        index, _, extra = tensor[1:].partition(".")
        draft = self.builder.drafts[int(index)]
        return draft.extra[int(extra)][1][1] if extra else draft.shape[1]

    def _mark_outputs(self, outputs: Mapping[str, tuple[Value, ...]]) -> Iterator[str]:
        marked: dict[str, None] = {}
        for parts in outputs.values():
            for value in parts:
                for segment in value.view.segments:
                    name = self.names[segment.tensor]
                    marked[name] = None
                    self.tensors[name] = replace(self.tensors[name], kind=TensorKind.OUTPUT)
        yield from marked

    def _unpooled(self, draft: Draft, taken: set[str]) -> UnpooledMap:
        """What a pooling that folded into a draft would be in a layer of its own."""
        assert draft.pool_node is not None
        name, op, end = draft.pool_node
        bits = self.builder.roundings.width(end)
        tensor = Tensor(
            end,
            TensorKind.MAP,
            draft.body_shape,
            bits or _FILE_BITS,
            quantised=bool(bits),
            quantisation=self.builder.roundings.of_name(end),
        )
        return UnpooledMap(self._unique(name, taken), op, tensor)

    def _unique(self, wanted: str, taken: set[str]) -> str:
        """A layer's name, numbered where another layer or a tensor's name would clash."""
        number = 1
        while True:
            name = wanted if number == 1 else f"{wanted}#{number}"
            derived = {name + suffix for suffix in _SUFFIXES}
            if name not in taken and not derived & self.given:
                taken.add(name)
                return name
            number += 1

    def _view(self, view: View) -> View:
        segments: list[Segment] = []
        for segment in view.segments:
            tensor = self.names[segment.tensor]
            last = segments[-1] if segments else None
            same = last and (last.tensor, last.rounded) == (tensor, segment.rounded)
            if last and same and last.channel_stop == segment.channel_start:
                segments[-1] = replace(last, channel_stop=segment.channel_stop)
            else:
                segments.append(replace(segment, tensor=tensor))
        return View(tuple(segments), view.shape)

    def _vectors(self, name: str, program: PointProgram, channels: int, bias: bool) -> str | None:
        labels = dict.fromkeys(vector_labels(program, self.per_channel))
        if bias:
            labels["shift"] = None
        if not labels:
            return None
        shape = (len(labels), channels, 1, 1)
        return self._tensor(name, TensorKind.WEIGHT, shape, WeightRole.VECTOR)

    def _streamed_vectors(self, name: str, draft: Draft) -> str | None:
        if not draft.vectors:
            return None
        elements = sum(prod(self.network.constants[vector].shape) for vector in draft.vectors)
        shape = (1, elements, 1, 1)
        return self._tensor(f"{name}.post", TensorKind.WEIGHT, shape, WeightRole.VECTOR)

    def _placed(self, found: ConstantMap, placed: dict[str, Placement]) -> Placement:
        """Where a constant lies that is read like a map; other rows of a table lie elsewhere."""
        name = self._kernel(found.constant, found.shape)
        axes = found.axes or plain(found.shape)
        numbers = None
        if found.numbers is not None:
            numbers = Numbers(self._view(found.numbers.view), found.numbers.axes)
        place = Placement(name, found.constant, axes, numbers)
        number = 1
        while placed.setdefault(place.tensor, place).numbers != place.numbers:
            number += 1
            place = replace(place, tensor=f"{name} again {number}")
        if number > 1:
            stated = self.tensors[name]
            self.tensors[place.tensor] = replace(stated, name=place.tensor)
        return place

    def _kernel(self, name: str, shape: Shape4, draft: Draft | None = None) -> str:
        """The tensor of a constant; one that is read in two shapes is two tensors."""
        known = self.tensors.get(name)
        constant = self.network.constants[name]
        meaning = constant.quantisation
        if draft is not None:
            meaning = kernel_meaning(meaning, draft, constant.shape)
        elif meaning is not None and meaning.axis is not None:
            meaning = None
        if known is not None and known.shape != shape:
            stated = known.bits if known.quantised else 0
            name = f"{name} as {'x'.join(str(extent) for extent in shape)}"
            return self._tensor(name, TensorKind.WEIGHT, shape, WeightRole.KERNEL, stated, meaning)
        return self._tensor(name, TensorKind.WEIGHT, shape, WeightRole.KERNEL, meaning=meaning)

    def _layer(self, index: int, draft: Draft, name: str) -> Layer:
        weight = None
        view = self._view(draft.input)
        if draft.weight_constant is not None:
            rows, columns = draft.window.kernel
            kernel = (draft.body_shape[1], view.shape[1] // draft.groups, rows, columns)
            weight = self._kernel(draft.weight_constant, kernel, draft)
        post = draft.post
        end = draft.pool_node[2] if draft.pool_node is not None else draft.end
        if post and post.steps[-1].rounded == self.builder.roundings.of_name(end):
            post = post.ending(None)  # the tensor says it
        bias = draft.bias_constant is not None
        return Layer(
            name=name,
            op=draft.op,
            kind=draft.kind,
            input=view,
            output=self.names[f"@{index}"],
            body_shape=draft.body_shape,
            output_shape=draft.shape,
            groups=draft.groups,
            window=draft.window,
            weight=weight,
            operands=tuple(self._view(v) for v in draft.operands),
            pre=draft.pre,
            post=post,
            pool=draft.pool,
            input_vectors=self._vectors(f"{name}.pre", draft.pre, view.shape[1], False),
            output_vectors=self._streamed_vectors(name, draft)
            or self._vectors(f"{name}.post", draft.post, draft.body_shape[1], bias),
            extra_outputs=tuple(name for name, _ in draft.extra),
            weight_constant=draft.weight_constant,
            weight_transposed=draft.weight_transposed,
            bias_constant=draft.bias_constant,
            attributes=draft.attributes,
            stated_macs=draft.macs,
            sweep=draft.sweep,
            meaning=draft.meaning,
            learned=tuple(dict.fromkeys(self._learned(draft))),
            rounded=draft.rounded,
        )

    def _learned(self, draft: Draft) -> Iterator[str]:
        """The constants among the parameters that a layer uses."""
        used = [draft.weight_constant, draft.bias_constant, *draft.vectors]
        for program in (draft.pre, draft.post):
            args = (arg for step in program.steps for arg in step.args)
            used += [arg.name for arg in args if isinstance(arg, ConstantArg)]
        for view in (draft.input, *draft.operands):
            names = (segment.tensor for segment in view.segments)
            used += [self.builder.constant_maps[int(n[1:])].constant for n in names if n[0] == "#"]
        for name in used:
            if name is not None:
                yield from (n for n in self.builder.learned_as(name) if n in self.builder.learned)

    def _warnings(self) -> tuple[str, ...]:
        found = list(self.network.statements)
        if self.builder.unsupported:
            found.append(
                "charged as elementwise reads and writes, without MACs, since not understood: "
                f"{counted(self.builder.unsupported)}"
            )
        cut: dict[str, int] = {}
        for _, op in self.network.left_out:
            cut[op] = cut.get(op, 0) + 1
        if cut:
            found.append(f"left out, since their shapes depend on data: {counted(cut)}")
        known = (*self.builder.values, *self.builder.joined)
        lost = [name for name in self.network.outputs if name not in known]
        if lost:
            found.append(f"outputs that no layer computes are left out: {', '.join(lost)}")
        return tuple(found)


def counted(operators: Mapping[str, int]) -> str:
    """Operators with how often each occurs, in the order of their names."""
    return ", ".join(f"{op} ({operators[op]})" for op in sorted(operators))
