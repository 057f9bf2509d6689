"""Open an ONNX file: parsed and safe to walk, not yet understood.

The weights are never read (a 30 GB model is opened like a small one): external data stays
external, wherever it claims to lie, and no file but the one named is opened.
"""

from __future__ import annotations

from mmap import ACCESS_READ, mmap
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from dataflow_sim.errors import NetworkError
from dataflow_sim.ingest.file.checks import check_graph
from dataflow_sim.ingest.file.wire import check_outline

_LARGEST_FILE_BYTES = 2**31 - 1  # of one message, by the definition of Protocol Buffers


def _parse(path: Path) -> onnx.ModelProto:
    """Parse a file that is there."""
    size_bytes = path.stat().st_size
    if size_bytes > _LARGEST_FILE_BYTES:
        raise NetworkError(
            f"'{path}' has {size_bytes:,} bytes; an ONNX file has at most "
            f"{_LARGEST_FILE_BYTES:,}: export the weights as external data"
        )
    if size_bytes == 0:
        raise NetworkError(f"'{path}' is not an ONNX file: it is empty")
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        check_outline(data, path.stem, path)
        with memoryview(data) as view:
            model: onnx.ModelProto = onnx.ModelProto.FromString(view)
            return model


def load_model(path: Path) -> onnx.ModelProto:
    """Parse an ONNX file without its external data, and check that it is well formed.

    Raises NetworkError naming the file, and the byte or the node where it is none.
    """
    try:
        if not path.exists():
            raise NetworkError(
                f"network file '{path}' does not exist; give an .onnx file or a name"
            )
        if path.is_dir():
            raise NetworkError(f"'{path}' is a directory; give the .onnx file inside it")
        if not path.is_file():
            raise NetworkError(f"'{path}' is no regular file; give an .onnx file")
        model = _parse(path)
    except (DecodeError, UnicodeDecodeError) as error:
        raise NetworkError(f"'{path}' is not an ONNX file: {error}") from None
    except OSError as error:
        raise NetworkError(f"'{path}' cannot be read: {error.strerror}") from None
    if not model.HasField("graph") or not model.graph.node:
        raise NetworkError(f"'{path}' is not an ONNX file: it holds no graph with nodes")
    if not model.opset_import:
        raise NetworkError(f"'{path}' is not an ONNX file: it imports no operator set")
    check_graph(model, path.stem)
    return model
