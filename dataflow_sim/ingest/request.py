"""What a user may ask of the reader beside the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """How to read a network.

    `dims` binds symbolic dimensions by name; `batch` and `input_size` (rows, columns) change
    those of the inputs; `branches` and `trips` choose, by node, the branch of an If and how
    often a Loop runs; `strict` refuses operators that are not understood.  `replaced` are operators
    that others stand for (`ingest.passes.replacements`); without `fold` every elementwise chain,
    addition and pooling is a layer of its own, without `fold_ahead` those that could only fold into
    the layers behind them are; with `copy_concats` what is joined is written once more as one map.
    """

    dims: Mapping[str, int] = field(default_factory=dict)
    batch: int | None = None
    input_size: tuple[int, int] | None = None
    branches: Mapping[str, str] = field(default_factory=dict)
    trips: Mapping[str, int] = field(default_factory=dict)
    strict: bool = False
    replaced: tuple[str, ...] = ()
    fold: bool = True
    fold_ahead: bool = True
    copy_concats: bool = False
