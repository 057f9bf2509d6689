"""The claims of five talks: every row has its scenario, which expects what the row says."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataflow_sim.scenario.model import RELATIONS, Expectation, ScenarioFile
from dataflow_sim.scenario.reading import read_scenario
from dataflow_sim.scenario.shipped import shipped_scenarios
from dataflow_sim.sweeps.store import STORE
from tests.conftest import ROOT
from tests.support.commands import command

CLAIMS = shipped_scenarios("claims")
# counts alone, no schedule: seconds together
QUICK = (
    *("iiit-02-alexnet-table", "iiit-03-mobilenet-layer", "iiit-04-networks"),
    *("iiit-05-shufflenet", "b17-02-params", "mvd-04-resnet50-table", "arm-02-5x5-vs-3x3"),
)
_NUMBER = re.compile(r"\d[\d,]*\.?\d*")


def rows(shared: Path) -> Iterator[tuple[str, str, str]]:
    """(id, claim, expected) of every row of the table of claims."""
    for line in (shared / "reference" / "claims.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) == 3 and re.fullmatch(r"[a-z0-9]+-\d\d-[a-z0-9-]+", cells[0]):
            yield cells[0], cells[1], cells[2]


def flat(text: str) -> str:
    return " ".join(text.split())


def file_of(name: str) -> ScenarioFile:
    return read_scenario(CLAIMS[name]).file


def numbers(text: str) -> set[float]:
    """The numbers in a text, thousands with or without commas."""
    return {float(found.replace(",", "").rstrip(".")) for found in _NUMBER.findall(text)}


def test_every_row_has_its_scenario_and_every_scenario_its_row(shared: Path) -> None:
    assert sorted(CLAIMS) == sorted(name for name, _, _ in rows(shared))
    assert len(CLAIMS) == 41


def test_every_scenario_says_what_its_row_says(shared: Path) -> None:
    for name, says, expected in rows(shared):
        claim = file_of(name).claim
        assert claim is not None, name
        assert flat(claim.says) == flat(says), name
        assert flat(claim.expected) == flat(expected), name


def literals(expectation: Expectation) -> Iterator[float]:
    """Numbers that an expectation holds something to; those that follow from others are not."""
    for relation in RELATIONS:
        given = getattr(expectation, relation)
        for each in given if isinstance(given, list) else [given]:
            if isinstance(each, int | float) and not isinstance(each, bool):
                yield float(each)


def test_numbers_and_tolerances_are_those_of_the_row(shared: Path) -> None:
    """What a row gives within some percent is held to that; a number that is expected stands in the
    row, or is what the scenario asked for."""
    for name, says, expected in rows(shared):
        row = flat(f"{says} {expected}")
        file = file_of(name)
        asked = [*file.axes.items(), *((n, case.what_ifs) for n, case in file.cases.items())]
        there = numbers(row) | numbers(str(asked))
        for each in file.expect:
            if each.within is not None:
                percent = each.within.removesuffix("%")
                assert f"within {percent} %" in row, (name, each.label)
            if each.by is not None:
                assert f"± {each.by:g}" in row, (name, each.label)
            if each.within is None and each.by is None and each.digits is None:
                continue
            for number in literals(each):
                scales = (1, 100, 1000, 10**6)
                near = {x for s in scales for x in (number * s, number / s)}
                assert near & there, (name, each.label, number)


def test_refuted_claims_are_argued_in_a_record() -> None:
    for name in CLAIMS:
        file = file_of(name)
        assert file.claim is not None
        refuted = [each for each in file.expect if each.refuted]
        if file.claim.verdict == "reproduced":
            assert not refuted, name
        if file.claim.decision:
            assert (ROOT / "reports" / "decisions" / f"{file.claim.decision}.md").is_file(), name


def test_the_report_has_every_claim_with_its_verdict() -> None:
    page = (ROOT / "reports" / "claims.md").read_text()
    drawn: set[str] = set()
    for name in CLAIMS:
        claim = file_of(name).claim
        assert claim is not None
        (line,) = [ln for ln in page.splitlines() if ln.startswith(f"| [{name}](#{name})")]
        assert line.endswith(f"| {claim.verdict} |"), name
        drawn |= {f"{picture.file}.svg" for picture in file_of(name).pictures}
    assert drawn == {path.name for path in (ROOT / "reports" / "claims").iterdir()}


# ------------------------------------------------------------ the command


def tampered(store: Path, factor: float) -> None:
    """Put an error into every count that the store holds of whole networks and of layers."""
    with sqlite3.connect(store / STORE) as database:
        found = database.execute("SELECT key, payload FROM results").fetchall()
        for key, text in found:
            payload = json.loads(text)
            for row in (payload.get("row", {}), *payload.get("layers", ())):
                for name, value in row.items():
                    if isinstance(value, int | float) and not isinstance(value, bool):
                        row[name] = value * factor
            changed = (json.dumps(payload), key)
            database.execute("UPDATE results SET payload = ? WHERE key = ?", changed)


def test_claims_hold_and_an_error_of_ten_percent_is_found(tmp_path: Path) -> None:
    asked = ("claims", *QUICK, "--store", "store", "--processes", "1")
    done = command(*asked, "--json", cwd=tmp_path)
    assert [each["name"] for each in json.loads(done.stdout)] == list(QUICK)
    for name in QUICK[:5]:
        single = ("claims", name, "--store", name, "--processes", "1")
        command(*single, cwd=tmp_path)
        tampered(tmp_path / name, 1.1)
        wrong = command(*single, cwd=tmp_path, code=1)
        assert "differs" in wrong.stdout


@pytest.mark.slow
def test_all_claims(tmp_path: Path) -> None:
    done = command("claims", "--out", "out", cwd=tmp_path)
    assert "differs" not in done.stdout
    page = (tmp_path / "out" / "claims.md").read_text()
    assert page == (ROOT / "reports" / "claims.md").read_text()


def test_a_claim_that_is_not_there(tmp_path: Path) -> None:
    done = command("claims", "nowhere", cwd=tmp_path, code=2)
    assert "no nowhere in claims; there are arm-01-mcu" in done.stderr
