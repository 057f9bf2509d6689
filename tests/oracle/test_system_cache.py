"""What a cache behind local memory holds: traffic drawn layer by layer against all choices, and
whole runs against the same ones without it.

More capacity spares no less only of the best choice: the cache takes what spares most for its room
and its time first, and that may stand in the way of two others, which together spare more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_sim.graph.layer import Tensor, TensorKind
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import load_hardware
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.pipeline import RunOptions, load_network, memory_options, prepare, run
from dataflow_sim.program.lowering import lower
from dataflow_sim.results import RunResult
from dataflow_sim.schedule.search import schedule_network
from dataflow_sim.simulate.ledger import count
from dataflow_sim.simulate.system_cache import NOTHING_HELD, Held, held
from dataflow_sim.traffic import Reason, TrafficKey
from tests.support.small import SMALL

UNLIMITED = 1 << 40

# what a cache may move in the place of DRAM, and what besides passes through it on the way
SPARED = {
    TensorKind.MAP: {Reason.MAP_SPILL, Reason.MAP_FILL, Reason.MAP_REFILL},
    TensorKind.WEIGHT: {Reason.WEIGHT_REFETCH},
    TensorKind.INPUT: {Reason.INPUT_REFETCH},
}
PASSING = {
    TensorKind.WEIGHT: {Reason.WEIGHT_FETCH},
    TensorKind.INPUT: {Reason.INPUT_READ},
}
MOVES = {
    TensorKind.MAP: (
        Reason.MAP_SPILL,
        Reason.MAP_FILL,
        Reason.MAP_REFILL,
        Reason.PARTIAL_SUM_SPILL,
        Reason.PARTIAL_SUM_FILL,
    ),
    TensorKind.WEIGHT: (Reason.WEIGHT_FETCH, Reason.WEIGHT_REFETCH),
    TensorKind.INPUT: (Reason.INPUT_READ, Reason.INPUT_REFETCH),
    TensorKind.OUTPUT: (Reason.OUTPUT_WRITE, Reason.MAP_FILL, Reason.MAP_REFILL),
    TensorKind.PARTIAL_SUM: (Reason.PARTIAL_SUM_SPILL, Reason.PARTIAL_SUM_FILL),
}


# ------------------------------------------------------------ traffic


@dataclass(frozen=True)
class Traffic:
    """Bits of each layer by tensor and reason; what all choices of a cache come to."""

    tensors: Mapping[str, Tensor]
    layers: tuple[Mapping[TrafficKey, int], ...]
    byte_bits: int = 8

    def held(self, capacity_bytes: int) -> Held:
        return held(self.layers, self.tensors, capacity_bytes, self.byte_bits)

    def size(self, name: str) -> int:
        tensor = self.tensors[name]
        return -(-tensor.elements * tensor.bits // self.byte_bits)

    def stay(self, name: str) -> range:
        """From the first layer that moves a tensor to the last one."""
        kind = self.tensors[name].kind
        own = SPARED[kind] | PASSING.get(kind, set())
        places = [
            place
            for place, layer in enumerate(self.layers)
            for key, bits in layer.items()
            if key.tensor == name and key.reason in own and bits
        ]
        return range(min(places), max(places) + 1)

    def spared(self, names: frozenset[str]) -> int:
        """Bits that do not reach DRAM."""
        return sum(
            bits
            for layer in self.layers
            for key, bits in layer.items()
            if key.tensor in names and key.reason in SPARED[self.tensors[key.tensor].kind]
        )

    @property
    def worthwhile(self) -> tuple[str, ...]:
        """Tensors of which something can be spared."""
        return tuple(
            name
            for name, tensor in self.tensors.items()
            if tensor.kind in SPARED and self.spared(frozenset({name}))
        )

    def content(self, names: frozenset[str]) -> list[int]:
        """Bytes in the cache at each layer."""
        return [
            sum(self.size(name) for name in names if place in self.stay(name))
            for place in range(len(self.layers))
        ]

    def choices(self, capacity_bytes: int) -> Iterator[frozenset[str]]:
        """All sets of tensors that fit."""
        for number in range(len(self.worthwhile) + 1):
            for names in map(frozenset, combinations(self.worthwhile, number)):
                if max(self.content(names)) <= capacity_bytes:
                    yield names

    def best(self, capacity_bytes: int) -> int:
        """The most bits that any choice spares."""
        return max(self.spared(names) for names in self.choices(capacity_bytes))


@st.composite
def traffic(draw: st.DrawFn) -> Traffic:
    """A few layers that move a few tensors, for every reason that their kind has."""
    kinds = draw(st.lists(st.sampled_from(list(MOVES)), min_size=1, max_size=6))
    tensors: dict[str, Tensor] = {}
    for number, kind in enumerate(kinds):
        name, elements = f"t{number}", draw(st.integers(1, 40))
        tensors[name] = Tensor(name, kind, (1, elements, 1, 1), draw(st.sampled_from((3, 8, 16))))
    moves = [
        TrafficKey(name, reason) for name, each in tensors.items() for reason in MOVES[each.kind]
    ]
    # sums of a tensor that the network does not have
    moves.append(TrafficKey("sums", Reason.PARTIAL_SUM_SPILL))
    layer = st.dictionaries(st.sampled_from(moves), st.integers(0, 500), max_size=6)
    layers = draw(st.lists(layer, min_size=1, max_size=5))
    return Traffic(tensors, tuple(layers), draw(st.sampled_from((8, 24))))


CAPACITIES = st.integers(0, 150)


# ------------------------------------------------------------ drawn traffic


@given(traffic(), CAPACITIES)
@settings(max_examples=70, deadline=None)
def test_what_is_held_never_exceeds_the_capacity(drawn: Traffic, capacity: int) -> None:
    found = drawn.held(capacity)
    content = drawn.content(found.tensors)
    assert found.peak_bytes == max(content) <= capacity


@given(traffic(), CAPACITIES)
@settings(max_examples=70, deadline=None)
def test_nothing_spares_more_than_the_best_choice(drawn: Traffic, capacity: int) -> None:
    assert drawn.spared(drawn.held(capacity).tensors) <= drawn.best(capacity)


@given(traffic())
@settings(max_examples=70, deadline=None)
def test_a_cache_of_any_size_spares_all_that_can_be_spared(drawn: Traffic) -> None:
    everything = frozenset(drawn.worthwhile)
    enough = sum(map(drawn.size, everything))
    for capacity in (enough, UNLIMITED):
        found = drawn.held(capacity)
        assert found.tensors == everything
        assert drawn.spared(found.tensors) == drawn.best(UNLIMITED)


@given(traffic())
@settings(max_examples=70, deadline=None)
def test_a_cache_that_no_tensor_fits_spares_nothing(drawn: Traffic) -> None:
    least = min(map(drawn.size, drawn.worthwhile), default=1)
    assert drawn.held(0) == drawn.held(least - 1) == NOTHING_HELD


@given(traffic(), CAPACITIES)
@settings(max_examples=70, deadline=None)
def test_what_is_left_out_does_not_fit_beside_what_stays(drawn: Traffic, capacity: int) -> None:
    found = drawn.held(capacity).tensors
    assert found <= frozenset(drawn.worthwhile)
    for name in frozenset(drawn.worthwhile) - found:
        assert max(drawn.content(found | {name})) > capacity


@given(traffic(), CAPACITIES)
@settings(max_examples=70, deadline=None)
def test_what_spares_most_for_its_room_and_time_is_held_if_it_fits(
    drawn: Traffic, capacity: int
) -> None:
    worth = {
        name: drawn.spared(frozenset({name})) / (drawn.size(name) * len(drawn.stay(name)))
        for name in drawn.worthwhile
        if drawn.size(name) <= capacity
    }
    best = [name for name in worth if worth[name] == max(worth.values())]
    if len(best) == 1:
        assert best[0] in drawn.held(capacity).tensors


@given(traffic(), CAPACITIES)
@settings(max_examples=70, deadline=None)
def test_outputs_and_partial_sums_pass_it_by(drawn: Traffic, capacity: int) -> None:
    found = drawn.held(capacity)
    for layer in drawn.layers:
        for key in layer:
            kind = drawn.tensors[key.tensor].kind if key.tensor in drawn.tensors else None
            spared = key.tensor in found.tensors and kind in SPARED and key.reason in SPARED[kind]
            assert found.spares(drawn.tensors, key) == spared
            if kind in (None, TensorKind.OUTPUT, TensorKind.PARTIAL_SUM) or key.reason in (
                Reason.OUTPUT_WRITE,
                Reason.PARTIAL_SUM_SPILL,
                Reason.PARTIAL_SUM_FILL,
                Reason.WEIGHT_FETCH,
                Reason.INPUT_READ,
            ):
                assert not spared


@given(traffic(), CAPACITIES)
@settings(max_examples=50, deadline=None)
def test_the_order_of_tensors_changes_nothing(drawn: Traffic, capacity: int) -> None:
    other = Traffic(
        {name: drawn.tensors[name] for name in reversed(list(drawn.tensors))},
        tuple({key: layer[key] for key in reversed(list(layer))} for layer in drawn.layers),
        drawn.byte_bits,
    )
    assert other.held(capacity) == drawn.held(capacity)


# ------------------------------------------------------------ by hand


def tensor(name: str, kind: TensorKind, size_bytes: int) -> Tensor:
    return Tensor(name, kind, (1, size_bytes, 1, 1), 8)


def test_more_capacity_may_spare_less() -> None:
    """Beside `a` there is no room for `b` in 4 bytes, but for `x` and `y`; in 5 bytes there is, and
    `b` stands in the way of both.

    layer   0   1   2
    4 bytes a   x   y
    5 bytes ab  b   b
    """
    tensors = {
        name: tensor(name, kind, size)
        for name, kind, size in (
            ("a", TensorKind.WEIGHT, 3),
            ("b", TensorKind.MAP, 2),
            ("x", TensorKind.WEIGHT, 4),
            ("y", TensorKind.WEIGHT, 4),
        )
    }
    layers = (
        {
            TrafficKey("a", Reason.WEIGHT_REFETCH): 300,
            TrafficKey("b", Reason.MAP_SPILL): 30,
        },
        {TrafficKey("x", Reason.WEIGHT_REFETCH): 36},
        {
            TrafficKey("y", Reason.WEIGHT_REFETCH): 36,
            TrafficKey("b", Reason.MAP_FILL): 30,
        },
    )
    found = Traffic(tensors, layers)
    less, more = found.held(4), found.held(5)
    assert less.tensors == {"a", "x", "y"}
    assert more.tensors == {"a", "b"}
    assert found.spared(less.tensors) == 372 > found.spared(more.tensors) == 360
    assert found.best(4) == found.best(5) == 372


def test_a_small_tensor_may_keep_a_large_one_out() -> None:
    """However much more the large one spares: what counts is what a byte spares."""
    tensors = {
        "small": tensor("small", TensorKind.WEIGHT, 1),
        "large": tensor("large", TensorKind.WEIGHT, 1000),
    }
    layers = (
        {
            TrafficKey("small", Reason.WEIGHT_REFETCH): 16,
            TrafficKey("large", Reason.WEIGHT_REFETCH): 8000,
        },
    )
    found = Traffic(tensors, layers)
    assert found.held(1000).tensors == {"small"}
    assert found.best(1000) == 8000
    assert found.held(1001).tensors == {"small", "large"}


def test_a_tensor_stays_from_its_first_move_to_its_last() -> None:
    """Two maps of 4 bytes in 4 bytes: one behind the other fits, one beside the other does not."""
    tensors = {name: tensor(name, TensorKind.MAP, 4) for name in "ab"}

    def layer(name: str, reason: Reason, bits: int) -> dict[TrafficKey, int]:
        return {TrafficKey(name, reason): bits}

    behind = (
        layer("a", Reason.MAP_SPILL, 32),
        layer("a", Reason.MAP_FILL, 32),
        layer("b", Reason.MAP_SPILL, 32),
        layer("b", Reason.MAP_FILL, 32),
    )
    assert Traffic(tensors, behind).held(4) == Held(frozenset("ab"), 4)
    beside = (behind[0], behind[2], behind[1], behind[3])
    assert Traffic(tensors, beside).held(4) == Held(frozenset("a"), 4)
    assert Traffic(tensors, beside).held(8) == Held(frozenset("ab"), 8)


def test_bytes_of_a_tensor_are_rounded_up_once() -> None:
    tensors = {"m": Tensor("m", TensorKind.MAP, (1, 11, 1, 1), 3)}
    found = Traffic(tensors, ({TrafficKey("m", Reason.MAP_SPILL): 33},))
    assert found.held(4) == NOTHING_HELD
    assert found.held(5) == Held(frozenset({"m"}), 5)


# ------------------------------------------------------------ whole runs


@lru_cache
def network(name: str) -> NetworkGraph:
    return graph_from_model(SMALL[name](), name) if name in SMALL else load_network(name)


@lru_cache
def result(name: str, policy: str, local: str, cache: str = "", burst: int = 1) -> RunResult:
    overrides = {"local_memory.capacity": local, "dram.burst": str(burst)}
    if cache:
        overrides |= {"system_cache.capacity": cache, "system_cache.energy": "1pJ/bit"}
    return run(network(name), load_hardware("bare", overrides), RunOptions(policy=policy))


RUNS = [
    ("mobilenet_v1@0.25", "layerwise", "256KiB"),
    ("residual", "layerwise", "256"),
    ("padded_chain", "resident", "512"),
    ("pooled_classifier", "merged", "1KiB"),
]


@pytest.mark.parametrize("cache", ["1", "1000", "20KiB", "1MiB"])
@pytest.mark.parametrize(("name", "policy", "local"), RUNS)
def test_bytes_by_reason_are_those_of_a_run_without_a_cache(
    name: str, policy: str, local: str, cache: str
) -> None:
    without, found = result(name, policy, local), result(name, policy, local, cache)
    assert without.system_cache is None
    assert found.system_cache is not None
    beside = found.system_cache.traffic
    for reason in Reason:
        total = found.traffic.of(reason) + beside.of(reason)
        assert total == without.traffic.of(reason), reason
    assert found.system_cache.peak_bytes <= found.system_cache.capacity_bytes
    assert sum(layer.traffic.total_bytes for layer in found.layers) == found.traffic.total_bytes


@pytest.mark.parametrize(("name", "policy", "local"), RUNS)
def test_a_cache_of_a_byte_is_none(name: str, policy: str, local: str) -> None:
    without, found = result(name, policy, local), result(name, policy, local, "1")
    assert found.system_cache is not None
    assert not found.system_cache.tensors
    assert found.system_cache.traffic.total_bytes == 0
    assert (found.traffic, found.energy, found.latency_s) == (
        without.traffic,
        without.energy,
        without.latency_s,
    )


@pytest.mark.parametrize(("name", "policy", "local"), RUNS)
def test_a_cache_of_any_size_leaves_what_is_compulsory(name: str, policy: str, local: str) -> None:
    """Inputs and weights once, outputs once, partial sums as often as they move."""
    without, found = result(name, policy, local), result(name, policy, local, "1MiB")
    left = {reason: value for reason, value in found.traffic.by_reason.items() if value}
    kept = {
        Reason.INPUT_READ,
        Reason.WEIGHT_FETCH,
        Reason.OUTPUT_WRITE,
        Reason.PARTIAL_SUM_SPILL,
        Reason.PARTIAL_SUM_FILL,
    }
    assert left == {
        reason: value
        for reason, value in without.traffic.by_reason.items()
        if value and reason in kept
    }


def test_every_reason_to_spare_occurs() -> None:
    spared: Counter[Reason] = Counter()
    for name, policy, local in RUNS:
        cached = result(name, policy, local, "1MiB").system_cache
        assert cached is not None
        spared.update(cached.traffic.by_reason)
    assert {reason for reason, value in spared.items() if value} == set().union(*SPARED.values())


def test_energy_of_maps_is_that_of_the_cache_and_no_longer_of_dram() -> None:
    """10 pJ for a bit of DRAM, 1 pJ for one of the cache, where nothing but maps is held."""
    name, policy, local = RUNS[0]
    without, found = result(name, policy, local), result(name, policy, local, "1MiB")
    assert found.system_cache is not None
    bits = found.system_cache.traffic.total_bytes * 8
    assert found.energy.system_cache_pj == bits > 0
    assert without.energy.dram_access_pj - found.energy.dram_access_pj == pytest.approx(10 * bits)


@pytest.mark.parametrize(("name", "policy", "local"), RUNS)
def test_energy_of_the_cache_is_of_what_it_spares_and_of_what_it_takes_in(
    name: str, policy: str, local: str
) -> None:
    """Weights and inputs that are held are taken in as a whole, once."""
    found = result(name, policy, local, "1MiB")
    assert found.system_cache is not None
    tensors = [network(name).tensors[each] for each in found.system_cache.tensors]
    taken = sum(each.elements for each in tensors if each.kind is not TensorKind.MAP)
    assert found.energy.system_cache_pj == 8 * (found.system_cache.traffic.total_bytes + taken)


@pytest.mark.parametrize("name", ["mobilenet_v1@0.25-64", "resnet18@32"])
def test_maps_that_are_held_pad_no_bursts(name: str) -> None:
    """What never is in DRAM moves no bursts there: padding is left of all other tensors alone."""
    found = result(name, "layerwise", "64KiB", "1GiB", burst=4096)
    options = RunOptions(policy="layerwise")
    machine = load_hardware("bare", {"local_memory.capacity": "64KiB"})
    graph = prepare(network(name), machine, options)
    schedule = schedule_network(graph, memory_options(machine, graph.byte_bits), "layerwise")
    padding: Counter[str] = Counter()
    for (_, key), bits in count(lower(graph, schedule), burst_bytes=4096).padding_bits.items():
        padding[key.tensor] += bits
    without = result(name, "layerwise", "64KiB", burst=4096)
    assert without.traffic.of(Reason.BURST_PADDING) * 8 == sum(padding.values())
    assert found.system_cache is not None
    maps = {
        each for each in found.system_cache.tensors if graph.tensors[each].kind is TensorKind.MAP
    }
    assert sum(padding[each] for each in maps)
    others = sum(bits for each, bits in padding.items() if each not in maps)
    assert found.traffic.of(Reason.BURST_PADDING) * 8 <= others
