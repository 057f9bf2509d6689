"""The closed form of sweeps against a walk of their loops, element by element."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_sim.graph.sweep import Cut, Sweep, SweepKind
from dataflow_sim.schedule.sweep import SweepProblem, SweptTensor, step_bits, tiling_costs
from dataflow_sim.schedule.sweep_frontier import sweep_frontier
from dataflow_sim.schedule.types import MemoryOptions
from tests.oracle import sweep_oracle as oracle
from tests.support.runs import buffering

# which loops index the inputs, which the output, by kind; of attention masks follow
_INPUTS = {
    "product": ("BGP", "BGN"),
    "attention": ("BGP", "BGN", "BGN"),
    "twice": ("BGPN",),
    "recurrent": ("BP", "GN", "G"),
}
_OUTPUT = {"product": "BGPN", "attention": "BGP", "twice": "BGPN", "recurrent": "BGP"}


@st.composite
def tensor(
    draw: st.DrawFn, sweep: tuple[int, int, int, tuple[int, ...]], loops: str, part: int | None
) -> oracle.OracleTensor:
    """A tensor indexed by these loops, along axes in any order."""
    batch, groups, rows, parts = sweep
    extents = {"B": batch, "G": groups, "P": rows, "N": sum(parts)}
    if part is not None:
        extents["N"] = parts[part]
    axes = draw(st.permutations(range(4)))
    shape = [draw(st.integers(1, 2)) for _ in range(4)]
    cuts = []
    for loop, axis in zip(loops, axes, strict=False):
        if extents[loop] == 1 and not (loop == "N" and part is not None):
            continue
        shape[axis] *= extents[loop]
        cuts.append((loop, axis, part if loop == "N" else None))
    n, c, h, w = shape
    return oracle.OracleTensor(
        (n, c, h, w), tuple(cuts), draw(st.sampled_from([3, 8])), draw(st.integers(0, 4)) == 0
    )


@st.composite
def sweeps(draw: st.DrawFn, largest: int = 5) -> oracle.OracleSweep:
    kind = draw(st.sampled_from(list(_INPUTS)))
    batch, groups = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    rows = draw(st.integers(1, largest))
    parts = tuple(draw(st.lists(st.integers(1, largest), min_size=1, max_size=2)))
    loops = (batch, groups, rows, parts)
    inputs = []
    for indexed in _INPUTS[kind]:
        several = kind == "attention" and "N" in indexed and len(parts) > 1
        for part in range(len(parts)) if several else (None,):
            inputs.append(draw(tensor(loops, indexed, part)))
    if kind in ("attention", "product"):
        for indexed in draw(st.lists(st.sampled_from(["PN", "GPN", "N", "BN", "P"]), max_size=2)):
            inputs.append(draw(tensor(loops, indexed, None)))
    outputs = [draw(tensor(loops, _OUTPUT[kind], None))]
    if kind == "recurrent":
        outputs.append(draw(tensor(loops, "BG", None)))
    constants = tuple(
        oracle.OracleTensor((1, draw(st.integers(1, 4)), 1, 1), (), 32)
        for _ in range(draw(st.integers(0, 1)))
    )
    return oracle.OracleSweep(
        kind=kind,
        batch=batch,
        groups=groups,
        rows=rows,
        parts=parts,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        constants=constants,
        sums=0 if kind == "product" else draw(st.integers(1, 4)),
        state=draw(st.integers(1, 3)) if kind == "recurrent" else 0,
        accumulator_bits=draw(st.sampled_from([20, 32])),
        double_buffer=draw(st.booleans()),
        backwards=draw(st.sampled_from([(), (0,), (groups - 1,)])) if kind == "recurrent" else (),
        alignment=draw(st.sampled_from([1, 1, 2, 16, 64])),
    )


def swept(
    role: str, tensor: oracle.OracleTensor, double: bool, *, output: bool = False
) -> SweptTensor:
    channels = tensor.shape[1]
    bits = channels * tensor.bits
    moved = bits if (tensor.stored if output else not tensor.resident) else 0
    access = tuple(Cut(*cut) for cut in tensor.cuts)
    held = 0 if tensor.resident else channels
    return SweptTensor(role, tensor.shape, access, tensor.bits, held, moved, bits, double)


def problem_of(spec: oracle.OracleSweep) -> SweepProblem:
    double = spec.double_buffer
    inputs = tuple(swept(f"input {n}", each, double) for n, each in enumerate(spec.inputs))
    outputs = tuple(
        swept(f"output {n}", each, double, output=True) for n, each in enumerate(spec.outputs)
    )
    sweep = Sweep(
        kind=SweepKind(spec.kind),
        batch=spec.batch,
        groups=spec.groups,
        rows=spec.rows,
        parts=spec.parts,
        views=tuple(each.access for each in inputs),
        outputs=tuple(each.access for each in outputs),
        sums=spec.sums,
        state=spec.state,
        backwards=spec.backwards,
    )
    constants = tuple(swept("constants", each, double) for each in spec.constants)
    memory = MemoryOptions(0, buffering(double), spec.accumulator_bits)
    memory = replace(memory, alignment_bytes=spec.alignment)
    return SweepProblem(sweep, inputs, outputs, constants, memory)


@given(sweeps(), st.data())
@settings(max_examples=600, deadline=None)
def test_closed_form_equals_the_walk(spec: oracle.OracleSweep, data: st.DataObject) -> None:
    order, sizes = data.draw(st.sampled_from(list(oracle.tilings(spec))))
    expected = oracle.simulate(spec, order, sizes)
    problem = problem_of(spec)
    costs = tiling_costs(problem, order, sizes)
    assert int(costs.local_bytes[0]) == expected.local_bytes
    assert int(costs.dram_bits[0]) == expected.dram_bits
    assert int(costs.steps[0]) == expected.steps
    assert sum(step_bits(problem, order, sizes)) == expected.step_bits
    for tensor, passes, reads, first in zip(
        spec.inputs, costs.passes, expected.reads, expected.first_reads, strict=True
    ):
        assert first == tensor.elements
        assert int(passes[0]) * tensor.elements == reads


@given(sweeps(largest=3))
@settings(max_examples=120, deadline=None)
def test_frontier_equals_exhaustive_search(spec: oracle.OracleSweep) -> None:
    found = sorted(
        (counts.local_bytes, counts.dram_bits)
        for counts in (oracle.simulate(spec, *tiling) for tiling in oracle.tilings(spec))
    )
    expected: list[tuple[int, int]] = []
    for local, bits in found:
        if not expected or bits < expected[-1][1]:
            expected.append((local, bits))
    problem = problem_of(spec)
    frontier = sweep_frontier(problem)
    points = zip(frontier.local_bytes.tolist(), frontier.dram_bits.tolist(), strict=True)
    assert list(points) == expected
    for rung in frontier.ladder[:, 0].tolist():
        choice = frontier.best(rung)
        assert choice is not None
        tiling = choice.tiling
        sizes = (tiling.batch_tile, tiling.group_tile, tiling.row_tile, tiling.column_tile)
        counts = oracle.simulate(spec, tiling.order, sizes)
        assert (choice.local_bytes, choice.dram_bits) == (counts.local_bytes, counts.dram_bits)
        assert tiling.steps == counts.steps
