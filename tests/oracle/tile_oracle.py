"""Tiles of the plane, element by element: what each makes, and how long it lives.

Written from the definition: a chain of windows over one image of one channel a map; sets of
(row, column) instead of intervals.  Imports nothing of the package.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

Element = tuple[int, int]


@dataclass(frozen=True)
class Slide:
    """A window that slides over a map: kernel, stride, padding of both axes."""

    kernel: int
    stride: int
    pad: int

    def size(self, size: int) -> int:
        return (size + 2 * self.pad - self.kernel) // self.stride + 1

    def reads(self, made: set[Element], height: int, width: int) -> set[Element]:
        found = set()
        for row, column in made:
            for y, x in product(range(self.kernel), repeat=2):
                place = (row * self.stride - self.pad + y, column * self.stride - self.pad + x)
                if 0 <= place[0] < height and 0 <= place[1] < width:
                    found.add(place)
        return found


@dataclass(frozen=True)
class Walked:
    """Elements read from DRAM, elements that each layer makes, most that live at a firing."""

    read: int
    made: list[int]
    peak: int


def walk(
    slides: list[Slide], size: tuple[int, int], tile: tuple[int, int], halos: list[str]
) -> Walked:
    """Tiles of the last map, line by line; `halos` are those of all maps but the last."""
    sizes = [size]
    for slide in slides:
        sizes.append((slide.size(sizes[-1][0]), slide.size(sizes[-1][1])))
    height, width = sizes[-1]
    lines = [range(y, min(y + tile[0], height)) for y in range(0, height, tile[0])]
    columns = [range(x, min(x + tile[1], width)) for x in range(0, width, tile[1])]
    here: list[set[Element]] = [set() for _ in slides]  # made before, and still to be had
    born: list[dict[Element, int]] = [{} for _ in slides]
    lives: list[tuple[int, int]] = []  # first and last firing of each element made
    open_: list[dict[Element, int]] = [{} for _ in slides]  # last firing so far
    read, made_of, moment = 0, [0] * len(slides), 0

    def close(place: int, elements: set[Element]) -> None:
        for element in elements:
            lives.append((born[place].pop(element), open_[place].pop(element)))
        here[place] -= elements

    for line, beside in product(lines, columns):
        making = [set[Element]() for _ in slides] + [set(product(line, beside))]
        needs = [set[Element]() for _ in slides]
        for place in range(len(slides) - 1, -1, -1):
            needs[place] = slides[place].reads(making[place + 1], *sizes[place])
            kept = halos[place] == "cache" or (halos[place] == "cache-x" and beside.start > 0)
            if not kept:
                close(place, set(here[place]))
            making[place] = needs[place] - here[place]
        for place, slide in enumerate(slides):
            # the layer fires: what it reads of a map from outside comes, what it makes is there
            if place == 0:
                read += len(making[0])
                for element in making[0]:
                    born[0][element] = open_[0][element] = moment
                here[0] |= making[0]
            for element in needs[place]:
                open_[place][element] = moment
            made_of[place] += len(making[place + 1])
            if place + 1 < len(slides):
                for element in making[place + 1]:
                    born[place + 1][element] = open_[place + 1][element] = moment
                here[place + 1] |= making[place + 1]
            else:
                lives += [(moment, moment)] * len(making[place + 1])
            assert slide.kernel
            moment += 1
    for place in range(len(slides)):
        close(place, set(here[place]))
    change = [0] * (moment + 1)
    for first, last in lives:
        change[first] += 1
        change[last + 1] -= 1
    total, peak = 0, 0
    for each in change:
        total += each
        peak = max(peak, total)
    return Walked(read, made_of, peak)
