"""Random small networks, drawn from a seed: every kind of window, fold, join, gate and head.

`drawing(seed)` is the same model for the same seed, whatever came before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import onnx

from dataflow_sim.networks.builder import OnnxBuilder
from tests.support.random_heads import head, over_channels, over_rows, tokens
from tests.support.random_sketch import LONGEST_SIDE, MOST_CHANNELS, Sketch
from tests.support.random_windows import (
    convolution,
    global_pool,
    pool,
    resized,
    tall_pool,
    transposed,
)

_ACTIVATIONS = (
    *("Relu", "Relu6", "Relu6", "Sigmoid", "PRelu", "Swish", "HardSigmoid", "HardSwish"),
    *("LeakyRelu", "Tanh", "Elu", "Abs", "Neg", "PRelu"),
)
MOST_NODES = 11


def _activation(sketch: Sketch, value: str) -> str:
    """An activation; the slopes of a PRelu are those of a plane."""
    op = sketch.random.choice(_ACTIVATIONS)
    return op if len(sketch.plane(value)) == 2 or op != "PRelu" else "Relu"


def folded(sketch: Sketch) -> str:
    """A convolution with what folds behind it: normalisation, activation, pooling."""
    value = convolution(sketch)
    sketch.maps.remove(value)
    if sketch.random.randrange(2):
        value = sketch.net.batch_norm(f"{value}.norm", value)
    if sketch.random.randrange(3):
        op = _activation(sketch, value)
        value = sketch.net.activation(f"{value}.{op.lower()}", value, op)
        sketch.drawn.append(op)
    sketch.made("folded", value)
    return pool(sketch, value) if sketch.chance(3) else value


def activated(sketch: Sketch) -> str:
    """A map through an activation, or normalised: alone, or in front of a layer that reads it."""
    value = sketch.pick(sketch.maps)
    name = sketch.name("point")
    if sketch.chance(3):
        return sketch.made("batch norm", sketch.net.batch_norm(name, value))
    op = _activation(sketch, value)
    return sketch.made(op, sketch.net.activation(name, value, op))


def scaled(sketch: Sketch) -> str:
    """A map times, or plus, a constant for each channel, or for each element of a map."""
    value = sketch.pick(sketch.maps)
    name, op = sketch.name("scaled"), sketch.random.choice(("Mul", "Add"))
    _, channels, *plane = sketch.net.shape(value)
    if sketch.random.randrange(2):
        constant = sketch.net.weight(f"{name}.constant", (channels, *[1] * len(plane)))
        return sketch.made("per channel", sketch.net.node(op, name, [value, constant]))
    constant = sketch.kernel(name, (1, channels, *plane))
    return sketch.made("constant map", sketch.net.node(op, name, [value, constant]))


def concat(sketch: Sketch) -> str:
    """Maps of the same plane side by side, now and then one of them twice."""
    value = sketch.pick(sketch.maps)
    like = sketch.alike(value, channels=False)
    parts = [value, *sketch.random.choices(like, k=sketch.random.randint(1, 2))]
    if len(like) == 1 or sum(map(sketch.net.channels, parts)) > MOST_CHANNELS:
        parts = [value, convolution(sketch, value, 2)]
    sketch.random.shuffle(parts)
    sketch.read.update(parts)
    return sketch.made("concat", sketch.net.concat(sketch.name("concat"), parts))


def joined(sketch: Sketch) -> str:
    """Two maps of one shape added, multiplied, subtracted or compared."""
    value = sketch.pick(sketch.maps)
    others = [other for other in sketch.alike(value) if other != value]
    if others and sketch.random.randrange(4):
        other = sketch.random.choice(others)
    else:
        other = convolution(sketch, value, sketch.net.channels(value))
    sketch.read.add(other)
    op = sketch.random.choice(("Add", "Add", "Add", "Mul", "Sub", "Max"))
    pair = sketch.random.sample((value, other), 2)
    return sketch.made(op, sketch.net.node(op, sketch.name(op.lower()), pair))


def gated(sketch: Sketch) -> str:
    """A map times what is made of its means, or of those of another."""
    value = sketch.pick(sketch.maps)
    source = value if sketch.random.randrange(2) else sketch.pick(sketch.maps)
    if len(sketch.net.shape(source)) != len(sketch.net.shape(value)):
        source = value
    name, gate = sketch.name("gate"), sketch.random.choice(("Sigmoid", "HardSigmoid"))
    means = sketch.net.global_average_pool(f"{name}.means", source)
    if sketch.random.randrange(2):
        means = convolution(sketch, means, sketch.random.randint(1, 3))
        means = sketch.net.activation(f"{means}.relu", means)
    excited = convolution(sketch, means, sketch.net.channels(value))
    excited = sketch.net.activation(f"{name}.{gate.lower()}", excited, gate)
    sketch.read.update((source, *sketch.maps[-2:]))
    return sketch.made("gate", sketch.net.multiply(name, value, excited))


def parts(sketch: Sketch) -> str:
    """Runs of the channels: split, all of which may be read, or sliced."""
    value = sketch.pick(sketch.maps)
    channels, name = sketch.net.channels(value), sketch.name("part")
    if channels > 1 and sketch.random.randrange(2):
        first = sketch.random.randint(1, channels - 1)
        found = sketch.net.split(name, value, [first, channels - first])
        for each in found:
            sketch.made("split", each)
        return found[-1]
    start = sketch.random.randrange(channels)
    stop = sketch.random.randint(start + 1, channels)
    return sketch.made("slice", sketch.net.slice(name, value, 1, start, stop))


def cropped(sketch: Sketch) -> str:
    """Some rows or columns of a map."""
    value = sketch.pick(sketch.maps)
    axis = sketch.random.randrange(2, len(sketch.net.shape(value)))
    size = sketch.net.shape(value)[axis]
    start = sketch.random.randrange(size)
    stop = sketch.random.randint(start + 1, size)
    step = sketch.random.choice((1, 1, 2))
    name = sketch.net.slice(sketch.name("crop"), value, axis, start, stop, step)
    return sketch.made("crop", name)


def shuffled(sketch: Sketch) -> str:
    """The channels of a map in another order, group by group."""
    value = sketch.pick(sketch.maps)
    shape, name = sketch.net.shape(value), sketch.name("shuffle")
    groups = sketch.groups(shape[1], 1)
    apart = (shape[0], groups, shape[1] // groups, *shape[2:])
    found = sketch.net.reshape(f"{name}.apart", value, apart)
    order = [0, 2, 1, *range(3, len(apart))]
    found = sketch.net.transpose(f"{name}.turned", found, order)
    return sketch.made("shuffle", sketch.net.reshape(name, found, shape))


def rearranged(sketch: Sketch) -> str:
    """Channels to blocks of the plane, or blocks to channels: a copy."""
    value = sketch.pick(sketch.maps)
    _, channels, *plane = sketch.net.shape(value)
    name = sketch.name("blocks")
    if len(plane) == 2 and channels % 4 == 0 and 2 * max(plane) <= LONGEST_SIDE:
        return sketch.made("copy", sketch.net.node("DepthToSpace", name, [value], blocksize=2))
    if len(plane) == 2 and not plane[0] % 2 and not plane[1] % 2 and 4 * channels <= MOST_CHANNELS:
        return sketch.made("copy", sketch.net.node("SpaceToDepth", name, [value], blocksize=2))
    return convolution(sketch, value)


# each with how often it is drawn
_STEPS: dict[Callable[[Sketch], str], int] = {
    convolution: 10,
    folded: 10,
    transposed: 4,
    pool: 5,
    global_pool: 2,
    tall_pool: 2,
    resized: 4,
    activated: 4,
    scaled: 2,
    concat: 6,
    joined: 6,
    gated: 3,
    parts: 3,
    cropped: 2,
    shuffled: 2,
    over_channels: 2,
    tokens: 1,
    head: 2,
}
# layers that no replay executes; in one network of seven
_COPIES: dict[Callable[[Sketch], str], int] = {rearranged: 10, over_rows: 10}


@dataclass(frozen=True)
class Drawing:
    """A model without weights, and what has been drawn in it."""

    model: onnx.ModelProto
    drawn: frozenset[str]


def _first_shape(random: Random) -> tuple[int, ...]:
    """Batch, channels and a plane, now and then of one row or column; seldom a line, a volume."""
    axes = random.choice((2,) * 14 + (1, 3))
    longest = {1: 16, 2: 8, 3: 4}[axes]
    plane = [random.randint(2, longest) for _ in range(axes)]
    if random.randrange(6) == 0:
        plane[random.randrange(axes)] = 1
    return (random.choice((1, 1, 2)), random.randint(1, 5), *plane)


def _outputs(sketch: Sketch, copies: list[str]) -> list[str]:
    """The ends of the network, some of them left unused, and now and then a value in between."""
    random = sketch.random
    values = [v for v in (*sketch.maps, *sketch.rows) if v not in copies]
    ends = [value for value in values if value not in sketch.read] or values[-1:]
    found = [value for value in ends if random.randrange(5)] or ends[-1:]
    if len(found) < len(ends):
        sketch.drawn.append("unused branch")
    between = [value for value in values if value in sketch.read]
    if between and sketch.chance(4):
        found.append(random.choice(between))
        sketch.drawn.append("output that is read")
    if len(found) > 1:
        sketch.drawn.append("several outputs")
    return found


def draw(random: Random) -> Drawing:
    """A random network."""
    shape = _first_shape(random)
    net = OnnxBuilder("drawn", shape)
    inputs = ["input"]
    if random.randrange(6) == 0:
        inputs.append(net.input("other", (shape[0], random.randint(1, 3), *shape[2:])))
    sketch = Sketch(random, net, list(inputs))
    steps = dict(_STEPS)
    if random.randrange(7) == 0:
        steps.update(_COPIES)
    size = min(random.randint(1, MOST_NODES), random.randint(1, MOST_NODES))
    heads = random.choice((0, 0, 0, 0, 2, 3, 4))
    while sketch.count < size - heads:
        random.choices(list(steps), list(steps.values()))[0](sketch)
    for _ in range(heads):
        head(sketch)
    return Drawing(net.model(*_outputs(sketch, inputs)), frozenset(sketch.drawn))


def drawing(seed: int) -> Drawing:
    """The random network of a seed."""
    return draw(Random(seed))
