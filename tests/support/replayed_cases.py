"""A network on a machine, and its programs held against what the network gives by itself.

    model ─► read ─► pooled by whom the machine has it ─► schedule ─► program ─► ledger, replay
      └──► evaluated by itself ◄──────────── the same outputs, the same bytes ───────┘

At 32 bits a program is executed on real numbers and gives what the model does; at any other
widths on integers, and gives what its layers do on whole maps.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import onnx

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.graph.passes import Precision, assign_precision, drop_vectors
from dataflow_sim.graph.pooling import Pooler, place_pooling
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks.writer import input_shapes
from dataflow_sim.program.instructions import Program
from dataflow_sim.schedule.types import MemoryOptions, Schedule
from dataflow_sim.simulate.integers import Integers
from dataflow_sim.simulate.ledger import count
from dataflow_sim.simulate.reference import random_inputs, with_weights
from dataflow_sim.simulate.replay import Replayed, replay, replay_integers
from dataflow_sim.simulate.whole import Values, evaluate_layers
from tests.support.plain_operators import evaluate
from tests.support.runs import results_of

Inputs = dict[str, npt.NDArray[np.float32]]

# of longer programs only the counts are compared
MOST_STEPS = 1500


@dataclass(frozen=True)
class Case:
    """A network with weights, on a machine: who pools, whether biases count, its memory.

    `answers` are what the model gave so far, by the seed of its inputs.
    """

    model: onnx.ModelProto
    graph: NetworkGraph
    memory: MemoryOptions
    answers: dict[int, Inputs] = field(default_factory=dict, init=False, compare=False, repr=False)

    def executes(self, schedule: Schedule) -> bool:
        """Whether the program of a schedule takes no time to speak of."""
        return schedule.steps <= MOST_STEPS

    @property
    def single_precision(self) -> bool:
        """Whether everything has 32 bits, so that it may be a real number."""
        tensors = self.graph.tensors.values()
        widths = {bits for tensor in tensors for bits in (tensor.bits, tensor.local_bits)}
        return widths | {self.memory.accumulator_bits} == {32}

    @cached_property
    def integers(self) -> Integers:
        """Integers of the network's widths."""
        return Integers(self.graph, self.memory.accumulator_bits, seed=3)

    @cached_property
    def whole(self) -> Values:
        """What the layers make of the integers on whole maps."""
        return evaluate_layers(self.graph, self.integers, self.integers.image())

    def inputs(self, seed: int) -> Inputs:
        """Values of the inputs, of those that nobody reads too."""
        return random_inputs(dict(input_shapes(self.model)), seed)

    def answer(self, seed: int) -> Inputs:
        """The model's outputs on real inputs."""
        if seed not in self.answers:
            self.answers[seed] = evaluate(self.model, self.inputs(seed))
        return self.answers[seed]


SINGLE_PRECISION = Precision(32, 32, 32)


def on_machine(
    model: onnx.ModelProto,
    memory: MemoryOptions,
    pooler: Pooler = Pooler.PRODUCER,
    count_biases: bool = True,
    precision: Precision = SINGLE_PRECISION,
) -> Case:
    """A model with values for its weights, on a machine."""
    model = with_weights(model, seed=1, unit_gain=True)
    graph = place_pooling(graph_from_model(model, "random"), pooler)
    if not count_biases:
        graph = drop_vectors(graph)
    return Case(model, assign_precision(graph, precision), memory)


def real_frame(case: Case, program: Program, seed: int, before: Replayed | None = None) -> Replayed:
    """A frame of real numbers behind another, or the first: its outputs are the model's own."""
    result = replay(program, case.graph, case.inputs(seed), before)
    expected, found = case.answer(seed), results_of(case.graph, result.tensors)
    assert set(found) == set(expected)
    for name, values in expected.items():
        assert found[name].shape == values.shape
        scale = max(1.0, float(np.abs(values).max(initial=0)))
        np.testing.assert_allclose(
            found[name], values, rtol=1e-3, atol=1e-4 * scale, err_msg=f"output '{name}'"
        )
    moves_what_is_counted(program, result)
    return result


def integer_frame(case: Case, program: Program, before: Replayed | None = None) -> Replayed:
    """A frame of integers: every map that is stored is what the layers give on whole maps."""
    result = replay_integers(program, case.integers, before)
    for name, expected in case.whole.items():
        values = result.tensors[name]
        there = ~np.isnan(values)
        assert there.all() or name not in case.graph.outputs
        np.testing.assert_array_equal(values[there], expected[there], err_msg=f"map '{name}'")
    moves_what_is_counted(program, result)
    return result


def frame(case: Case, program: Program, seed: int, before: Replayed | None = None) -> Replayed:
    """A frame of what numbers there may be, behind another or the first."""
    if case.single_precision:
        return real_frame(case, program, seed, before)
    return integer_frame(case, program, before)


def moves_what_is_counted(program: Program, result: Replayed) -> None:
    """As many bits of each tensor cross the DRAM interface as the ledger says."""
    counted, moved = Counter[str](), Counter[str]()
    for (_, key), bits in count(program).traffic_bits.items():
        counted[key.tensor] += bits
    for (name, _), bits in result.dram.moved_bits.items():
        moved[name] += bits
    assert moved == counted


def replayed(case: Case, schedule: Schedule, program: Program) -> None:
    """Execute the program of a schedule, if it is short, on what numbers there may be."""
    if case.executes(schedule):
        frame(case, program, seed=2)


def moved_bytes(schedule: Schedule) -> int:
    """DRAM bytes of a schedule."""
    return sum(schedule.traffic_bytes().values())
