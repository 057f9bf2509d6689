"""Reviews in files: what `run --out` leaves for `report`, whole, as compressed JSON.

A file says which schema it follows; one of another is refused, since a report of half-understood
figures would be worse than none.
"""

from __future__ import annotations

import gzip
import json
import zlib
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from dataflow_sim.errors import InputError
from dataflow_sim.results_of_review import SCHEMA, Review

REVIEW = "review.json.gz"
_RESULT = "result.json"  # which every run leaves
_LEVEL = 6
_MOST_BYTES = 1 << 30  # of JSON; a review takes some megabytes


@cache
def _adapter() -> TypeAdapter[Review]:
    return TypeAdapter(Review)


def review_file(review: Review) -> bytes:
    """The file, the same bytes for the same review."""
    return gzip.compress(_adapter().dump_json(review), _LEVEL, mtime=0)


def read_review(name: str) -> Review:
    """The review in the directory that `run --out` wrote, or in the file itself.

    Raises InputError where there is none, and for one of another version.
    """
    path = Path(name)
    path = path / REVIEW if path.is_dir() else path
    try:
        with gzip.open(path) as file:
            text = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        if (path.parent / _RESULT).is_file() and path.name == REVIEW:
            raise InputError(
                f"'{path.parent}' has no {REVIEW}; write it anew by `run --out`"
            ) from None
        raise InputError(
            f"'{path}' does not exist; give the directory that `run --out` wrote"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"'{path}' cannot be read as a review: {error}") from None
    if len(text) > _MOST_BYTES:
        raise InputError(f"'{path}' holds more than {_MOST_BYTES:,} bytes; it is no review")
    return _decoded(text, path)


def _decoded(text: bytes, path: Path) -> Review:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InputError(f"'{path}' cannot be read as JSON: {str(error)[:120]}") from None
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SCHEMA:
        raise InputError(
            f"'{path}' follows the schema {str(schema)[:60]!r}, and {SCHEMA!r} is understood; "
            "write it anew with `run --out`"
        )
    try:
        return _adapter().validate_python(found)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(
            f"'{path}' is damaged at {place[:120]} ({first['msg']}), {error.error_count()} places "
            "in all; write it anew with `run --out`"
        ) from None
