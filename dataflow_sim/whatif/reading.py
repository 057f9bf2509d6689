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
    return replace(request, fold=asked.word() != "off", fold_ahead=asked.word() == "on")


def _concat(request: ReadRequest, asked: Asked) -> ReadRequest:
    return replace(request, copy_concats=asked.word() == "copy")


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
        word("on", "behind", "off"),
        "elementwise chains, additions and poolings fold into the layers around them, into those "
        "before them alone, or not at all",
        "layers may be surrounded by normalisation, activation, additions and poolings",
        "with off each of these is a layer of its own, whose map passes through memory; with "
        "behind those are that would fold into the layers after them",
        read=_folding,
    ),
    WhatIf(
        "concat",
        Stage.READING,
        word("view", "copy"),
        "maps that are joined along channels are read where they lie, or written once more as one",
        "maps may be joined along their channels",
        "with copy each such concat is a layer that reads all and writes one map",
        read=_concat,
    ),
)
