"""What a scenario file may say: strict models of its keys, each with what it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from dataflow_sim.errors import InputError

_BESIDE = "a file is looked for beside the scenario first"
Scalar = str | int | float | bool
Policy = Literal["layerwise", "resident", "merged"]
Objective = Literal["dram", "energy", "latency", "edp", "energy-delay"]
Halo = Literal["recompute", "cache-x", "cache", "best"]
KernelsOf = Literal["resident", "refetch", "best"]
PictureKind = Literal["lines", "steps", "bars", "points", "heap", "matrix"]


def _listed(value: Any) -> Any:
    """One value as a list of one."""
    return [value] if isinstance(value, str) else value


_TEXT = {"type": "string"}
_ONE_OR_MORE = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}
Texts = Annotated[list[str], BeforeValidator(_listed), WithJsonSchema(_ONE_OR_MORE)]


class Strict(BaseModel):
    """Frozen, and without keys that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Settings(Strict):
    """What a point runs; a key that is left out is as on the command line."""

    network: str | None = Field(None, description=f"an .onnx file or a built-in name; {_BESIDE}")
    hardware: str | None = Field(None, description=f"a hardware file or a shipped name; {_BESIDE}")
    policy: Policy | None = Field(
        None,
        description="what schedules may do: every layer alone and every map through DRAM "
        "(`layerwise`), maps may stay in local memory (`resident`), layers may also run together "
        "(`merged`)",
    )
    objective: Objective | None = Field(
        None,
        description="what the schedule is the best in: DRAM bytes, energy, latency, or their "
        "product (`edp`, the same as `energy-delay`)",
    )
    local_memory: str | int | None = Field(
        None, description="size of local memory, as 256KiB, or in bytes"
    )
    batch: int | None = Field(None, ge=1, description="images, or sequences, at a time")
    input_size: str | None = Field(None, description="rows x columns of the image, as 320x320")
    weight_bits: int | None = Field(None, ge=1, le=64, description="width of all weights")
    activation_bits: int | None = Field(None, ge=1, le=64, description="width of all maps")
    frames: int | None = Field(
        None,
        ge=1,
        description="frames in a row: weights may stay from one to the next",
    )
    fps: float | None = Field(
        None, gt=0, le=1e9, description="frames a second that are wanted, of which `verdict` tells"
    )
    in_flight: int | None = Field(None, ge=1, le=2, description="frames under way at a time")
    layers: str | None = Field(
        None, description="FIRST:LAST, only these layers, by name or by number from 1"
    )
    force_group: str | None = Field(
        None, description="FIRST:LAST, layers that run as one group; with `policy: merged`"
    )
    tile: str | None = Field(
        None, description="width x height of that group's tiles, in pixels of its last layer"
    )
    halo: Halo | None = Field(
        None,
        description="what that group's tiles have in common is made again (`recompute`), kept "
        "along a line of tiles (`cache-x`), kept (`cache`), or what moves least (`best`)",
    )
    weights: KernelsOf | None = Field(
        None,
        description="that group's kernels stay (`resident`), are fetched again in every firing "
        "(`refetch`), or what moves least (`best`)",
    )
    what_ifs: Texts = Field(
        [], description="changes of the network, as `--what-if` takes them: prune=0.5:multiple=8"
    )
    dims: dict[str, int] = Field({}, description="symbolic dimensions by name")
    branches: dict[str, Literal["then", "else"]] = Field(
        {}, description="branches that Ifs take, by name of the node"
    )
    trips: dict[str, int] = Field({}, description="how often Loops run, by name of the node")
    set: dict[str, Any] = Field(
        {}, description="keys of the hardware file by dotted path, as dram.energy: 20pJ/bit"
    )


class Range(Strict):
    """Sizes or numbers in equal ratios, both ends among them."""

    least: str | int | float = Field(
        alias="from", description="the first value: a size for `local_memory`, else a number"
    )
    most: str | int | float = Field(alias="to", description="the last value, above the first")
    per_octave: int | None = Field(None, ge=1, le=64, description="so many to each doubling")
    points: int | None = Field(None, ge=2, le=100_000, description="so many altogether")

    @model_validator(mode="after")
    def _one_of_both(self) -> Range:
        if (self.per_octave is None) == (self.points is None):
            raise ValueError("give per_octave or points, one of them")
        return self


def part_of(text: str) -> float:
    """A part such as `3%` as a number.  Raises ValueError."""
    number = text.strip().removesuffix("%")
    if not text.strip().endswith("%") or not number.replace(".", "", 1).isdigit():
        raise ValueError(f"'{text[:40]}' is no part; write a percentage such as 1.5%")
    return float(number) / 100


def _part(text: str) -> str:
    part_of(text)
    return text


Percentage = Annotated[str, AfterValidator(_part), Field(examples=["3%"])]


class Expectation(Strict):
    """What a value should be.  A list of values is held to a list, element by element."""

    label: str = Field(description="what is measured, in words")
    value: str = Field(description="an expression")
    equals: str | int | float | list[float] | None = Field(None, description="the value is this")
    at_least: str | int | float | None = Field(None, description="the value is this or more")
    at_most: str | int | float | None = Field(None, description="the value is this or less")
    above: str | int | float | None = Field(None, description="the value is more than this")
    below: str | int | float | None = Field(None, description="the value is less than this")
    holds: bool | None = Field(
        None, description="`true`: the value holds, of an array each element; `false`: it does not"
    )
    within: Percentage | None = Field(None, description="with equals: a part of the number")
    by: float | None = Field(None, ge=0, description="with equals: so much more or less")
    digits: int | None = Field(
        None,
        ge=0,
        le=12,
        description="with equals: printed digits behind the point, rounded or cut off",
    )
    refuted: str | None = Field(
        None, description="why the claim does not hold here: the expectation must then fail"
    )
    unit: str = Field("", description="unit of the number, for the page of results")

    @model_validator(mode="after")
    def _one_relation(self) -> Expectation:
        given = [name for name in RELATIONS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of {', '.join(RELATIONS)}")
        tolerances = [n for n in ("within", "by", "digits") if getattr(self, n) is not None]
        if tolerances and (given != ["equals"] or len(tolerances) > 1):
            raise ValueError("one of within, by and digits goes with equals")
        return self


RELATIONS = ("equals", "at_least", "at_most", "above", "below", "holds")


_RELATIVE = (
    "numbers become parts of those of the row with these values, all other axes the same; a number "
    "over 0 is left empty"
)
_WHERE = "only rows with these values, by column; a list of values keeps its order"
_ROWS = "which rows: of points, of their layers, or of the breakpoints of their curves"


class Shown(Strict):
    """A table on the page of results."""

    title: str = Field("", description="what it shows")
    of: Literal["points", "layers", "breakpoints"] = Field("points", description=_ROWS)
    columns: list[str] = Field(description="columns, in order")
    where: dict[str, Any] = Field({}, description=_WHERE)
    relative_to: dict[str, Any] = Field({}, description=_RELATIVE)
    limit: int = Field(40, ge=1, le=1000, description="rows at most")


class Picture(Strict):
    """A picture on the page of results, `.png` and `.svg`."""

    file: str = Field(
        pattern=r"^[A-Za-z0-9_-]{1,60}$",
        description="name without a suffix, of letters, digits, hyphens and underscores",
    )
    kind: PictureKind = Field(
        description="how it is drawn: values joined (`lines`), that hold until the next (`steps`), "
        "side by side (`bars`), apart (`points`), areas over the rows (`heap`), or a coloured cell "
        "for each value (`matrix`)"
    )
    title: str = Field(description="what it shows")
    of: Literal["points", "layers", "breakpoints"] = Field("points", description=_ROWS)
    x: str = Field(description="column along the horizontal axis")
    y: Texts = Field(description="columns of values")
    by: Texts = Field([], description="columns that tell series apart")
    where: dict[str, Any] = Field({}, description=_WHERE)
    relative_to: dict[str, Any] = Field({}, description=_RELATIVE)
    log: list[Literal["x", "y"]] = Field([], description="axes that are logarithmic")
    x_label: str = Field("", description="text along it; by default the column's name")
    y_label: str = Field("", description="text along it; by default the columns' names")
    limit_line: float | None = Field(None, description="a line across at this value")


class Knee(Strict):
    """The least memory from which on a column stays within so much of its floor."""

    within: Percentage = Field("5%", description="how far above the floor is still met")
    floor: str = Field("compulsory_bytes", description="column of the floor")
    of: str = Field("dram_bytes", description="column that falls towards the floor")
    against: str = Field("local_memory_bytes", description="column that is wanted low")


class Pareto(Strict):
    """The points that no other one beats: as good in every column, better in one."""

    least: list[str] = Field([], description="columns that are wanted low")
    most: list[str] = Field([], description="columns that are wanted high")

    @model_validator(mode="after")
    def _two(self) -> Pareto:
        if len(self.least) + len(self.most) < 2:
            raise ValueError("name two columns or more under least and most")
        return self


class Needs(Strict):
    """The least of a column from which on a target is always met."""

    least: str = Field(description="column that is wanted low")
    target: str = Field(description="a condition, as dram_bytes <= 10 * MB")


class Sensitivity(Strict):
    """How each axis moves a column, all other axes the same."""

    of: str = Field(description="column that is moved")


class Question(Strict):
    """A question over the points; exactly one kind."""

    ask: str = Field("", description="the question in words; by default made of its keys")
    knee: Knee | None = Field(None, description="the least memory near the floor")
    pareto: Pareto | None = Field(None, description="the points that no other one beats")
    needs: Needs | None = Field(None, description="the least of a column that meets a target")
    sensitivity: Sensitivity | None = Field(None, description="how each axis moves a column")
    by: Texts = Field([], description="columns: one answer for each of their values")

    @model_validator(mode="after")
    def _one_kind(self) -> Question:
        kinds = (self.knee, self.pareto, self.needs, self.sensitivity)
        if sum(kind is not None for kind in kinds) != 1:
            raise ValueError("ask one of knee, pareto, needs, sensitivity")
        return self


def problems_of(failure: ValidationError) -> list[tuple[tuple[str, ...], str]]:
    """What is wrong, each with the path of its key, in the words of the models."""
    return [
        (tuple(map(str, each["loc"])), str(each["msg"]).removeprefix("Value error, "))
        for each in failure.errors()
    ]


def question_of(given: Mapping[str, Any]) -> Question:
    """A question as plain data.  Raises InputError with all that is wrong with it."""
    try:
        return Question.model_validate(given)
    except ValidationError as failure:
        raise InputError("\n".join(text for _, text in problems_of(failure))) from None


class Claim(Strict):
    """A published claim that the scenario puts to the test."""

    source: str = Field(description="who claims it, where")
    says: str = Field(description="the claim")
    expected: str = Field(description="what it comes to in numbers")
    verdict: Literal["reproduced", "refined", "refuted"] = Field(
        description="what was found: every expectation is met as published, it holds with a "
        "difference that is named, or it does not hold"
    )
    because: str = Field("", description="why it is refined or refuted")
    decision: str = Field("", description="the decision record that argues a refutation")

    @model_validator(mode="after")
    def _argued(self) -> Claim:
        if self.verdict != "reproduced" and not self.because:
            raise ValueError("say under because why the claim is refined or refuted")
        if self.verdict == "refuted" and not self.decision:
            raise ValueError("name under decision the record that argues it")
        return self


class ScenarioFile(Settings):
    """A study: what runs, along which axes, what is recorded, expected, asked and drawn."""

    title: str = Field(description="the study in a line")
    description: str = Field("", description="what to look at, on the page of results")
    networks: Texts = Field([], description="networks, crossed with all axes")
    machines: Texts = Field([], description="hardware files or names, crossed with all axes")
    axes: dict[str, list[Any] | dict[str, Any]] = Field(
        {}, description="a setting, or a key of the hardware file, with its values; crossed"
    )
    zip: list[list[str]] = Field(
        [], description="axes that go together, value by value, instead of being crossed"
    )
    cases: dict[str, Settings] = Field(
        {}, description="settings that go together, by name; the name stands in the column `case`"
    )
    where: str | None = Field(
        None, description="only points where this expression of the axes' columns holds"
    )
    record: list[str] = Field(
        ["dram_bytes", "weight_bytes", "map_bytes"], description="columns of the table of points"
    )
    record_layers: list[str] = Field([], description="columns of the table of layers")
    derive: dict[str, str] = Field(
        {}, description="further columns of the points: an expression of each row's own columns"
    )
    derive_layers: dict[str, str] = Field({}, description="further columns of layers, likewise")
    curves: bool = Field(False, description="keep every breakpoint of the budget curves")
    measure: dict[str, str] = Field(
        {}, description="names for expressions, in order; `expect` may use them"
    )
    expect: list[Expectation] = Field(
        [], description="what the results should be; `sweep` ends with 1 where one is not met"
    )
    questions: list[Question] = Field([], description="what is asked of the points")
    tables: list[Shown] = Field([], description="tables of the page of results")
    pictures: list[Picture] = Field([], description="pictures of the page of results")
    claim: Claim | None = Field(None, description="the published claim that the study tests")
