"""What a study found, as plain frozen data: tables, expectations met or not, answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

STUDY_SCHEMA = "dataflow_sim.study/1"

Value = str | int | float | bool | None
Row = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class TableResult:
    """Rows of the same columns; `axes` are the columns that tell them apart."""

    axes: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """An expectation with what was measured, as texts; `met` is whether all is as it should be.

    Of an expectation that is `refuted`, for the reason given, that is so while it does not hold.
    """

    label: str
    expected: str
    measured: str
    holds: bool
    refuted: str = ""

    @property
    def met(self) -> bool:
        """Whether this is as the scenario says."""
        return self.holds == (not self.refuted)


@dataclass(frozen=True, slots=True)
class Answer:
    """A question in words, and its answer as a table."""

    question: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class ShownTable:
    """A table of the report, rows as plain data."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class PictureResult:
    """What a picture is drawn of: rows with the columns that it names.

    `kind` is lines, steps, bars, points, heap or matrix; `by` tells series apart; `log` names the
    axes with equal ratios.
    """

    file: str
    kind: str
    title: str
    x: str
    y: tuple[str, ...]
    by: tuple[str, ...]
    log: tuple[str, ...]
    x_label: str
    y_label: str
    limit_line: float | None
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """The claim that a study put to the test, and what is said of it."""

    source: str
    says: str
    expected: str
    verdict: str
    because: str
    decision: str


@dataclass(frozen=True, slots=True)
class StudyResult:
    """One scenario with its results.

    `tables` are those of points, layers and breakpoints by name; `failed` are points that have an
    error, `defects` those whose proof failed.
    """

    name: str
    title: str
    description: str
    points: TableResult
    layers: TableResult
    breakpoints: TableResult
    checked: tuple[Checked, ...]
    answers: tuple[Answer, ...]
    shown: tuple[ShownTable, ...]
    pictures: tuple[PictureResult, ...]
    claim: ClaimResult | None
    failed: int
    defects: int
    stored: int
    computed: int

    @property
    def met(self) -> bool:
        """Whether every expectation is as it should be."""
        return all(each.met for each in self.checked)

    @property
    def verdict(self) -> str:
        """What to say of a claim: as the scenario says while all is met, else `differs`."""
        if not self.met or self.defects:
            return "differs"
        return "holds" if self.claim is None else self.claim.verdict

    @property
    def because(self) -> str:
        """Why the claim is refined or refuted; empty while anything differs."""
        if self.claim is None or self.verdict != self.claim.verdict:
            return ""
        return self.claim.because.strip()

    def to_json(self) -> dict[str, object]:
        """The JSON result as plain data; what differs from run to run is left out."""
        return {
            "schema": STUDY_SCHEMA,
            "name": self.name,
            "title": self.title,
            "verdict": self.verdict,
            "points": [dict(row) for row in self.points.rows],
            "layers": [dict(row) for row in self.layers.rows],
            "breakpoints": [dict(row) for row in self.breakpoints.rows],
            "expectations": [{**asdict(each), "met": each.met} for each in self.checked],
            "answers": [
                {"question": each.question, "rows": [dict(row) for row in each.rows]}
                for each in self.answers
            ],
        }
