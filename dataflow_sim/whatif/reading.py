"""What-ifs of how a file is read: sizes, operators that are replaced, folding."""

from __future__ import annotations

from dataclasses import replace

from dataflow_sim.ingest import REPLACEMENTS, ReadRequest
from dataflow_sim.whatif.contract import Asked, Stage, WhatIf, pair, whole, word

_LARGEST = 1 << 24


def _batch(request: ReadRequest, asked: Asked) -> ReadRequest:
    if request.batch is not None:
        raise asked.refused("--batch says it too; give one of them")
    return replace(request, batch=asked.whole())


def _input_size(request: ReadRequest, asked: Asked) -> ReadRequest:
    if request.input_size is not None:
        raise asked.refused("--input-size says it too; give one of them")
    assert isinstance(asked.value, tuple)
    rows, columns = asked.value
    return replace(request, input_size=(rows, columns))


def _replaced(name: str) -> WhatIf:
    old, _, new = name.partition("=")

    def read(request: ReadRequest, asked: Asked) -> ReadRequest:
        return replace(request, replaced=(*request.replaced, name))

    contract = REPLACEMENTS[name]
    return WhatIf(
        old,
        Stage.READING,
        word(new),
        f"{old} replaced by {new}",
        contract.before,
        contract.after,
        read=read,
    )


def _folding(request: ReadRequest, asked: Asked) -> ReadRequest:
    return replace(request, fold=asked.word() == "on")


WHAT_IFS = (
    WhatIf(
        "input_size",
        Stage.READING,
        pair("HxW", "x", 1, _LARGEST),
        "rows and columns of the input image, in pixels",
        "the network takes images",
        "inputs have that size, and constants derived from it follow",
        read=_input_size,
    ),
    WhatIf(
        "batch",
        Stage.READING,
        whole(1, _LARGEST),
        "images, or sequences, at a time",
        "inputs have an axis of images or sequences",
        "inputs hold so many",
        read=_batch,
    ),
    _replaced("gelu=relu"),
    _replaced("layer_norm=no_norm"),
    WhatIf(
        "folding",
        Stage.READING,
        word("on", "off"),
        "elementwise chains, additions and poolings fold into the layers before them, or do not",
        "layers may be followed by normalisation, activation, additions and poolings",
        "with off each of these is a layer of its own, whose map passes through memory",
        read=_folding,
    ),
)
