"""YAML files as plain data: the values, and the line and column of every key.

YAML 1.2; a key that stands twice is refused, as are brackets so deep that none could be meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from dataflow_sim.errors import InputError

KeyPath = tuple[str, ...]

_DEEPEST_NESTING = 100
# what the YAML library lets through for scalars that look like dates, numbers or tags
_BAD_SCALAR = (ValueError, TypeError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a key stands in its file; lines and columns count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class YamlFile:
    """What a file says: values as mappings, lists and scalars, and by path where each stands.

    A path has the keys of mappings and the numbers of list items, all as texts.
    """

    values: dict[str, Any]
    positions: Mapping[KeyPath, Position]


@lru_cache(maxsize=256)
def read_yaml(text: str, label: str, kind: str) -> YamlFile:
    """A file that is a mapping of keys; `kind` says in words what it should be, as in "a scenario".

    The same text is parsed once; whoever reads the values leaves them as they are.  Raises
    InputError with file, line and column.
    """
    try:
        if max(text.count("["), text.count("{")) > _DEEPEST_NESTING:
            raise InputError(f"{label}: brackets by the hundred; none is needed so deep")
        document = YAML(typ="rt").load(text)
    except DuplicateKeyError as error:
        key = str(error.problem or "").split(" with value")[0].removeprefix("found duplicate key ")
        raise InputError(
            f"{_marked(error, label)}: the key {key} stands twice; delete one"
        ) from None
    except MarkedYAMLError as error:
        raise InputError(f"{_marked(error, label)}: not YAML: {error.problem}") from None
    except (YAMLError, *_BAD_SCALAR) as error:
        raise InputError(f"{label}: not YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(document, CommentedMap):
        raise InputError(f"{label}: {kind} is a mapping of keys such as 'name: ...'")
    try:
        return YamlFile(_plain(document), _positions(document))
    except RecursionError:
        raise InputError(f"{label}: a key holds itself; write its values out") from None


def parse_value(text: str) -> Any:
    """The value that a text says.  Raises ValueError where it is no YAML."""
    try:
        if max(text.count("["), text.count("{")) > _DEEPEST_NESTING:
            raise ValueError("too many brackets")
        return _plain(YAML(typ="safe").load(text))
    except (YAMLError, *_BAD_SCALAR):
        raise ValueError("no YAML") from None


def _marked(error: MarkedYAMLError, label: str) -> str:
    """The file with the line and column that an error marks."""
    mark = error.problem_mark
    return label if mark is None else f"{label}:{mark.line + 1}:{mark.column + 1}"


def _plain(value: Any) -> Any:
    """Mappings and lists of the YAML library as those of the language, keys as texts."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value


def _positions(node: Any, path: KeyPath = ()) -> dict[KeyPath, Position]:
    """Where every key, and every item of a list, stands."""
    found: dict[KeyPath, Position] = {}
    if isinstance(node, CommentedMap):
        items = list(node.items())
    elif isinstance(node, CommentedSeq):
        items = list(enumerate(node))
    else:
        return found
    places = node.lc.data or {}
    for key, value in items:
        here = (*path, str(key))
        if key in places:
            line, column = places[key][:2]
            found[here] = Position(line + 1, column + 1)
        found.update(_positions(value, here))
    return found
