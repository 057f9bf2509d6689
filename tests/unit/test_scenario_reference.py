"""The reference of scenario files: the committed page is the one that follows from the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_args

import pytest
from click.testing import CliRunner
from pydantic import BaseModel

from dataflow_sim.cli.main import cli
from dataflow_sim.scenario.columns import CURVE_COLUMNS, LAYER_COLUMNS, POINT_COLUMNS
from dataflow_sim.scenario.expressions import CONSTANTS, FUNCTIONS, Names, problems
from dataflow_sim.scenario.model import Range, ScenarioFile
from dataflow_sim.scenario.reading import read_text
from dataflow_sim.scenario.reference import reference_page
from dataflow_sim.scenario.reference_words import EXAMPLE, HEADINGS, OPERATORS, REASONS, unit_of
from dataflow_sim.scenario.schema import json_schema
from dataflow_sim.sweeps.work import DEFECT, DOES_NOT_FIT, ERROR, OK
from dataflow_sim.traffic import Reason

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_in_docs_is_the_one_that_the_command_prints() -> None:
    done = CliRunner().invoke(cli, ["scenario", "reference"])
    assert done.exit_code == 0
    assert done.stdout == (ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8")


def models_in(model: type[BaseModel]) -> set[type[BaseModel]]:
    """A model and all that its keys hold."""
    found = {model}

    def look(annotation: object) -> None:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found.update(models_in(annotation))
        for inner in get_args(annotation):
            look(inner)

    for field in model.model_fields.values():
        look(field.annotation)
    return found


def test_every_key_has_a_row_with_its_meaning() -> None:
    page = reference_page()
    models = models_in(ScenarioFile) | {Range}
    assert {model.__name__ for model in models} > set(HEADINGS)
    for model in models:
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name} has no description"
            rows = re.findall(rf"^\| `{field.alias or name}` \|.*$", page, re.MULTILINE)
            told = " ".join(field.description.split())
            assert any(told in row for row in rows), f"{model.__name__}.{name}"


def test_every_function_unit_column_and_reason_has_a_row() -> None:
    page = reference_page()
    for name in (*FUNCTIONS, *CONSTANTS, *POINT_COLUMNS, *LAYER_COLUMNS, *CURVE_COLUMNS):
        assert f"| `{name}` |" in page
    for name in (*POINT_COLUMNS, *LAYER_COLUMNS, *CURVE_COLUMNS):
        assert unit_of(name)
    assert set(REASONS) == set(Reason)
    for status in (OK, DOES_NOT_FIT, ERROR, DEFECT):
        assert f"`{status}`" in page
    with pytest.raises(KeyError):
        unit_of("colour")


def test_the_operators_are_those_of_the_language() -> None:
    one = ast.Constant(1)
    texts: dict[str, str] = {}
    for kind in ast.operator.__subclasses__():
        text = ast.unparse(ast.fix_missing_locations(ast.BinOp(one, kind(), one)))
        texts[text.strip("1 ")] = text
    for compared in ast.cmpop.__subclasses__():
        text = ast.unparse(ast.Compare(one, [compared()], [one]))
        texts[text.strip("1 ")] = text
    texts |= {"and": "1 and 1", "or": "1 or 1", "not": "not 1", "~": "~1"}
    names = Names({"": frozenset()}, {"": frozenset()}, frozenset())
    assert {symbol for symbol, text in texts.items() if not problems(text, names)} == set(OPERATORS)


def test_the_example_is_a_scenario() -> None:
    read = read_text(EXAMPLE, Path("study.yaml"))
    assert len(read.points) == 72
    assert f"{EXAMPLE}```\n\nThis has 2 networks" in reference_page()
    assert "= 72 points" in reference_page()


def test_links_lead_to_headings() -> None:
    page = reference_page()
    headings = {
        re.sub(r"[^a-z0-9 _-]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in page.splitlines()
        if line.startswith("#")
    }
    assert set(re.findall(r"\(#([^)]+)\)", page)) <= headings
    assert set(re.findall(r"\(([a-z]+\.md)\)", page)) == {"hardware.md"}


def test_the_schema_takes_one_text_where_the_reader_does() -> None:
    found = json_schema()
    picture = found["$defs"]["Picture"]["properties"]
    for entry in (*(found["properties"][k] for k in ("networks", "what_ifs")), picture["y"]):
        assert {"type": "string"} in entry["anyOf"]
