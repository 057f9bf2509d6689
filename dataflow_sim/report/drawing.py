"""What all pictures share: colours, style, scales, and their rendering to bytes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from dataflow_sim.traffic import Reason

# One hue for each kind of tensor, a lighter tone for what is read again: weights blue,
# maps orange and red, input and output green, partial sums violet (safe for colour blindness
# in their lightness as well).
COLOURS = {
    Reason.WEIGHT_FETCH: "#08519c",
    Reason.WEIGHT_REFETCH: "#9ecae1",
    Reason.INPUT_READ: "#006d2c",
    Reason.INPUT_REFETCH: "#a1d99b",
    Reason.MAP_FILL: "#d94801",
    Reason.MAP_REFILL: "#fdd0a2",
    Reason.MAP_SPILL: "#7f2704",
    Reason.PARTIAL_SUM_SPILL: "#54278f",
    Reason.PARTIAL_SUM_FILL: "#bcbddc",
    Reason.OUTPUT_WRITE: "#41ab5d",
    Reason.BURST_PADDING: "#969696",
    Reason.COMMAND_FETCH: "#525252",
}
WEIGHTS_COLOUR = COLOURS[Reason.WEIGHT_FETCH]
ENDS_COLOUR = COLOURS[Reason.OUTPUT_WRITE]
MAPS_COLOUR = COLOURS[Reason.MAP_FILL]
WRITTEN_COLOUR = COLOURS[Reason.MAP_REFILL]
RESIDENT_COLOUR = COLOURS[Reason.MAP_SPILL]
SUMS_COLOUR = COLOURS[Reason.PARTIAL_SUM_SPILL]
BUFFERS_COLOUR = "#3f6a8c"  # of which is not known what they hold

DPI = 150  # of pictures in pixels
PRINT_DPI = 300

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "dataflow_sim",
    "svg.fonttype": "path",
    "text.parse_math": False,  # names of layers may hold dollar signs
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def scale(largest_bytes: float) -> tuple[float, str]:
    """The decimal unit in which bytes up to the largest read best: its factor and name."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if largest_bytes >= factor:
            return factor, unit
    return 1.0, "B"


def clipped(text: str, longest: int) -> str:
    """A text of at most so many characters, its middle left out where it is longer.

    What cannot be printed, such as a line break, is shown as a question mark.
    """
    text = "".join(character if character.isprintable() else "?" for character in text)
    if len(text) <= longest:
        return text
    kept = longest - 3
    return f"{text[: kept - kept // 2]}...{text[len(text) - kept // 2 :]}"


def render(figure: Figure, kind: str, dpi: float = DPI) -> bytes:
    """A figure as `png` or `svg`, without a date or the renderer's version."""
    target = io.BytesIO()
    metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    figure.savefig(target, format=kind, dpi=dpi, metadata=metadata)
    return target.getvalue()


def pictures(draw: Callable[[], Figure], *kinds: str, dpi: float = DPI) -> dict[str, bytes]:
    """A figure, drawn in the common style, as bytes of each kind, `png` or `svg`."""
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # a name in a script that the font lacks is shown as boxes
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = draw()
        return {kind: render(figure, kind, dpi) for kind in kinds}
