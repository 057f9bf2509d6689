"""Layers that slide a window over a map, as random networks draw them."""

from __future__ import annotations

from typing import Any

from tests.support.random_sketch import LONGEST_SIDE, POINT, Sketch, Slide, window_attributes

_KERNELS = (1, 1, 2, 3, 3, 3, 5)


def convolution(sketch: Sketch, value: str = "", channels: int = 0) -> str:
    """A convolution of a map; of a point where its channels are told."""
    random, net = sketch.random, sketch.net
    value, point = value or sketch.pick(sketch.maps), channels > 0
    name, inputs = sketch.name("conv"), net.channels(value)
    groups = 1 if point else sketch.groups(inputs, 3)
    channels = channels or (groups * random.randint(1, 2) if groups > 1 else random.randint(1, 6))
    plane = sketch.plane(value)
    slides = [POINT] * len(plane) if point else sketch.slides(value, _KERNELS, 2)
    window = window_attributes(slides)
    if not point and sketch.chance(5):
        _pad_by_itself(sketch, window, plane, slides)
    shape = (channels, inputs // groups, *(slide.kernel for slide in slides))
    given = [value, sketch.kernel(name, shape)]
    if random.randrange(2):
        given.append(net.weight(f"{name}.bias", (channels,)))
    net.node("Conv", name, given, group=groups, **window)
    return sketch.made("depthwise" if groups == inputs > 1 else "convolution", name)


def _pad_by_itself(
    sketch: Sketch, window: dict[str, Any], plane: tuple[int, ...], slides: list[Slide]
) -> None:
    """Leave the padding to the operator, where the window fits without.

    No evaluator knows how to pad a dilated one.
    """
    if all(slide.reach <= size for slide, size in zip(slides, plane, strict=True)):
        del window["pads"]
        dilated = any(slide.dilation > 1 for slide in slides)
        ways = ("VALID",) if dilated else ("SAME_UPPER", "SAME_LOWER", "VALID")
        window["auto_pad"] = sketch.random.choice(ways)
        sketch.drawn.append("auto pad")


def transposed(sketch: Sketch) -> str:
    """A transposed convolution with gaps or overlaps, cropped, longer, dilated or in groups."""
    random, net = sketch.random, sketch.net
    value = sketch.pick(sketch.maps)
    plane = sketch.plane(value)
    if len(plane) > 2 or max(plane) > 5:
        return convolution(sketch, value)
    slides, more = [], []
    for _ in plane:
        kernel, dilation = random.randint(1, 4), random.choice((1, 1, 1, 2))
        stride = random.choice((1, 2, 2, 3))
        most = (kernel - 1) * dilation // 2
        slides.append(Slide(kernel, stride, dilation, random.randint(0, most), most))
        more.append(random.choice((0, 0, max(stride, dilation) - 1)))
    name, inputs = sketch.name("up"), net.channels(value)
    groups = sketch.groups(inputs, 4)
    outputs = random.randint(1, 3)
    shape = (inputs, outputs, *(slide.kernel for slide in slides))
    given = [value, sketch.kernel(name, shape)]
    if random.randrange(2):
        given.append(net.weight(f"{name}.bias", (groups * outputs,)))
    window = window_attributes(slides)
    net.node("ConvTranspose", name, given, group=groups, output_padding=more, **window)
    return sketch.made("transposed", name)


def pool(sketch: Sketch, value: str = "") -> str:
    """The maximum or the mean of a window, padding counted or not, sizes rounded up or down.

    Over volumes nothing but what ONNX's own evaluator knows, of which the replay takes the answer.
    """
    random, net = sketch.random, sketch.net
    value = value or sketch.pick(sketch.maps)
    op = random.choice(("MaxPool", "AveragePool"))
    plane = sketch.plane(value)
    volume, slides = len(plane) > 2, []
    for slide in sketch.slides(value, (1, 2, 2, 3, 3), 0):
        if volume:
            slide = slide._replace(dilation=1)
        # every window holds an element of the map
        most = slide.kernel - 1 if slide.dilation == 1 and not volume else 0
        before, after = (random.randint(0, most) for _ in range(2))
        slides.append(slide._replace(before=before, after=after))
    window = window_attributes(slides)
    shape: list[int] | None = None
    if not volume and sketch.chance(5):
        _pad_by_itself(sketch, window, plane, slides)
    elif not volume and sketch.chance(3):
        window["ceil_mode"] = 1
        # not as ONNX infers it: before version 22 it has windows of nothing but padding
        both = zip(slides, plane, strict=True)
        shape = [*net.shape(value)[:2], *(one.positions(n, round_up=True) for one, n in both)]
        sketch.drawn.append("rounded up")
    if op == "AveragePool":
        window["count_include_pad"] = random.randrange(2)
    return sketch.made(op, net.node(op, sketch.name("pool"), [value], shape=shape, **window))


def global_pool(sketch: Sketch) -> str:
    """The mean or the maximum of the whole plane."""
    value = sketch.pick(sketch.maps)
    op = sketch.random.choice(("GlobalAveragePool", "GlobalMaxPool"))
    return sketch.made(op, sketch.net.node(op, sketch.name("global"), [value]))


def tall_pool(sketch: Sketch) -> str:
    """All rows pooled into one, the columns by a window that slides."""
    value = sketch.pick(sketch.maps)
    plane = sketch.plane(value)
    if len(plane) != 2:
        return pool(sketch, value)
    column = sketch.slide(plane[1], (1, 2, 3), 0)
    slides = [Slide(plane[0], 1, 1, 0, 0), column._replace(dilation=1)]
    op = sketch.random.choice(("MaxPool", "AveragePool"))
    name = sketch.net.node(op, sketch.name("tall"), [value], **window_attributes(slides))
    return sketch.made(f"tall {op}", name)


def resized(sketch: Sketch) -> str:
    """A map enlarged by whole factors."""
    value = sketch.pick(sketch.maps)
    plane = sketch.plane(value)
    factors = sketch.random.choice(((2, 2), (2, 1), (1, 2), (3, 2), (1, 4)))
    size = tuple(extent * factor for extent, factor in zip(plane, factors, strict=False))
    if len(plane) != 2 or max(size) > LONGEST_SIDE:
        return convolution(sketch, value)
    ways = (("nearest", "asymmetric"), ("linear", "half_pixel"), ("linear", "asymmetric"))
    mode, coordinates = sketch.random.choice(ways)
    name = sketch.name("resize")
    sketch.net.resize(name, value, (size[0], size[1]), mode, coordinates)
    return sketch.made(f"resize {mode}", name)
