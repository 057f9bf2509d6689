"""What the talks say of pruning, narrow operands, sparsity and compression, by simulation."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import log2

import pytest

from dataflow_sim.energy.compute import by_winograd
from dataflow_sim.graph.analyses import layer_macs, live_peak_bytes
from dataflow_sim.graph.coding import Coding, coded_bits
from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.hardware import Hardware
from dataflow_sim.hardware.tables import ENERGY_TABLES
from dataflow_sim.ingest import graph_from_model
from dataflow_sim.networks.builder import OnnxBuilder
from dataflow_sim.pipeline import RunOptions, prepare, run
from dataflow_sim.schedule.bounds import compulsory_bytes
from dataflow_sim.whatif.selecting import kernels
from dataflow_sim.whatif.widths import average_bits
from tests.support.changed import changed, curve_of, held_fixed, machine, stored_bytes

KIB = 1024
# where merging matters, and is searched in a second
SMALL = "mobilenet_v1@0.25-32"


def macs(graph: NetworkGraph) -> int:
    return sum(map(layer_macs, graph.layers))


def coded_on(places: str, **more: str) -> Hardware:
    """A machine that keeps weights of one format as they are."""
    return machine(**{f"formats__weights__{places}": "array", **more})


# ------------------------------------------------------------ operations per parameter byte

# what of ResNet-50's operations and of its parameters is left, and which of these are not zero:
# inputs of the talk, by its own figures
MVD_04 = {
    "dense": (1.0, 1.0, (), 25.5, 300),
    "80 % sparse": (1.0, 1.0, ("sparsity=0.8",), 5.1, 1502),
    "coarse": (3.82 / 7.66, 17.2 / 25.5, (), 17.2, 222),
    "hybrid, 73 % sparse": (3.82 / 7.66, 1.0, ("sparsity=0.7294",), 6.9, 554),
    "hybrid, 4 bit": (3.82 / 7.66, 1.0, ("sparsity=0.7294", "weight_bits=4"), 3.45, 1107),
}


@pytest.mark.parametrize("row", MVD_04)
def test_mvd_04_operations_per_parameter_byte_of_resnet_50(row: str) -> None:
    operations_left, parameters_left, what_ifs, megabytes, ratio = MVD_04[row]
    sparse = [f"{each}:encoding=ideal" if "sparsity" in each else each for each in what_ifs]
    graph = changed("resnet50_v1", *sparse)
    operations = 2 * macs(graph) * operations_left
    kernels_bytes = stored_bytes(graph, coded_on("ideal"))
    dense_bytes = stored_bytes(changed("resnet50_v1"), machine())
    # scale and shift of normalisations, and biases, are parameters too: at the same part
    parameters = graph.parameters * kernels_bytes / dense_bytes * parameters_left
    assert parameters / 1e6 == pytest.approx(megabytes, rel=0.015)
    assert operations / parameters == pytest.approx(ratio, rel=0.015)


def test_mvd_04_real_index_bytes_stand_beside_the_ideal_ones() -> None:
    found = {}
    for places in ("ideal", "bitmap", "run_length", "csr"):
        graph = changed("resnet50_v1", f"sparsity=0.8:encoding={places}")
        found[places] = stored_bytes(graph, coded_on(places))
    dense = stored_bytes(changed("resnet50_v1"), machine())
    # widths of 1/256 bit
    assert found["run_length"] / dense == pytest.approx(0.2 * 1.5 / (1 - 0.8**16), rel=2e-3)
    assert found["ideal"] == pytest.approx(0.2 * dense, rel=1e-3)
    assert found["bitmap"] == pytest.approx(0.2 * dense + dense / 8, rel=1e-3)
    assert found["csr"] > found["bitmap"]
    assert all(found["ideal"] < each < dense for name, each in found.items() if name != "ideal")


# ------------------------------------------------------------ techniques

# technique: what-ifs, and how they move (operations, live set, parameter bytes, DRAM, energy):
# -1 lower, 0 the same, 1 higher; from 16 bits everywhere
TECHNIQUES = {
    "prune": (("prune=0.5:multiple=8",), (-1, -1, -1, -1, -1)),
    "8 bit": (("weight_bits=8", "activation_bits=8"), (0, -1, -1, -1, -1)),
    "4-bit weights": (("weight_bits=4",), (0, 0, -1, -1, -1)),
    "codebook": (("codebook=16",), (0, 0, -1, -1, -1)),
    "sparsity": (("sparsity=0.8:encoding=bitmap",), (0, 0, -1, -1, -1)),
    "8-bit maps": (("activation_bits=8",), (0, -1, 0, -1, -1)),
    "separable": (("separable=on",), (-1, 1, -1, None, None)),
}


@lru_cache(maxsize=4)
def figures_of(network: str, *what_ifs: str) -> tuple[float, ...]:
    """Operations, live set, parameter bytes, DRAM bytes and energy, from 16 bits everywhere."""
    hardware = machine(
        precision__weights="16",
        precision__activations="16",
        formats__weights__bitmap="array",
        formats__weights__codebook="array",
    )
    graph = changed(network, *what_ifs)
    result, ready = run(graph, hardware), prepare(graph, hardware, RunOptions())
    return (
        macs(graph),
        live_peak_bytes(ready),
        stored_bytes(graph, hardware),
        result.traffic.total_bytes,
        result.energy.total_pj,
    )


@pytest.mark.parametrize("technique", TECHNIQUES)
@pytest.mark.parametrize("network", ["mobilenet_v1", "resnet50", "vgg16"])
def test_mvd_05_techniques_and_what_they_lower(network: str, technique: str) -> None:
    """A split 3 x 3 layer has a map between its parts: the live set is no lower, as the talk would
    have it, and DRAM and energy follow whichever of weights and maps is more."""
    what_ifs, signs = TECHNIQUES[technique]
    if technique == "separable" and network == "mobilenet_v1":
        pytest.skip("every 3 x 3 layer of MobileNetV1 but the first is split already")
    figures = (figures_of(network), figures_of(network, *what_ifs))
    for was, now, sign in zip(*figures, signs, strict=True):
        if sign is not None:
            moved = (now > was) - (now < was)
            assert moved == sign or (technique == "separable" and sign == 1 and moved == 0)


def test_mvd_06_narrow_weights_are_worth_what_the_platform_makes_of_them() -> None:
    """Computed on, unpacked on the way, or neither: who can do less saves less."""
    before, after = changed(SMALL), changed(SMALL, "weight_bits=4")
    key, memory = "formats__weights__low_bits", {"local_memory__capacity": "2KiB"}
    found = []
    for support in ("computed", "dma", "none"):
        hardware = machine(**{key: support, **memory})
        held = held_fixed(before, after, hardware)
        energy = 80.0 * held.anew.total_bytes  # DRAM's, at 10 pJ/bit
        energy += run(after, hardware).energy.mac_pj
        found.append(
            (held.fixed.total_bytes, held.anew.total_bytes, energy, held.before.total_bytes)
        )
    computed, dma, neither = found
    assert neither[0] == neither[1] == neither[3]  # nothing in bandwidth
    assert computed[1] < dma[1] < neither[1]
    assert computed[2] < dma[2] < neither[2]
    # with the schedule held fixed whoever unpacks shrinks the fetches alike
    assert computed[0] == dma[0] < neither[0]
    assert dma[0] - dma[1] < computed[0] - computed[1]


# ------------------------------------------------------------ compression and merging

SNPS_05 = ("plain", "dma", "array")


def test_snps_05_compressed_weights_in_local_memory_lower_the_maps_too() -> None:
    """Where fetches cost less, too, kernels are fetched again rather than maps spilled: on smaller
    frames that moves the least memory without spills by a little (6,464 to 6,342 B at 48 x 48)."""
    graph = changed("mobilenet_v1@0.25-96", "weight_compression=0.5")
    curves = {}
    for support in SNPS_05:
        key = "none" if support == "plain" else support
        curves[support] = curve_of(graph, machine(formats__weights__packed=key)).points

    def at(support: str, local_bytes: int) -> tuple[int, int] | None:
        there = [p for p in curves[support] if p.local_bytes <= local_bytes]
        found = there[-1].to_json() if there else None
        return None if found is None else (found["dram_bytes"], found["map_bytes"])

    def least_without_spills(support: str) -> int:
        return next(p.local_bytes for p in curves[support] if p.to_json()["map_bytes"] == 0)

    budgets = sorted({p.local_bytes for points in curves.values() for p in points})
    lower = 0
    for budget in budgets:
        plain, kept = at("plain", budget), at("array", budget)
        if plain is not None:
            assert kept is not None
            assert kept[0] <= plain[0]
            lower += kept[1] < plain[1]
    assert lower
    assert least_without_spills("array") < least_without_spills("plain")
    assert least_without_spills("dma") == least_without_spills("plain")


def test_snps_05_expanded_at_the_dma_the_maps_of_a_fixed_schedule_stay() -> None:
    before, after = changed(SMALL), changed(SMALL, "weight_compression=0.5")
    hardware = machine(formats__weights__packed="dma", local_memory__capacity="2KiB")
    held = held_fixed(before, after, hardware)
    weights, maps = held.weights(), held.maps()
    assert 2 * weights[1] == weights[0]
    assert maps[1] == maps[0] > 0
    assert held.anew.total_bytes <= held.fixed.total_bytes < held.before.total_bytes


def test_snps_08_map_compression_lowers_maps_alone() -> None:
    before, after = changed(SMALL), changed(SMALL, "map_compression=0.5")
    hardware = machine(formats__maps__packed="dma", local_memory__capacity="2KiB")
    held = held_fixed(before, after, hardware)
    weights, maps = held.weights(), held.maps()
    assert 2 * maps[1] == maps[0] > 0
    assert weights[1] == weights[0]
    assert held.anew.total_bytes <= held.fixed.total_bytes < held.before.total_bytes


def test_snps_08_it_saves_less_than_weight_compression_does() -> None:
    hardware = machine(
        formats__maps__packed="dma",
        formats__weights__packed="dma",
        local_memory__capacity="2KiB",
    )
    plain = changed(SMALL)
    maps, weights = (
        held_fixed(plain, changed(SMALL, text), hardware)
        for text in ("map_compression=0.5", "weight_compression=0.5")
    )
    for pick in ("fixed", "anew"):
        assert getattr(weights, pick).total_bytes < getattr(maps, pick).total_bytes


# ------------------------------------------------------------ energy table, sharing, codes


def test_iiit_01_energies_of_32_bits() -> None:
    table = ENERGY_TABLES["32bit"]
    assert table.operations == {
        "int32 add": 0.1,
        "fp32 add": 0.9,
        "register file": 1.0,
        "int32 multiply": 3.1,
        "fp32 multiply": 3.7,
    }
    assert 32 * table.sram_pj_per_bit(32 * KIB) == pytest.approx(5)
    low, high = table.dram["DRAM"]
    assert 32 * low == 32 * high == 640
    assert 32 * low == pytest.approx(6400 * table.operations["int32 add"])
    assert table.mac_pj(32, 32, 32) == pytest.approx(3.2)
    found = machine(energy__table="32bit", precision__weights="32", precision__activations="32")
    assert found.energy.mac is not None  # what a file states goes before


@pytest.mark.parametrize("clusters", [2, 16, 32, 256])
def test_iiit_06_sharing_weights_compresses_by_32_over_log2_k(clusters: int) -> None:
    shape, elements = (256, 64, 3, 3), 256 * 64 * 9
    coding = Coding(values="codebook", entries=clusters)
    bits = coded_bits(coding, shape, Fraction(32))
    own = Fraction(32 * clusters, elements)  # of the codebook
    assert 32 / float(bits - own) == pytest.approx(32 / log2(clusters))
    assert float(own * elements / 8) == 4 * clusters
    graph = changed("vgg16", f"codebook={clusters}", "weight_bits=16")
    hardware = machine(
        precision__weights="16", formats__weights__codebook="dma", count_biases="false"
    )
    plain = stored_bytes(changed("vgg16"), hardware)
    books = 2 * clusters * len({layer.weight for layer in graph.layers if layer.weight})
    shared = stored_bytes(graph, hardware)
    # widths of 1/256 bit, rounded up: of one bit that is 0.4 %
    least = plain * log2(clusters) / 16 + books
    assert least <= shared <= least * (1 + 1 / 256 / log2(clusters)) + 1


# Han et al., ICLR 2016, table 4: the part of AlexNet's weights that is left, and bits of the rest
ALEXNET = {
    "conv1": (0.84, 8),
    "conv2": (0.38, 8),
    "conv3": (0.35, 8),
    "conv4": (0.37, 8),
    "conv5": (0.37, 8),
    "fc6": (0.09, 5),
    "fc7": (0.09, 5),
    "fc8": (0.25, 5),
}


def _alexnet(*more: str) -> NetworkGraph:
    texts = [
        f"sparsity={1 - left:.2f}:encoding=run_length:layer={name}"
        for name, (left, _) in ALEXNET.items()
    ]
    return changed("alexnet_caffe", *texts, *more)


def test_iiit_07_deep_compression_step_by_step() -> None:
    """Published of AlexNet: 9 x by pruning, 27 x with shared weights.  A count of zeros takes 4
    bits here and 4 or 5 there; weights of 32 bits are of 16 in the coded network, doubled."""
    hardware = machine(
        precision__weights="16",
        count_biases="false",
        formats__weights__run_length="dma",
        formats__weights__codebook="dma",
    )
    dense = 2 * stored_bytes(changed("alexnet_caffe"), hardware)
    pruned = _alexnet()
    tensors = [each.tensor for each in kernels(pruned, pruned.layers)]
    left = sum(tensor.elements * tensor.density for tensor in tensors)
    assert dense / 4 / float(left) == pytest.approx(9, rel=0.02)  # of the weights, 1 in 9
    books = [f"codebook={1 << bits}:layer={name}" for name, (_, bits) in ALEXNET.items()]
    shared = stored_bytes(_alexnet(*books), hardware)
    assert dense / shared == pytest.approx(27, rel=0.06)


def test_iiit_07_a_huffman_code_takes_less_than_the_numbers_of_a_codebook() -> None:
    hardware = machine(formats__weights__entropy="dma", formats__weights__codebook="dma")
    plain = stored_bytes(changed("alexnet_caffe"), hardware)
    coded = stored_bytes(changed("alexnet_caffe", "entropy=huffman"), hardware)
    shared = stored_bytes(changed("alexnet_caffe", "codebook=256"), hardware)
    assert coded < plain <= shared


def test_iiit_07_binary_weights_are_32_times_smaller_than_fp32() -> None:
    hardware = machine(precision__weights="32", count_biases="false")
    plain = stored_bytes(changed("alexnet_caffe"), hardware)
    binary = stored_bytes(changed("alexnet_caffe", "binary=weights"), hardware)
    assert plain == 32 * binary


# ------------------------------------------------------------ patterns, widths, distributions


@pytest.mark.parametrize(("stride", "kept"), [(2, "1of2"), (4, "1of4")])
def test_arm_03_structured_patterns(stride: int, kept: str) -> None:
    """A pattern of stride 2 leaves half of the weights, one of stride 4 a quarter."""
    dense = stored_bytes(changed("resnet50"), machine())
    zero = 1 - 1 / stride
    found = {}
    for places in ("dense", "bitmap", "run_length"):
        graph = changed("resnet50", f"sparsity={zero}:encoding={places}")
        hardware = machine() if places == "dense" else coded_on(places)
        found[places] = stored_bytes(graph, hardware) / dense
    for places in ("n_of_m", "structured"):
        graph = changed("resnet50", f"n_of_m={kept}:encoding={places}")
        found[places] = stored_bytes(graph, coded_on(places)) / dense
    left = 1 / stride
    assert found["dense"] == 1
    assert found["structured"] == left
    assert found["bitmap"] == pytest.approx(left + 1 / 8, rel=1e-3)
    assert found["n_of_m"] == left * (8 + log2(stride)) / 8
    assert found["run_length"] == pytest.approx(left * 12 / 8 / (1 - zero**16), rel=1e-3)
    assert found["structured"] < found["n_of_m"] < found["bitmap"]


def test_arm_05_int8_moves_a_quarter_of_fp32_and_less_where_more_fits() -> None:
    graph = changed("mobilenet_v1")
    wide, narrow = (
        prepare(graph, machine(), RunOptions(weight_bits=bits, activation_bits=bits))
        for bits in (32, 8)
    )
    for name, tensor in wide.tensors.items():
        assert tensor.bits == 4 * narrow.tensors[name].bits
    assert compulsory_bytes(wide) == 4 * compulsory_bytes(narrow)
    hardware = machine(
        precision__weights="32", precision__activations="32", local_memory__capacity="8KiB"
    )
    small = SMALL
    held = held_fixed(
        changed(small), changed(small, "weight_bits=8", "activation_bits=8"), hardware
    )
    assert held.before.total_bytes == 4 * held.fixed.total_bytes
    # at 8 KiB: a quarter by the widths, and less because more layers merge
    assert held.before.total_bytes > 4 * held.anew.total_bytes


@pytest.mark.parametrize(("tile", "fewer"), [(2, 2.25), (4, 4.0)])
def test_arm_06_winograd_multiplies_less_and_its_kernels_are_larger(
    tile: int, fewer: float
) -> None:
    net = OnnxBuilder("one", (1, 64, 56, 56))
    graph = graph_from_model(net.model(net.convolution("conv", "input", 64, 3)), "one")
    assert by_winograd(graph.layers[0])
    plain = run(graph, machine())
    keys = {"compute__winograd": f"{{tile: {tile}, weights: offline}}"}
    fast = run(graph, machine(**keys))
    assert plain.macs_executed / fast.macs_executed == fewer
    assert plain.macs == fast.macs
    assert fast.energy.mac_pj == plain.energy.mac_pj / fewer
    kernel = graph.tensors[graph.layers[0].weight or ""].elements
    assert stored_bytes(graph, machine(**keys)) == kernel * (tile + 2) ** 2 / 9
    assert fast.traffic.total_bytes > plain.traffic.total_bytes
    keys = {"compute__winograd": f"{{tile: {tile}}}"}
    assert run(graph, machine(**keys)).traffic.total_bytes == plain.traffic.total_bytes


def test_arm_07_mixed_precision_of_mobilenet_v2() -> None:
    graph = changed("mobilenet_v2", "mixed_precision=4.5:levels=8/4")
    found = [each.tensor for each in kernels(graph, graph.layers)]
    assert float(average_bits(found)) == pytest.approx(4.5, abs=0.1)
    narrow = [tensor.elements for tensor in found if tensor.bits == 4]
    wide = [tensor.elements for tensor in found if tensor.bits == 8]
    assert min(narrow) >= max(wide)  # the largest kernels first
    plain, mixed = run(changed("mobilenet_v2"), machine()), run(graph, machine())
    assert (
        stored_bytes(graph, machine())
        == sum(4 * n + 8 * w for n, w in [(sum(narrow), sum(wide))]) / 8
    )
    assert mixed.traffic.total_bytes < plain.traffic.total_bytes


def test_arm_08_a_fused_bottleneck_has_more_of_everything() -> None:
    split, fused = changed("mobilenet_v2"), changed("mobilenet_v2", "bottleneck=fused")
    assert fused.parameters > split.parameters
    assert macs(fused) > macs(split)
    channels, middle, area = 24, 144, 56 * 56  # block 3: expand, depthwise, project
    before = area * (channels * middle + 9 * middle)
    assert 9 * channels * middle * area / before == pytest.approx(9 * 24 / (24 + 9))


@pytest.mark.parametrize("target", [0.5, 0.8])
def test_arm_11_uniform_and_size_dependent_sparsity_reach_the_same_target(target: float) -> None:
    hardware, network = coded_on("bitmap"), "mobilenet_v2@0.5-96"
    found = {}
    for by in ("uniform", "size"):
        graph = changed(network, f"sparsity={target}:by={by}:encoding=bitmap")
        tensors = [each.tensor for each in kernels(graph, graph.layers)]
        total = sum(t.elements for t in tensors)
        zeros = sum(t.elements * (1 - t.density) for t in tensors)
        assert float(zeros) / total == pytest.approx(target, abs=1e-4)
        parts = {t.elements: float(1 - t.density) for t in tensors}
        held = held_fixed(changed(network), graph, hardware, "layerwise")
        assert held.anew.total_bytes <= held.fixed.total_bytes < held.before.total_bytes
        found[by] = (parts, held.anew.total_bytes)
    sizes = sorted(found["size"][0])
    ordered = [found["size"][0][size] for size in sizes]
    assert ordered == sorted(ordered)
    assert ordered[0] < target < ordered[-1]
    # the bytes of a bitmap go with the zeros of all kernels together; refetches differ a little
    assert found["size"][1] == pytest.approx(found["uniform"][1], rel=0.02)


# ------------------------------------------------------------ platforms


@pytest.mark.parametrize(
    ("name", "gflops", "watt", "printed"),
    [("kryo", 17.2, 2.05, 8.4), ("titan_xp", 12_000, 250, 48)],
)
def test_b17_01_platforms(name: str, gflops: float, watt: float, printed: float) -> None:
    found = machine(name)
    rate = float(found.compute.macs_per_cycle_of(32, 32)) * found.compute.clock_hertz
    assert 2 * rate == pytest.approx(gflops * 1e9, rel=1e-3)
    power = rate * found.mac_pj(32, 32) * 1e-12 + found.energy.static_watt
    assert power == pytest.approx(watt, rel=1e-3)
    assert round(2 * rate / 1e9 / power, 1) == printed
