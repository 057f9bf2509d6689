"""Freeze a built network: name the drafts' tensors, count parameters, write the warnings."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from dataflow_sim.graph.layer import Layer, Segment, Tensor, TensorKind, View, WeightRole
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.pointwise import PointProgram
from dataflow_sim.graph.region import Shape4
from dataflow_sim.ingest.builder import GraphBuilder
from dataflow_sim.ingest.drafts import Draft, canonical
from dataflow_sim.ingest.pointwise import vector_labels

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
        self.per_channel = {n: prod(c.shape) > 1 for n, c in self.network.constants.items()}

    def run(self) -> NetworkGraph:
        builder = self.builder
        for name in self.network.inputs:
            self.names[f"={name}"] = name
            self._tensor(name, TensorKind.INPUT, canonical(self.network.shapes[name]))
        for index, draft in enumerate(builder.drafts):
            self.names[f"@{index}"] = draft.end
            self._tensor(draft.end, TensorKind.MAP, draft.shape)
            for position, (name, shape) in enumerate(draft.extra):
                self.names[f"@{index}.{position}"] = name
                self._tensor(name, TensorKind.MAP, shape)
        outputs = tuple(self._mark_outputs())
        taken: dict[str, int] = {}
        layers = tuple(
            self._layer(index, draft, self._unique(draft, taken))
            for index, draft in enumerate(builder.drafts)
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
        )

    def _tensor(
        self, name: str, kind: TensorKind, shape: Shape4, role: WeightRole = WeightRole.NONE
    ) -> str:
        self.tensors[name] = Tensor(name, kind, shape, _FILE_BITS, role)
        return name

    def _mark_outputs(self) -> Iterator[str]:
        marked: dict[str, None] = {}
        for name in self.network.outputs:
            for segment in self.builder.value(name).view.segments:
                tensor = self.tensors[self.names[segment.tensor]]
                marked[tensor.name] = None
                if tensor.kind is TensorKind.MAP:
                    self._tensor(tensor.name, TensorKind.OUTPUT, tensor.shape)
        yield from marked

    @staticmethod
    def _unique(draft: Draft, taken: dict[str, int]) -> str:
        count = taken.get(draft.name, 0)
        taken[draft.name] = count + 1
        return draft.name if count == 0 else f"{draft.name}#{count + 1}"

    def _view(self, view: View) -> View:
        segments: list[Segment] = []
        for segment in view.segments:
            if segment.tensor.startswith("#"):
                name = segment.tensor[1:]
                shape = canonical(self.network.constants[name].shape)
                self.names[segment.tensor] = self._tensor(
                    name, TensorKind.WEIGHT, shape, WeightRole.KERNEL
                )
            tensor = self.names[segment.tensor]
            last = segments[-1] if segments else None
            if last and last.tensor == tensor and last.channel_stop == segment.channel_start:
                segments[-1] = Segment(tensor, last.channel_start, segment.channel_stop)
            else:
                segments.append(Segment(tensor, segment.channel_start, segment.channel_stop))
        return View(tuple(segments), view.shape)

    def _vectors(self, name: str, program: PointProgram, channels: int, bias: bool) -> str | None:
        labels = dict.fromkeys(vector_labels(program, self.per_channel))
        if bias:
            labels["shift"] = None
        if not labels:
            return None
        shape = (len(labels), channels, 1, 1)
        return self._tensor(name, TensorKind.WEIGHT, shape, WeightRole.VECTOR)

    def _layer(self, index: int, draft: Draft, name: str) -> Layer:
        weight = None
        view = self._view(draft.input)
        if draft.weight_constant is not None:
            rows, columns = draft.window.kernel
            kernel = (draft.body_shape[1], view.shape[1] // draft.groups, rows, columns)
            weight = self._tensor(
                draft.weight_constant, TensorKind.WEIGHT, kernel, WeightRole.KERNEL
            )
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
            post=draft.post,
            pool=draft.pool,
            input_vectors=self._vectors(f"{name}.pre", draft.pre, view.shape[1], False),
            output_vectors=self._vectors(f"{name}.post", draft.post, draft.body_shape[1], bias),
            extra_outputs=tuple(name for name, _ in draft.extra),
            weight_constant=draft.weight_constant,
            weight_transposed=draft.weight_transposed,
            bias_constant=draft.bias_constant,
            attributes=draft.attributes,
        )

    def _warnings(self) -> tuple[str, ...]:
        counts = self.builder.unsupported
        if not counts:
            return ()
        named = ", ".join(f"{op} ({counts[op]})" for op in sorted(counts))
        return (
            f"charged as elementwise reads and writes, without MACs, since not understood: {named}",
        )
