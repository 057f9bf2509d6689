"""Layers that need all channels, all rows or all features, as random networks draw them."""

from __future__ import annotations

from math import prod

from tests.support.random_sketch import Sketch


def over_channels(sketch: Sketch) -> str:
    """What needs all channels of a pixel: softmax, local response, a mean."""
    value = sketch.pick(sketch.maps)
    name, kind = sketch.name("pixel"), sketch.random.randrange(3)
    if kind == 0:
        return sketch.made("softmax", sketch.net.softmax(name, value, 1))
    if kind == 1 and len(sketch.plane(value)) == 2:
        size = sketch.random.choice((1, 2, 3, 5))
        return sketch.made("LRN", sketch.net.local_response_norm(name, value, size=size))
    axis = sketch.net.whole_numbers(f"{name}.axes", [1])
    op = sketch.random.choice(("ReduceMean", "ReduceMax", "ReduceSum"))
    return sketch.made(op, sketch.net.node(op, name, [value, axis], keepdims=1))


def over_rows(sketch: Sketch) -> str:
    """What needs all rows or all columns: a norm over planes, softmax along one axis."""
    value = sketch.pick(sketch.maps)
    name = sketch.name("sweep")
    if sketch.random.randrange(2):
        return sketch.made("instance norm", sketch.net.instance_norm(name, value))
    axis = sketch.random.randrange(2, len(sketch.net.shape(value)))
    return sketch.made("softmax of lines", sketch.net.softmax(name, value, axis))


def tokens(sketch: Sketch) -> str:
    """A map as (batch, tokens, features), or as (batch, features)."""
    value = sketch.pick(sketch.maps)
    batch, channels, *plane = sketch.net.shape(value)
    name = sketch.name("rows")
    if sketch.random.randrange(2):
        return sketch.made_rows("flat", sketch.net.node("Flatten", name, [value]))
    flat = sketch.net.reshape(f"{name}.flat", value, (batch, channels, prod(plane)))
    return sketch.made_rows("tokens", sketch.net.transpose(name, flat, (0, 2, 1)))


def attention(sketch: Sketch, value: str) -> str:
    """Tokens that look at each other, or at others of the same batch, scaled or not."""
    random, net = sketch.random, sketch.net
    name, batch = sketch.name("attention"), net.shape(value)[0]
    sketch.count += 4  # it is of so many layers more
    rows = [v for v in sketch.rows if len(net.shape(v)) == 3 and net.shape(v)[0] == batch]
    other = value if random.randrange(3) else random.choice(rows)
    sketch.read.add(other)
    features = random.randint(1, 4)
    query = net.linear(f"{name}.query", value, features, bias=random.randrange(2) > 0)
    key = net.linear(f"{name}.key", other, features, bias=False)
    turned = net.transpose(f"{name}.turned", key, (0, 2, 1))
    scores = net.node("MatMul", f"{name}.scores", [query, turned])
    if random.randrange(2):
        scores = net.node("Mul", f"{name}.scaled", [scores, net.constant(f"{name}.scale", 0.5)])
    looks = net.softmax(f"{name}.softmax", scores)
    seen = other if random.randrange(2) else net.linear(f"{name}.value", other, features)
    return sketch.made_rows("attention", net.node("MatMul", name, [looks, seen]))


def recurrent(sketch: Sketch, value: str) -> str:
    """A state that goes from token to token."""
    random, net = sketch.random, sketch.net
    op, gates = random.choice((("LSTM", 4), ("GRU", 3), ("RNN", 1)))
    name, state = sketch.name("recurrent"), random.randint(1, 3)
    features = net.shape(value)[2]
    turned = net.transpose(f"{name}.turned", value, (1, 0, 2))
    given = [
        turned,
        net.weight(f"{name}.inwards", (1, gates * state, features)),
        net.weight(f"{name}.onwards", (1, gates * state, state)),
    ]
    if random.randrange(2):
        given.append(net.weight(f"{name}.bias", (1, 2 * gates * state)))
    found = net.node(op, f"{name}.all", given, hidden_size=state)
    steps, _, batch, _ = net.shape(found)
    flat = net.reshape(f"{name}.flat", found, (steps, batch, state))
    return sketch.made_rows(op, net.transpose(name, flat, (1, 0, 2)))


def head(sketch: Sketch) -> str:
    """A step of what follows the maps: a product, a norm, softmax, a residual, attention."""
    if not sketch.rows:
        return tokens(sketch)
    value = sketch.pick(sketch.rows)
    if len(sketch.net.shape(value)) == 3 and sketch.chance(3):
        early = sketch.count < 5
        return attention(sketch, value) if early else recurrent(sketch, value)
    name, kind = sketch.name("head"), sketch.random.randrange(8)
    shape = sketch.net.shape(value)
    others = [v for v in sketch.rows if v != value and sketch.net.shape(v) == shape]
    if kind == 7 and others:
        other = sketch.random.choice(others)
        sketch.read.add(other)
        return sketch.made_rows("residual of rows", sketch.net.add(name, value, other))
    if kind == 6:
        return sketch.made_rows("softmax of rows", sketch.net.softmax(name, value))
    if kind == 5:
        # a large epsilon: small spreads would blow up the rounding of what came before
        norm = sketch.net.layer_norm(name, value, 1.0)
        return sketch.made_rows("layer norm", norm)
    if kind == 4:
        op = sketch.random.choice(("Relu", "Sigmoid", "Tanh"))
        return sketch.made_rows(op, sketch.net.activation(name, value, op))
    outputs = sketch.random.choice((shape[-1], sketch.random.randint(1, 5)))
    if len(shape) == 2 and kind > 1:
        return sketch.made_rows("Gemm", sketch.net.fully_connected(name, value, outputs))
    bias = sketch.random.randrange(2) > 0
    return sketch.made_rows("MatMul", sketch.net.linear(name, value, outputs, bias=bias))
