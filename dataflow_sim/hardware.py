"""Hardware files: what a machine can hold, move and compute, and what that costs.

A hardware file is YAML.  The keys without a default below are required; quantities carry
their unit (`256KiB`, `6.4GB/s`, `10pJ/bit`) and are converted here, once.  Everything
wrong with a file is reported at once, with file, line and key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from dataflow_sim.errors import HardwareError, InputError
from dataflow_sim.resources import shipped_files
from dataflow_sim.units import (
    parse_bytes,
    parse_bytes_per_second,
    parse_hertz,
    parse_pj_per_bit,
    parse_pj_per_mac,
    parse_watt,
)

DEFAULT_HARDWARE = "vision_processor"

_DEEPEST_NESTING = 100
# a key that may hold one switch for all below it; an override of one leaves the others
_SWITCHES = "local_memory.double_buffer"
_MAXIMUM_ALIGNMENT = 1 << 16
_WIDTHS = frozenset(str(bits) for bits in range(1, 65))
# what the YAML library lets through for scalars that look like dates, numbers or tags
_BAD_SCALAR = (ValueError, TypeError, AttributeError, OverflowError, RecursionError)


def _quantity(parse: Callable[[object], float]) -> BeforeValidator:
    def convert(value: object) -> float:
        try:
            return parse(value)
        except InputError as error:
            raise ValueError(str(error)) from None

    return BeforeValidator(convert)


Bytes = Annotated[int, _quantity(parse_bytes)]
BytesPerSecond = Annotated[float, _quantity(parse_bytes_per_second)]
Hertz = Annotated[float, _quantity(parse_hertz)]
PjPerBit = Annotated[float, _quantity(parse_pj_per_bit)]
Watt = Annotated[float, _quantity(parse_watt)]
Bits = Annotated[int, Field(ge=1, le=64, strict=True)]
Switch = Annotated[bool, Field(strict=True)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_alias=True)


class PrecisionConfig(_Strict):
    """Bits per element of tensors whose width the network file does not state itself.

    `local_weights` is the width that the DMA unpacks narrower kernels to; left out, they lie
    in local memory as in DRAM.
    """

    weights: Bits = 8
    activations: Bits = 8
    local_weights: Bits | None = None

    @field_validator("local_weights")
    @classmethod
    def _unpacked(cls, value: int | None, info: ValidationInfo) -> int | None:
        weights = info.data.get("weights", 1)
        if value is not None and value < weights:
            raise ValueError(
                f"{value} bits in local memory are less than the {weights} that weights have in "
                f"DRAM; give {weights} or more, or lower precision.weights"
            )
        return value


class ComputeConfig(_Strict):
    """The array: multiply-accumulates per cycle at full use, its clock, its sums' width.

    `accumulator_memory` holds partial sums between the steps of a split reduction; left out,
    they lie in local memory.
    """

    macs_per_cycle: Annotated[int, Field(ge=1, strict=True)]
    clock_hertz: Annotated[Hertz, Field(alias="clock", gt=0)]
    accumulator_bits: Bits = 32
    accumulator_memory_bytes: Annotated[
        Annotated[Bytes, Field(ge=1)] | None, Field(alias="accumulator_memory")
    ] = None


class DoubleBufferConfig(_Strict):
    """Whose streamed tiles have two buffers; a single switch stands for all four."""

    inputs: Switch = True
    weights: Switch = True
    outputs: Switch = True
    partial_sums: Switch = True


def _switches(value: object) -> object:
    """A switch for all as one for each."""
    if isinstance(value, bool):
        return dict.fromkeys(DoubleBufferConfig.model_fields, value)
    if not isinstance(value, Mapping | DoubleBufferConfig):
        names = ", ".join(DoubleBufferConfig.model_fields)
        raise ValueError(f"true or false, or a switch each for {names}")
    return value


class LocalMemoryConfig(_Strict):
    """On-chip memory that tiles live in; `double_buffer` gives streamed tiles two buffers.

    Every buffer begins at a multiple of `alignment` and takes a multiple of it.  With `banks`
    above 1 memory consists of so many of equal size, and what a step reads as maps, reads as
    weights, and writes lies in banks apart.
    """

    capacity_bytes: Annotated[Bytes, Field(alias="capacity", ge=1)]
    double_buffer: Annotated[DoubleBufferConfig, BeforeValidator(_switches)] = DoubleBufferConfig()
    alignment_bytes: Annotated[Bytes, Field(alias="alignment")] = 1
    banks: Annotated[int, Field(ge=1, le=1024, strict=True)] = 1

    @field_validator("banks")
    @classmethod
    def _equal(cls, value: int, info: ValidationInfo) -> int:
        capacity = info.data.get("capacity_bytes")
        if capacity is not None and capacity % value:
            raise ValueError(
                f"{capacity} bytes make no {value} banks of equal size; give a capacity that "
                f"{value} divides, such as {capacity // value * value or value}B, or other banks"
            )
        return value

    @property
    def bank_bytes(self) -> int | None:
        """The size of a bank, None where there is one only."""
        return self.capacity_bytes // self.banks if self.banks > 1 else None

    @field_validator("alignment_bytes")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if not 1 <= value <= _MAXIMUM_ALIGNMENT or value & (value - 1):
            raise ValueError(
                f"{value} bytes are no alignment; give a power of two from 1B (none) to "
                f"{_MAXIMUM_ALIGNMENT // 1024}KiB"
            )
        return value


class DramConfig(_Strict):
    """External memory: peak bandwidth and energy per bit, the same both ways unless stated."""

    bandwidth_bytes_per_second: Annotated[BytesPerSecond, Field(alias="bandwidth", gt=0)]
    energy_pj_per_bit: Annotated[PjPerBit, Field(alias="energy")]
    read_pj_per_bit: Annotated[PjPerBit | None, Field(alias="energy_read")] = None
    write_pj_per_bit: Annotated[PjPerBit | None, Field(alias="energy_write")] = None

    @property
    def read_energy_pj_per_bit(self) -> float:
        """Energy of a bit read."""
        return self.energy_pj_per_bit if self.read_pj_per_bit is None else self.read_pj_per_bit

    @property
    def write_energy_pj_per_bit(self) -> float:
        """Energy of a bit written."""
        return self.energy_pj_per_bit if self.write_pj_per_bit is None else self.write_pj_per_bit


class EnergyConfig(_Strict):
    """Energies on chip: a MAC (one figure, or one for each width), local memory, static power.

    `mac` maps widths as `WEIGHTSxACTIVATIONS` to pJ; a single figure is that of `8x8`.
    """

    mac: dict[str, float]
    local_pj_per_bit: Annotated[PjPerBit, Field(alias="local")] = 0.0
    static_watt: Annotated[Watt, Field(alias="static_power")] = 0.0

    @field_validator("mac", mode="before")
    @classmethod
    def _table(cls, value: object) -> dict[str, float]:
        entries = value if isinstance(value, Mapping) else {"8x8": value}
        table: dict[str, float] = {}
        for key, text in entries.items():
            widths = str(key).split("x")
            if len(widths) != 2 or not all(w in _WIDTHS for w in widths):
                raise ValueError(f"{key!r} is not a pair of widths such as 8x8")
            try:
                table[str(key)] = parse_pj_per_mac(text)
            except InputError as error:
                raise ValueError(str(error)) from None
        if "8x8" not in table:
            raise ValueError("the table needs a figure for 8x8, which others are scaled from")
        return table

    def mac_pj(self, weight_bits: int, activation_bits: int) -> float:
        """pJ of a MAC of these widths: the table's, else the 8-bit figure x bits x bits / 64."""
        listed = self.mac.get(f"{weight_bits}x{activation_bits}")
        if listed is not None:
            return listed
        return self.mac["8x8"] * weight_bits * activation_bits / 64


class HardwareFile(_Strict):
    """One machine as its file describes it.

    `pooling` says who pools: a step of its own, the layer that produces a map, where nobody else
    reads that, or all layers that consume the pooled one, where they can (`graph.pooling`).
    """

    name: Annotated[str, Field(min_length=1)]
    description: str = ""
    source: str = ""
    precision: PrecisionConfig = PrecisionConfig()
    count_biases: Switch = True
    pooling: Literal["separate", "producer", "consumer"] = "producer"
    compute: ComputeConfig
    local_memory: LocalMemoryConfig
    dram: DramConfig
    energy: EnergyConfig


class Hardware(HardwareFile):
    """One machine.  `overrides` are the keys changed after reading, as (path, value) texts."""

    overrides: tuple[tuple[str, str], ...] = ()


def _position(document: CommentedMap, place: Sequence[int | str]) -> int | None:
    """1-based line of the innermost key of a place that the document holds."""
    node: Any = document
    line: int | None = None
    for key in place:
        if not isinstance(node, CommentedMap) or key not in node:
            break
        written = node.lc.data or {}  # keys set by an override have no line
        line = written[key][0] + 1 if key in written else None
        node = node[key]
    return line


def _legal_keys(place: Sequence[int | str]) -> list[str]:
    """Legal keys of the mapping that holds the last key of a place."""
    model: type[BaseModel] = HardwareFile
    for key in place[:-1]:
        inner = next(
            (f.annotation for n, f in model.model_fields.items() if (f.alias or n) == key), None
        )
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return [f.alias or name for name, f in model.model_fields.items()]


def _problem(error: Mapping[str, Any]) -> str:
    place = error["loc"]
    kind, text = error["type"], error["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        legal = _legal_keys(place)
        near = get_close_matches(str(place[-1]), legal, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        return f"unknown key; {hint}legal here are {', '.join(legal)}"
    if kind == "model_type":
        return "this is a group of keys, write them below it"
    if kind == "missing":
        return "required key is missing"
    shown = error.get("input")
    return text if repr(shown) in text else f"{text} (found {shown!r})"


def _validated(document: CommentedMap, label: str, overridden: Mapping[str, str]) -> Hardware:
    try:
        machine = HardwareFile.model_validate(dict(document))
        recorded = tuple(sorted(overridden.items()))
        return Hardware(
            **{name: getattr(machine, name) for name in HardwareFile.model_fields},
            overrides=recorded,
        )
    except ValidationError as failure:
        problems = []
        for error in failure.errors():
            path = ".".join(str(part) for part in error["loc"])
            line = _position(document, error["loc"])
            given = [key for key in overridden if key == path or key.startswith(f"{path}.")]
            if given and line is None:
                where = f"--set {given[0]}={overridden[given[0]]}"
            elif line is None:
                where = f"{label}: {path}"
            else:
                where = f"{label}:{line}: {path}"
            problems.append(f"{where}: {_problem(error)}")
        raise HardwareError("\n".join(problems)) from None


def _parse(text: str, label: str) -> CommentedMap:
    try:
        if max(text.count("["), text.count("{")) > _DEEPEST_NESTING:
            raise HardwareError(f"{label}: brackets by the hundred; none is needed so deep")
        document = YAML(typ="rt").load(text)
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        key = str(error.problem or "").split(" with value")[0].removeprefix("found duplicate key ")
        raise HardwareError(f"{label}:{line}: the key {key} stands twice; delete one") from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise HardwareError(f"{label}:{line}: not YAML: {error.problem}") from None
    except (YAMLError, *_BAD_SCALAR) as error:
        raise HardwareError(f"{label}: not YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(document, CommentedMap):
        raise HardwareError(f"{label}: a hardware file is a mapping of keys such as 'name: ...'")
    return document


def _override(document: CommentedMap, path: str, text: str) -> None:
    node: Any = document
    keys = path.split(".")
    for place, key in enumerate(keys[:-1]):
        held = node.get(key)
        if not isinstance(held, CommentedMap):
            switched = ".".join(keys[: place + 1]) == _SWITCHES and isinstance(held, bool)
            node[key] = CommentedMap(_switches(held) if switched else {})
        node = node[key]
    if not all(keys):
        raise HardwareError(f"--set {path}={text}: '{path}' is no dotted path of keys")
    try:
        if max(text.count("["), text.count("{")) > _DEEPEST_NESTING:
            raise ValueError("too many brackets")
        value = YAML(typ="safe").load(text)
    except (YAMLError, *_BAD_SCALAR):
        raise HardwareError(f"--set {path}={text[:60]}: the value is not YAML") from None
    node[keys[-1]] = CommentedMap(value) if isinstance(value, dict) else value


def hardware_path(name_or_path: str) -> Path:
    """The file of a shipped hardware's name, or the path itself.  Raises HardwareError."""
    shipped = shipped_files("hw_configs", ".yaml")
    if name_or_path in shipped:
        return shipped[name_or_path]
    path = Path(name_or_path)
    try:
        if path.is_file():
            return path
    except OSError as error:
        raise HardwareError(f"'{name_or_path[:60]}...': {error.strerror}") from None
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1 or path.is_dir():
        raise HardwareError(f"hardware file '{path}' does not exist or is no file")
    near = get_close_matches(name_or_path, shipped, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise HardwareError(
        f"unknown hardware '{name_or_path}'; {hint}give a .yaml file or one of {', '.join(shipped)}"
    )


def load_hardware(name_or_path: str, overrides: Mapping[str, str] | None = None) -> Hardware:
    """Read a hardware file, with some keys overridden by dotted path.

    Raises HardwareError with every problem of file and overrides, one a line.
    """
    path = hardware_path(name_or_path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HardwareError(f"hardware file '{path}' cannot be read: {error}") from None
    document = _parse(text, str(path))
    for key, value in (overrides or {}).items():
        _override(document, key, value)
    return _validated(document, str(path), overrides or {})
