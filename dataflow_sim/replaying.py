"""Stage of `replay`: the program of a run, executed, and its results held against another answer.

Up to three programs of one network on one machine:

    integers   the very program that `run` reports, at its widths, on integers drawn from a seed,
               against every layer on whole maps, bit for bit
    float32    a program of 32-bit elements in as many bytes, on real numbers, against the
               network's own answer (ONNX), within a tolerance
    quantised  of a file that states the integers of its maps: a program of its widths on these,
               against every layer on whole maps, bit for bit, and the network's own answer
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from dataflow_sim.errors import DoesNotFitError, InputError, ProgramError
from dataflow_sim.execution import Clock, compared, executed, maps_made
from dataflow_sim.graph.analyses import is_quantised
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import Hardware
from dataflow_sim.ingest import (
    FileWeights,
    ReadRequest,
    graph_from_model,
    load_model,
    ready_model,
)
from dataflow_sim.networks import build_network
from dataflow_sim.networks.weights import filled
from dataflow_sim.pipeline import (
    Progress,
    RunOptions,
    choose,
    named_file,
    no_progress,
    prepare,
    what_if_results,
)
from dataflow_sim.program.instructions import Program
from dataflow_sim.program.lowering import lower
from dataflow_sim.results_of_replay import Execution, ReplayResult
from dataflow_sim.schedule.check import check_schedule
from dataflow_sim.simulate.arithmetic import Arithmetic, Reals
from dataflow_sim.simulate.file_integers import FileIntegers
from dataflow_sim.simulate.image import applied_numbers, dram_image
from dataflow_sim.simulate.integers import Integers
from dataflow_sim.simulate.reference import (
    drawn_inputs,
    evaluate_model,
    whole_inputs,
    with_derived_constants,
)
from dataflow_sim.simulate.replay import GoOn, Replayed, replay, replay_integers, replay_quantised
from dataflow_sim.simulate.whole import evaluate_layers
from dataflow_sim.whatif import NOTHING as NO_WHAT_IFS
from dataflow_sim.whatif import Plan

NUMBERS = ("integers", "float32", "quantised")

# A program of more steps is not replayed: its instructions take some gigabytes.
MAXIMUM_REPLAYED_STEPS = 1 << 21

# single precision between steps: relative, and relative to the largest value of a map
TOLERANCE = 1e-4
# of quantised maps, where one element that lies half-way between two integers and is rounded
# otherwise is many in the end, by a few steps of some hundred each
TOLERANCE_OF_STEPS = 0.05
_WHOLE = "every layer on whole maps"

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What a user may ask of a replay beside the run.

    `numbers` are those to compute with, of `NUMBERS`: left out, "integers" and what the file itself
    computes with; `seed` draws what the file does not carry, and all inputs; each execution
    ends after `seconds`, if that is given.
    """

    numbers: tuple[str, ...] = ()
    seed: int = 1
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class _Read:
    """A network with values for all constants: its graph, the model that is executed elsewhere."""

    graph: NetworkGraph
    model: Any
    weights: str


def _read(network: str, request: ReadRequest, seed: int, what_ifs: Plan) -> _Read:
    """Read a network, and draw from a seed what its file does not carry.  Raises NetworkError."""
    request = what_ifs.request(request)
    path = named_file(network)
    label = network if path is None else path.stem
    model = build_network(network) if path is None else load_model(path)
    model, left, told = ready_model(model, label, request)
    model, drawn = filled(model, seed)
    graph = with_derived_constants(graph_from_model(model, label, left), model)
    weights = f"{drawn:,} constants drawn from seed {seed}" if drawn else "the file's"
    measure = None if path is None else FileWeights(path).measure
    graph = what_ifs.apply(graph, measure)
    return _Read(replace(graph, warnings=(*told, *graph.warnings)), model, weights)


def _program(
    graph: NetworkGraph, hardware: Hardware, options: RunOptions, progress: Progress
) -> Program:
    """The program of a run.  Raises InputError where it is too long, DoesNotFitError."""
    if graph.byte_bits != 8:
        raise InputError(
            "elements that are coded, or take no whole bits, are counted and not executed; "
            "replay without what-ifs of codes, and without local_memory.channel_rounding"
        )
    chosen = choose(graph, hardware, options, progress)
    schedule = chosen.frames.cold
    check_schedule(graph, schedule)
    if schedule.steps > MAXIMUM_REPLAYED_STEPS:
        raise InputError(
            f"the program takes {schedule.steps:,} steps, more than {MAXIMUM_REPLAYED_STEPS:,} are "
            "not replayed; give more local memory, a smaller input, or --layers for a part"
        )
    return chosen.program or lower(graph, schedule, partial(progress, "lowering"))


def _integers(
    read: _Read,
    hardware: Hardware,
    options: RunOptions,
    asked: ReplayOptions,
    progress: Progress,
) -> Execution:
    graph = prepare(read.graph, hardware, options)
    program = _program(graph, hardware, options, progress)
    integers = Integers(graph, hardware.compute.accumulator_bits, asked.seed)

    def compare(replayed: Replayed, found: Execution) -> Execution:
        whole = evaluate_layers(graph, integers, integers.image())
        return compared(replace(found, against=_WHOLE), maps_made(graph, replayed, whole))

    def run(go_on: GoOn) -> Replayed:
        return replay_integers(program, integers, go_on=go_on)

    clock = Clock(asked.seconds, partial(progress, "replaying integers"))
    return executed("integers", graph, program, run, compare, clock)


def _in_single_precision(hardware: Hardware) -> Hardware:
    """The machine with sums of 32 bits and nothing unpacked."""
    compute = hardware.compute.model_copy(update={"accumulator_bits": 32})
    precision = hardware.precision.model_copy(update={"local_weights": None})
    return hardware.model_copy(update={"compute": compute, "precision": precision})


def _float32(
    read: _Read,
    hardware: Hardware,
    options: RunOptions,
    asked: ReplayOptions,
    progress: Progress,
) -> Execution:
    hardware = _in_single_precision(hardware)
    options = replace(options, weight_bits=32, activation_bits=32)
    graph = prepare(read.graph, hardware, options)
    program = _program(graph, hardware, options, progress)
    shapes = {p.array: p.axes.shape for p in graph.placements if p.array not in graph.constants}
    inputs = drawn_inputs(read.model, shapes, asked.seed)
    reals = Reals(applied_numbers(graph))

    def compare(replayed: Replayed, found: Execution) -> Execution:
        found = replace(found, tolerance=TOLERANCE)
        if graph.part or not found.complete or is_quantised(graph):
            whole = evaluate_layers(graph, reals, dram_image(graph, inputs))
            return compared(replace(found, against=_WHOLE), maps_made(graph, replayed, whole))
        against, theirs = evaluate_model(read.model, inputs)
        mine = results_of(graph, replayed, reals)
        same = {
            name: (value, _new_of(theirs[name], value.shape))
            for name, value in mine.items()
            if name in theirs
        }
        return compared(replace(found, against=against), same)

    def run(go_on: GoOn) -> Replayed:
        return replay(program, graph, inputs, go_on=go_on)

    clock = Clock(asked.seconds, partial(progress, "replaying float32"))
    return executed("float32", graph, program, run, compare, clock)


def _new_of(theirs: Array, shape: tuple[int, ...]) -> Array:
    """Of a cache that the network hands on, the last positions, which are new and are written."""
    if theirs.ndim != len(shape):
        return theirs.reshape(shape)
    return theirs[
        tuple(slice(have - want, None) for have, want in zip(theirs.shape, shape, strict=True))
    ]


def results_of(graph: NetworkGraph, replayed: Replayed, arithmetic: Arithmetic) -> dict[str, Array]:
    """The network's outputs as the file names and sees them."""
    found = {}
    for result in graph.results:
        parts = [
            arithmetic.seen(s, replayed.tensors[s.tensor][:, s.channel_start : s.channel_stop])
            for s in result.view.segments
        ]
        found[result.name] = result.axes.from_map(np.concatenate(parts, axis=1))
    return found


def _quantised(
    read: _Read,
    hardware: Hardware,
    options: RunOptions,
    asked: ReplayOptions,
    progress: Progress,
) -> Execution:
    """The file's own integers, in a program of its own widths."""
    graph = prepare(read.graph, hardware, options)
    if not is_quantised(graph) or graph.unrounded:
        why = graph.unrounded or ("its maps are real numbers",)
        told = f"the file does not say which integers all its maps are: {'; '.join(why[:2])}"
        return Execution("quantised", left_out=told)
    try:
        arithmetic = _with_integers(graph, read, hardware, options)
    except ProgramError as error:
        return Execution("quantised", left_out=str(error))
    graph = arithmetic.graph
    program = _program(graph, hardware, options, progress)
    shapes = {p.array: p.axes.shape for p in graph.placements if p.array not in graph.constants}
    inputs = {
        **drawn_inputs(read.model, shapes, asked.seed),
        **arithmetic.drawn(shapes, whole_inputs(read.model), asked.seed),
    }

    def compare(replayed: Replayed, found: Execution) -> Execution:
        whole = evaluate_layers(graph, arithmetic, arithmetic.image(inputs))
        exact = replace(found, tolerance=0.0 if arithmetic.is_exact else TOLERANCE_OF_STEPS)
        exact = compared(replace(exact, against=_WHOLE), maps_made(graph, replayed, whole))
        if exact.fault or graph.part or not found.complete:
            return exact
        who, theirs = evaluate_model(read.model, inputs)
        mine = results_of(graph, replayed, arithmetic)
        same = {
            name: (mine[name], arithmetic.numbers_of(name, theirs[name]))
            for name in mine
            if name in theirs
        }
        near = compared(replace(found, tolerance=TOLERANCE_OF_STEPS), same)
        return replace(
            near,
            against=f"{_WHOLE} (all the same); {who}",
            elements=exact.elements + near.elements,
        )

    def run(go_on: GoOn) -> Replayed:
        return replay_quantised(program, arithmetic, inputs, go_on=go_on)

    clock = Clock(asked.seconds, partial(progress, "replaying quantised"))
    return executed("quantised", graph, program, run, compare, clock)


def _with_integers(
    graph: NetworkGraph, read: _Read, hardware: Hardware, options: RunOptions
) -> FileIntegers:
    """Those of the graph at its widths, if need be 32 bits for what the file does not quantise."""
    try:
        return FileIntegers(graph)
    except ProgramError:
        wide = {"weights": 32, "activations": 32, "local_weights": None}
        precision = hardware.precision.model_copy(update=wide)
        graph = prepare(read.graph, hardware.model_copy(update={"precision": precision}), options)
        return FileIntegers(graph)


_EXECUTIONS: Mapping[str, Callable[..., Execution]] = {
    "integers": _integers,
    "float32": _float32,
    "quantised": _quantised,
}


def replay_network(
    network: str,
    request: ReadRequest,
    hardware: Hardware,
    options: RunOptions | None = None,
    asked: ReplayOptions | None = None,
    progress: Progress = no_progress,
    what_ifs: Plan = NO_WHAT_IFS,
) -> ReplayResult:
    """Execute the program of a run, with each kind of numbers asked for.

    `network` is an .onnx file or a built-in name.  A network that is changed is no longer what its
    file says: it is executed on integers alone.  Raises InputError, and DoesNotFitError where
    the network does not fit the machine at its own widths.
    """
    options, asked = options or RunOptions(), asked or ReplayOptions()
    if what_ifs.steps and asked.numbers not in ((), ("integers",)):
        raise InputError(
            f"--numbers {asked.numbers[0]}: a network that --what-if changes is not the file's; "
            "it is executed on integers alone (--numbers integers)"
        )
    read = _read(network, request, asked.seed, what_ifs)
    executions = []
    own = "quantised" if is_quantised(read.graph) and not read.graph.unrounded else "float32"
    both = ("integers",) if what_ifs.steps else ("integers", own)
    for numbers in asked.numbers or both:
        try:
            found = _EXECUTIONS[numbers](read, hardware, options, asked, progress)
            if found.left_out and asked.numbers:
                raise InputError(f"--numbers {numbers}: {found.left_out}; leave it out")
            executions.append(found)
        except DoesNotFitError as error:
            if numbers == "integers" or asked.numbers == (numbers,):
                raise
            executions.append(Execution(numbers, left_out=str(error)))
    graph = prepare(read.graph, hardware, options)
    return ReplayResult(
        network=graph.name,
        part=graph.part,
        hardware=hardware.name,
        overrides=hardware.overrides,
        what_ifs=what_if_results(read.graph),
        policy=options.policy,
        objective=options.objective,
        seed=asked.seed,
        weights=read.weights,
        executions=tuple(executions),
        warnings=graph.warnings,
    )
