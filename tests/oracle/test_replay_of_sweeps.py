"""Every kind of sweep, tile by tile: its program gives what ONNX says its operator gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from dataflow_sim.errors import ProgramError
from dataflow_sim.graph.sweep import Sweep, SweepKind
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.program.instructions import Load, Program, Stream
from tests.support.streamed import (
    StreamCase,
    one_node,
    program_of,
    replayed,
    stream_case,
    swept_layer,
)

LSTM = {"x0": (3, 2, 3)}, {"w1": (1, 8, 3), "r2": (1, 8, 2), "b3": (1, 16)}
BOTH_LSTM = {"x0": (3, 2, 3)}, {"w1": (2, 8, 3), "r2": (2, 8, 2), "b3": (2, 16)}
GRU = {"x0": (3, 2, 3)}, {"w1": (1, 6, 3), "r2": (1, 6, 2), "b3": (1, 12)}
BOTH_GRU = {"x0": (3, 2, 3)}, {"w1": (2, 6, 3), "r2": (2, 6, 2), "b3": (2, 12)}
RNN = {"x0": (4, 2, 3)}, {"w1": (1, 3, 3), "r2": (1, 3, 3)}
HEADS = {"q0": (2, 4, 3, 4), "k1": (2, 2, 5, 4), "v2": (2, 2, 5, 3)}
FLAT = {"q0": (1, 3, 16), "k1": (1, 5, 8), "v2": (1, 5, 6)}
HALF_SEEN = np.array([[1, 0, 1, 1, 0], [1, 1, 1, 0, 0], [0, 0, 1, 1, 1]], bool)
MAP = {"x0": (2, 4, 3, 5)}
PLANES = {"s1": (4,), "b2": (4,)}
VOCABULARY = np.arange(60, dtype=np.float32).reshape(6, 10) - 20
MANY_WORDS = np.arange(300, dtype=np.float32).reshape(60, 5) - 100


def embedding(table: np.ndarray, *numbers: int) -> onnx.ModelProto:
    kinds = {"n1": TensorProto.INT64}
    return one_node("Gather", {"n1": numbers}, {"t0": table}, kinds=kinds)


def few_words() -> onnx.ModelProto:
    """Numbers below the size of a table that is smaller than the text."""
    model = embedding(VOCABULARY, 2, 4)
    less = helper.make_node("Mod", ["n1", "six"], ["m"], "mod")
    six = onnx.numpy_helper.from_array(np.array(6, np.int64), "six")
    model.graph.initializer.append(six)
    model.graph.node[0].input[1] = "m"
    model.graph.node.insert(0, less)
    return model


def rotary() -> onnx.ModelProto:
    """Pairs of the last axis turned by angles that the network is given, in primitives."""
    net = OnnxBuilder("rotary", (2, 3, 4, 6))
    angles = [net.input(name, (1, 1, 4, 6), TensorProto.FLOAT) for name in ("cos", "sin")]
    low, high = net.slice("low", "input", 3, 0, 3), net.slice("high", "input", 3, 3, 6)
    turned = net.concat("turned", [net.node("Neg", "neg", [high]), low], axis=3)
    kept = net.multiply("kept", "input", angles[0])
    return net.model(net.add("y", kept, net.multiply("moved", turned, angles[1])))


CASES = {
    "product": one_node("MatMul", {"a0": (2, 3, 4, 3), "b1": (2, 3, 3, 5)}, {}),
    "one right factor": one_node("MatMul", {"a0": (2, 2, 4, 3), "b1": (3, 5)}, {}),
    "integers": one_node(
        "MatMulInteger",
        {"a0": (4, 3), "b1": (3, 5)},
        {"z2": np.array(3, np.uint8), "z3": np.array([1, 2, 0, 4, 5], np.uint8)},
        kinds={"a0": TensorProto.UINT8, "b1": TensorProto.UINT8},
    ),
    "attention": one_node("Attention", HEADS, {}),
    "masked": one_node("Attention", HEADS, {"m3": HALF_SEEN}, scale=0.7),
    "masks of batches": one_node("Attention", {**HEADS, "m3": (2, 1, 3, 5)}, {}),
    "causal": one_node("Attention", FLAT, {}, q_num_heads=4, kv_num_heads=2, is_causal=1),
    "capped": one_node("Attention", FLAT, {}, q_num_heads=4, kv_num_heads=2, softcap=0.3),
    "behind a past": one_node(
        "Attention",
        {**HEADS, "p4": (2, 2, 3, 4), "p5": (2, 2, 3, 3)},
        {"m3": (3, 8)},
        outputs=("y", "present_key", "present_value"),
        is_causal=1,
    ),
    "instance norm": one_node("InstanceNormalization", MAP, PLANES, epsilon=0.01),
    "group norm": one_node("GroupNormalization", MAP, PLANES, num_groups=2),
    "group norm by group": one_node(
        "GroupNormalization", MAP, {"s1": (2,), "b2": (2,)}, opset=18, num_groups=2
    ),
    "one group": one_node("GroupNormalization", MAP, PLANES, num_groups=1),
    "layer norm of planes": one_node(
        "LayerNormalization", MAP, {"s1": (4, 3, 5), "b2": (4, 3, 5)}, axis=1
    ),
    "root mean square": one_node("RMSNormalization", MAP, {"s1": (3, 5)}, axis=2),
    "mean and variance": one_node("MeanVarianceNormalization", MAP, {}, opset=17),
    "softmax of rows": one_node("Softmax", MAP, {}, axis=2),
    "log of softmax": one_node("LogSoftmax", MAP, {}, axis=2),
    "hardmax": one_node("Hardmax", MAP, {}, axis=2),
    "norm": one_node("LpNormalization", MAP, {}, axis=2, p=2),
    "lstm": one_node("LSTM", *LSTM, outputs=("y", "h", "c"), hidden_size=2),
    "last of an lstm": one_node("LSTM", *LSTM, outputs=("", "h"), hidden_size=2),
    "backwards": one_node("LSTM", *LSTM, opset=14, hidden_size=2, direction="reverse"),
    "both ways": one_node(
        "LSTM", *BOTH_LSTM, opset=14, outputs=("y", "h"), hidden_size=2, direction="bidirectional"
    ),
    "gru": one_node("GRU", *GRU, outputs=("y", "h"), hidden_size=2),
    "reset behind": one_node("GRU", *GRU, hidden_size=2, linear_before_reset=1),
    "gru both ways": one_node("GRU", *BOTH_GRU, opset=14, hidden_size=2, direction="bidirectional"),
    "rnn by batch": one_node("RNN", *RNN, opset=14, hidden_size=3, layout=1),
    "rows of a table": embedding(MANY_WORDS, 1, 4),
    "rows of a table for two": embedding(MANY_WORDS, 2, 3),
    "rows of a small table": few_words(),
    "rotary": rotary(),
}


@lru_cache(maxsize=64)
def case(name: str) -> StreamCase:
    return stream_case(CASES[name], name)


def tilings(sweep: Sweep, every: bool) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    """Tilings in all orders: of all sizes, or of one index, of two, and of all."""
    rows = sweep.rows
    in_time = sweep.kind is SweepKind.RECURRENT
    if in_time and not sweep.turns:
        rows = 1
    extents = (sweep.batch, 1 if in_time else sweep.groups, rows, sweep.columns)
    sizes = [list(range(1, e + 1)) if every else sorted({1, min(2, e), e}) for e in extents]
    if in_time:
        sizes[2] = sorted({1, rows})
    for order, (b, g, p, n) in product(sweep.orders, product(*sizes)):
        if b == 1 or g == sweep.groups:
            yield order, (b, g, p, n)


def check(name: str, most: int | None) -> None:
    """All tilings, or some from end to end of the list, with one buffer and with two."""
    found = case(name)
    sweep = found.graph.layers[swept_layer(found)].sweep
    assert sweep is not None
    chosen = list(tilings(sweep, every=most is None))
    step = 1 if most is None else 1 + (len(chosen) - 1) // most
    for number, (order, sizes) in enumerate(chosen[::-step]):
        result = replayed(found, program_of(found, order, sizes, double=number % 2 == 1))
        assert result.whole == ()


@pytest.mark.parametrize("name", CASES)
def test_tilings(name: str) -> None:
    check(name, most=4)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_all_tilings(name: str) -> None:
    check(name, most=None)


# ---------------------------------------------------------------- programs with faults


def without(program: Program, index: int) -> Program:
    """The program without an instruction."""
    instructions = (*program.instructions[:index], *program.instructions[index + 1 :])
    return replace(program, instructions=instructions)


def with_step(program: Program, index: int, **changes: Any) -> Program:
    """The program with another step in the place of one."""
    instructions = list(program.instructions)
    step = instructions[index]
    assert isinstance(step, Stream)
    instructions[index] = step._replace(**changes)
    return replace(program, instructions=tuple(instructions))


FAULTY = [
    ("attention", "PN", (1, 1, 1, 2)),
    ("attention", "NP", (1, 2, 1, 2)),
    ("instance norm", "PN", (1, 1, 1, 2)),
    ("gru", "PN", (1, 1, 1, 2)),
]


@pytest.mark.parametrize(("name", "order", "sizes"), FAULTY)
def test_a_tile_that_is_not_loaded_is_found(
    name: str, order: str, sizes: tuple[int, int, int, int]
) -> None:
    found = case(name)
    program = program_of(found, order, sizes, double=False)
    loads = [n for n, each in enumerate(program.instructions) if isinstance(each, Load)]
    for index in loads[:: 1 + len(loads) // 8]:
        with pytest.raises(ProgramError, match="missing or stale"):
            replayed(found, without(program, index))


@pytest.mark.parametrize(("name", "order", "sizes"), FAULTY)
def test_running_sums_are_read_and_written_where_they_lie(
    name: str, order: str, sizes: tuple[int, int, int, int]
) -> None:
    """A step that starts them anew, or does not leave them, spoils the result."""
    found = case(name)
    program = program_of(found, order, sizes, double=False)
    steps = [(n, each) for n, each in enumerate(program.instructions) if isinstance(each, Stream)]
    going_on = [n for n, each in steps if each.sums is not None and not each.first]
    leaving = [n for n, each in steps if each.sums is not None and not each.last]
    assert going_on
    assert leaving
    for index in (going_on[0], going_on[-1]):
        with pytest.raises(AssertionError):
            replayed(found, with_step(program, index, first=True))
    for index in (leaving[0], leaving[-1]):
        with pytest.raises((AssertionError, ProgramError)):
            replayed(found, with_step(program, index, last=True))


def test_a_step_without_its_tiles_says_what_it_lacks() -> None:
    found = case("attention")
    program = program_of(found, "PN", (1, 1, 1, 2), double=False)
    steps = [n for n, each in enumerate(program.instructions) if isinstance(each, Stream)]
    step = program.instructions[steps[1]]
    assert isinstance(step, Stream)
    no_values = (*step.inputs[:2], ())
    with pytest.raises(ProgramError, match="finds nothing of its input 2"):
        replayed(found, with_step(program, steps[1], inputs=no_values))
    other = program.instructions[steps[0]]
    assert isinstance(other, Stream)
    with pytest.raises(ProgramError, match="missing or stale"):
        replayed(found, with_step(program, steps[1], inputs=other.inputs))


def test_a_result_that_is_not_finished_is_not_written() -> None:
    found = case("lstm")
    program = program_of(found, "PN", (1, 1, 1, 2), double=False)
    steps = [n for n, each in enumerate(program.instructions) if isinstance(each, Stream)]
    finished = next(
        each
        for each in program.instructions
        if isinstance(each, Stream) and any(parts for parts in each.outputs)
    )
    with pytest.raises(ProgramError, match="has not finished"):
        replayed(found, with_step(program, steps[0], outputs=finished.outputs))
