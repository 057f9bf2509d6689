"""Types of the arrays that simulations work on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def counted(lengths: Ints) -> tuple[Ints, Ints]:
    """Of so many things each as often as it is long: which it is, and its number within."""
    which = np.repeat(np.arange(lengths.size), lengths)
    return which, np.arange(which.size) - np.repeat(np.cumsum(lengths) - lengths, lengths)
