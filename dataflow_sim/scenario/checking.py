"""What a scenario names that is not there: columns, and names in its expressions.

Problems come with the path of the key that each is of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from dataflow_sim.documents import KeyPath
from dataflow_sim.scenario.columns import ALWAYS, CURVE_COLUMNS, LAYER_COLUMNS, POINT_COLUMNS
from dataflow_sim.scenario.expressions import Names, near, problems
from dataflow_sim.scenario.model import RELATIONS, Question, ScenarioFile
from dataflow_sim.scenario.points import Axis

Problem = tuple[KeyPath, str]

_TABLES = {"points": "", "layers": "layer", "breakpoints": "curve"}


def problems_of_columns(file: ScenarioFile, axes: Iterable[Axis]) -> list[Problem]:
    """Everything that a scenario names and that its results will not have."""
    names = names_of(file, axes)
    found = [
        *_recorded("record", file.record, POINT_COLUMNS),
        *_recorded("record_layers", file.record_layers, LAYER_COLUMNS),
        *_derived(file, names),
        *_expected(file, names),
        *_drawn(file, names),
    ]
    if file.where is not None:
        own = Names({"": names.filters[""]}, {"": frozenset()}, frozenset())
        found += [(("where",), text) for text in problems(file.where, own)]
    for index, question in enumerate(file.questions):
        found += [(("questions", str(index)), text) for text in _asked(question, names)]
    return found


def _recorded(key: str, given: Iterable[str], known: Mapping[str, object]) -> Iterator[Problem]:
    for index, name in enumerate(given):
        if name not in known:
            hint = near(name, known)
            yield (key, str(index)), f"unknown column '{name}'{hint}; `scenario columns` lists all"


def _derived(file: ScenarioFile, names: Names) -> Iterator[Problem]:
    for key, given, table in (
        ("derive", file.derive, ""),
        ("derive_layers", file.derive_layers, "layer"),
    ):
        known = names.columns[table] - {*given}
        recorded = {*(file.record_layers if table else file.record)}
        for name, text in given.items():
            if name in recorded:
                yield (key, name), f"'{name}' is recorded; give what is derived another name"
            own = Names({"": known}, {"": frozenset()}, frozenset())
            yield from (((key, name), problem) for problem in problems(text, own))
            known |= {name}  # those below may name it


def _expected(file: ScenarioFile, names: Names) -> Iterator[Problem]:
    known: set[str] = set()
    for name, text in file.measure.items():
        here = Names(names.columns, names.filters, frozenset(known))
        yield from ((("measure", name), problem) for problem in problems(text, here))
        known.add(name)
    full = Names(names.columns, names.filters, frozenset(known))
    for index, expectation in enumerate(file.expect):
        for key in ("value", *RELATIONS):
            given = getattr(expectation, key)
            for problem in problems(given, full) if isinstance(given, str) else ():
                yield ("expect", str(index), key), problem


def _drawn(file: ScenarioFile, names: Names) -> Iterator[Problem]:
    for index, shown in enumerate(file.tables):
        used = (*shown.columns, *shown.where, *shown.relative_to)
        yield from _columns(("tables", str(index)), used, names, _TABLES[shown.of])
    files = [each.file for each in file.pictures]
    for index, picture in enumerate(file.pictures):
        used = (picture.x, *picture.y, *picture.by, *picture.where, *picture.relative_to)
        yield from _columns(("pictures", str(index)), used, names, _TABLES[picture.of])
        if files.index(picture.file) < index:
            yield ("pictures", str(index), "file"), f"'{picture.file}' is drawn twice"


def _columns(place: KeyPath, used: Iterable[str], names: Names, table: str) -> Iterator[Problem]:
    legal = names.columns[table] | names.filters[table]
    for name in used:
        if name not in legal:
            yield place, f"no column '{name}'{near(name, legal)}; record it, or choose another"


def names_of(file: ScenarioFile, axes: Iterable[Axis]) -> Names:
    """What expressions over a scenario's results may name."""
    coordinates = {"network", "hardware", *(axis.column for axis in axes)}
    coordinates |= {"case"} if file.cases else set()
    filters = coordinates | {each.removesuffix("_bytes") for each in coordinates}
    of_curves = {each for each in filters if not each.startswith("local_memory")}
    status, _ = ALWAYS
    return Names(
        columns={
            "": frozenset({*coordinates, *file.record, *file.derive, *ALWAYS}),
            "layer": frozenset({*coordinates, "layer", *file.record_layers, *file.derive_layers}),
            "curve": frozenset({*of_curves, *CURVE_COLUMNS} if file.curves else ()),
        },
        filters={
            "": frozenset({*filters, status}),
            "layer": frozenset({*filters, "layer", *({"kind", "op"} & set(file.record_layers))}),
            "curve": frozenset(of_curves),
        },
        values=frozenset(),
    )


def problems_of_question(question: Question, columns: Iterable[str]) -> list[str]:
    """What a question names that a table of points does not have."""
    there = frozenset(columns)
    return list(_asked(question, Names({"": there}, {"": there}, frozenset())))


def _asked(question: Question, names: Names) -> Iterator[str]:
    used = list(question.by)
    if question.knee is not None:
        used += [question.knee.floor, question.knee.of, question.knee.against]
    if question.pareto is not None:
        used += [*question.pareto.least, *question.pareto.most]
    if question.sensitivity is not None:
        used.append(question.sensitivity.of)
    if question.needs is not None:
        used.append(question.needs.least)
        yield from problems(question.needs.target, names)
    for name in used:
        if name not in names.columns[""]:
            yield f"no column '{name}'{near(name, names.columns[''])}; record it"
