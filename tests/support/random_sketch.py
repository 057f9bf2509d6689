"""A sheet to draw random networks on: the values so far, and windows that fit them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from dataflow_sim.networks.builder import OnnxBuilder

# what a map may grow to: small enough to run tile by tile in no time
LONGEST_SIDE = 10
MOST_CHANNELS = 8


class Slide(NamedTuple):
    """A window along one axis, with its padding before the first element and behind the last."""

    kernel: int
    stride: int
    dilation: int
    before: int
    after: int

    @property
    def reach(self) -> int:
        """Elements from the first tap to behind the last."""
        return (self.kernel - 1) * self.dilation + 1

    def positions(self, size: int, *, round_up: bool) -> int:
        """Windows along an axis of so many elements; none begins in the padding behind them."""
        span = size + self.before + self.after - self.reach
        if not round_up:
            return span // self.stride + 1
        return min(-(-span // self.stride), (size + self.before - 1) // self.stride) + 1


POINT = Slide(1, 1, 1, 0, 0)


def window_attributes(slides: Sequence[Slide]) -> dict[str, Any]:
    """How a node says its window."""
    return {
        "kernel_shape": [slide.kernel for slide in slides],
        "strides": [slide.stride for slide in slides],
        "dilations": [slide.dilation for slide in slides],
        "pads": [slide.before for slide in slides] + [slide.after for slide in slides],
    }


@dataclass
class Sketch:
    """A network under construction.

    `maps` are the values of shape (batch, channels, ...) that may be read, `rows` those whose
    last axis holds features; `read` those that are; `drawn` says what has been drawn so far.
    `kernels` are the learned constants by shape.
    """

    random: Random
    net: OnnxBuilder
    maps: list[str]
    rows: list[str] = field(default_factory=list)
    read: set[str] = field(default_factory=set)
    drawn: list[str] = field(default_factory=list)
    kernels: dict[tuple[int, ...], list[str]] = field(default_factory=dict)
    count: int = 0

    def chance(self, one_in: int) -> bool:
        """True once in so many."""
        return self.random.randrange(one_in) == one_in - 1

    def name(self, kind: str) -> str:
        """A name that no other value has."""
        self.count += 1
        return f"{kind}{self.count}"

    def pick(self, values: Sequence[str]) -> str:
        """One of the values, the latest more often than others."""
        found = values[-1] if self.random.randrange(5) < 3 else self.random.choice(values)
        self.read.add(found)
        return found

    def plane(self, value: str) -> tuple[int, ...]:
        """The spatial extents of a map."""
        return self.net.shape(value)[2:]

    def alike(self, value: str, *, channels: bool = True) -> list[str]:
        """Maps of the same shape, or of the same batch and plane."""

        def key(name: str) -> tuple[int, ...]:
            batch, depth, *plane = self.net.shape(name)
            return (batch, depth if channels else 0, *plane)

        return [other for other in self.maps if key(other) == key(value)]

    def made(self, kind: str, name: str) -> str:
        """A value that is a map, for others to read."""
        self.drawn.append(kind)
        self.maps.append(name)
        return name

    def made_rows(self, kind: str, name: str) -> str:
        """A value whose last axis holds features."""
        self.drawn.append(kind)
        self.rows.append(name)
        return name

    def kernel(self, name: str, shape: tuple[int, ...]) -> str:
        """A learned constant, now and then that of another layer."""
        shared = self.kernels.setdefault(shape, [])
        if shared and self.chance(3):
            self.drawn.append("shared kernel")
            return self.random.choice(shared)
        shared.append(self.net.weight(f"{name}.weight", shape))
        return shared[-1]

    def groups(self, channels: int, one_in: int) -> int:
        """Groups of a convolution: one, a divisor of the channels, or a group for each."""
        if channels == 1 or not self.chance(one_in):
            return 1
        divisors = [d for d in range(2, channels + 1) if channels % d == 0]
        return self.random.choice([*divisors, channels])

    def slide(self, size: int, kernels: Sequence[int], most_pad: int) -> Slide:
        """A window that fits at least once along an axis of so many elements."""
        fitting = [
            (kernel, dilation)
            for kernel in kernels
            for dilation in (1, 1, 1, 2, 3)
            if (kernel - 1) * dilation < size + 2 * most_pad
        ]
        kernel, dilation = self.random.choice(fitting or [(1, 1)])
        before, after = (self.random.randint(0, most_pad) for _ in range(2))
        before = after if self.random.randrange(2) else before
        short = max(0, (kernel - 1) * dilation + 1 - size - before - after)
        more = min(short, most_pad - before)
        stride = self.random.choice((1, 1, 1, 2, 2, 3))
        return Slide(kernel, stride, dilation, before + more, after + short - more)

    def slides(self, value: str, kernels: Sequence[int], most_pad: int) -> list[Slide]:
        """A window over a map, as often as not the same along all axes."""
        plane = self.plane(value)
        if self.random.randrange(2):
            return [self.slide(min(plane), kernels, most_pad)] * len(plane)
        return [self.slide(size, kernels, most_pad) for size in plane]
