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
    model_validator,
)

from dataflow_sim.errors import InputError

Scalar = str | int | float | bool
Policy = Literal["layerwise", "resident", "merged"]
Objective = Literal["dram", "energy", "latency", "edp", "energy-delay"]
Halo = Literal["recompute", "cache-x", "cache", "best"]
KernelsOf = Literal["resident", "refetch", "best"]
PictureKind = Literal["lines", "steps", "bars", "points", "heap", "matrix"]


def _listed(value: Any) -> Any:
    """One value as a list of one."""
    return [value] if isinstance(value, str) else value


Texts = Annotated[list[str], BeforeValidator(_listed)]


class Strict(BaseModel):
    """Frozen, and without keys that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Settings(Strict):
    """What a point runs; left out, what the command line leaves out."""

    network: str | None = Field(None, description="an .onnx file, or a built-in name")
    hardware: str | None = Field(None, description="a hardware file, or a shipped name")
    policy: Policy | None = Field(None, description="the space of schedules")
    objective: Objective | None = Field(None, description="what the schedule is the best in")
    local_memory: str | int | None = Field(None, description="local memory, as 256KiB")
    batch: int | None = Field(None, ge=1, description="images, or sequences, at a time")
    input_size: str | None = Field(None, description="rows x columns of the image, as 320x320")
    weight_bits: int | None = Field(None, ge=1, le=64, description="width of all weights")
    activation_bits: int | None = Field(None, ge=1, le=64, description="width of all maps")
    frames: int | None = Field(None, ge=1, description="frames one after the other")
    fps: float | None = Field(None, gt=0, le=1e9, description="frames a second that are wanted")
    in_flight: int | None = Field(None, ge=1, le=2, description="frames under way at a time")
    layers: str | None = Field(None, description="FIRST:LAST, only these layers")
    force_group: str | None = Field(None, description="FIRST:LAST, layers that run as one group")
    tile: str | None = Field(None, description="WxH, that group's tiles")
    halo: Halo | None = Field(None, description="what neighbouring tiles have in common")
    weights: KernelsOf | None = Field(None, description="that group's kernels stay, or do not")
    what_ifs: Texts = Field([], description="changes of the network, added up")
    dims: dict[str, int] = Field({}, description="symbolic dimensions by name")
    branches: dict[str, Literal["then", "else"]] = Field({}, description="branches of Ifs")
    trips: dict[str, int] = Field({}, description="trips of Loops")
    set: dict[str, Any] = Field({}, description="keys of the hardware file by dotted path")


class Range(Strict):
    """Sizes or numbers in equal ratios, both ends among them."""

    least: str | int | float = Field(alias="from", description="the first")
    most: str | int | float = Field(alias="to", description="the last")
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


Percentage = Annotated[str, AfterValidator(_part)]


class Expectation(Strict):
    """What a value should be.  A list of values is held to a list, element by element."""

    label: str = Field(description="what is measured, in words")
    value: str = Field(description="an expression")
    equals: str | int | float | list[float] | None = Field(
        None, description="number, or expression"
    )
    at_least: str | int | float | None = Field(None, description="number, or expression")
    at_most: str | int | float | None = Field(None, description="number, or expression")
    above: str | int | float | None = Field(None, description="number, or expression")
    below: str | int | float | None = Field(None, description="number, or expression")
    holds: bool | None = Field(None, description="the value is true, or false")
    within: Percentage | None = Field(None, description="with equals: a part of the number, as 3%")
    by: float | None = Field(None, ge=0, description="with equals: so much more or less")
    digits: int | None = Field(
        None, ge=0, le=12, description="with equals: the printed digits, rounded or cut off"
    )
    refuted: str | None = Field(
        None, description="why the claim does not hold here: the expectation must then fail"
    )
    unit: str = Field("", description="what the number counts")

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


_RELATIVE = "numbers as parts of those of the row with these values, all other axes the same"


class Shown(Strict):
    """A table of the report."""

    title: str = Field("", description="what it shows")
    of: Literal["points", "layers", "breakpoints"] = Field("points", description="which rows")
    columns: list[str] = Field(description="columns, in order")
    where: dict[str, Any] = Field({}, description="only rows with these values")
    relative_to: dict[str, Any] = Field({}, description=_RELATIVE)
    limit: int = Field(40, ge=1, le=1000, description="rows at most")


class Picture(Strict):
    """A picture of the report."""

    file: str = Field(pattern=r"^[A-Za-z0-9_-]{1,60}$", description="name without a suffix")
    kind: PictureKind = Field(description="how it is drawn")
    title: str = Field(description="what it shows")
    of: Literal["points", "layers", "breakpoints"] = Field("points", description="which rows")
    x: str = Field(description="column along the horizontal axis")
    y: Annotated[list[str], BeforeValidator(_listed)] = Field(description="columns of values")
    by: Annotated[list[str], BeforeValidator(_listed)] = Field(
        [], description="columns that tell series apart"
    )
    where: dict[str, Any] = Field({}, description="only rows with these values")
    relative_to: dict[str, Any] = Field({}, description=_RELATIVE)
    log: list[Literal["x", "y"]] = Field([], description="axes with equal ratios")
    x_label: str = Field("", description="left out, the column's name")
    y_label: str = Field("", description="left out, the columns' names")
    limit_line: float | None = Field(None, description="a line across at this value")


class Knee(Strict):
    """The least memory within so much of the floor."""

    within: Percentage = Field("5%", description="above the floor, as 5%")
    floor: str = Field("compulsory_bytes", description="column of the floor")
    of: str = Field("dram_bytes", description="column that falls to it")
    against: str = Field("local_memory_bytes", description="column that is wanted least")


class Pareto(Strict):
    """The rows that no other one beats in all columns."""

    least: list[str] = Field([], description="columns wanted low")
    most: list[str] = Field([], description="columns wanted high")

    @model_validator(mode="after")
    def _two(self) -> Pareto:
        if len(self.least) + len(self.most) < 2:
            raise ValueError("name two columns or more under least and most")
        return self


class Needs(Strict):
    """The least of a column at which a target is met, and from there on."""

    least: str = Field(description="column wanted low, as capacity_bytes")
    target: str = Field(description="a condition, as dram_bytes <= 10 * MB")


class Sensitivity(Strict):
    """How each axis moves a column, all others the same."""

    of: str = Field(description="the column")


class Question(Strict):
    """A question over the points; exactly one kind."""

    ask: str = Field("", description="in words")
    knee: Knee | None = None
    pareto: Pareto | None = None
    needs: Needs | None = None
    sensitivity: Sensitivity | None = None
    by: Annotated[list[str], BeforeValidator(_listed)] = Field(
        [], description="columns: one answer for each of their values"
    )

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
    verdict: Literal["reproduced", "refined", "refuted"] = Field(description="what was found")
    because: str = Field("", description="why it is refined or refuted")
    decision: str = Field("", description="the decision record that argues it")

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
    description: str = Field("", description="what to look at")
    networks: Texts = Field([], description="networks, each with all other values")
    machines: Texts = Field([], description="hardware files or names")
    axes: dict[str, list[Any] | dict[str, Any]] = Field(
        {}, description="a setting or a hardware key with its values: a list, a range, or by name"
    )
    zip: list[list[str]] = Field([], description="axes that go together, value by value")
    cases: dict[str, Settings] = Field({}, description="settings that go together, by name")
    where: str | None = Field(None, description="only points where this expression holds")
    record: list[str] = Field(
        ["dram_bytes", "weight_bytes", "map_bytes"], description="columns of the points"
    )
    record_layers: list[str] = Field([], description="columns of the table of layers")
    derive: dict[str, str] = Field(
        {}, description="further columns of the points: an expression of each row's own columns"
    )
    derive_layers: dict[str, str] = Field(
        {}, description="further columns of the layers, in the same way"
    )
    curves: bool = Field(False, description="keep every breakpoint of the budget curves")
    measure: dict[str, str] = Field({}, description="names for expressions, in order")
    expect: list[Expectation] = Field([], description="what the results should be")
    questions: list[Question] = Field([], description="what is asked of the results")
    tables: list[Shown] = Field([], description="tables of the report")
    pictures: list[Picture] = Field([], description="pictures of the report")
    claim: Claim | None = Field(None, description="the claim that it tests")
