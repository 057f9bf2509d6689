"""Open an ONNX file: parsed, not yet understood.

The weights are never read (a 30 GB model is opened like a small one): external data stays
external, wherever it claims to lie.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from dataflow_sim.errors import NetworkError


def load_model(path: Path) -> onnx.ModelProto:
    """Parse an ONNX file without its external data.  Raises NetworkError if it is none."""
    try:
        if not path.exists():
            raise NetworkError(
                f"network file '{path}' does not exist; give an .onnx file or a name"
            )
        if path.is_dir():
            raise NetworkError(f"'{path}' is a directory; give the .onnx file inside it")
        if not path.is_file():
            raise NetworkError(f"'{path}' is no regular file; give an .onnx file")
        model = onnx.load(path, load_external_data=False, format="protobuf")
    except (DecodeError, UnicodeDecodeError) as error:
        raise NetworkError(f"'{path}' is not an ONNX file: {error}") from None
    except OSError as error:
        raise NetworkError(f"'{path}' cannot be read: {error.strerror}") from None
    if not model.HasField("graph") or not model.graph.node:
        raise NetworkError(f"'{path}' is not an ONNX file: it holds no graph with nodes")
    if not model.opset_import:
        raise NetworkError(f"'{path}' is not an ONNX file: it imports no operator set")
    return model
