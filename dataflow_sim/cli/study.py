"""`dataflow-sim study`: questions over the points of a sweep."""

from __future__ import annotations

import json
from typing import Any

import click

from dataflow_sim.cli.options import json_option

_results = click.argument("results", metavar="RESULTS")
_by = click.option(
    "--by", multiple=True, metavar="COLUMN", help="One answer for each of its values; repeatable."
)


@click.group("study")
def command() -> None:
    """Ask questions of RESULTS, a directory that `sweep --out` wrote, or its points.csv."""


def _answer(results: str, as_json: bool, by: tuple[str, ...], **kind: Any) -> None:
    """Read the points, answer, print."""
    from dataflow_sim.cli.render import show
    from dataflow_sim.errors import InputError
    from dataflow_sim.report.studies import answer_table
    from dataflow_sim.scenario.checking import problems_of_question
    from dataflow_sim.scenario.model import question_of
    from dataflow_sim.study.questions import answered
    from dataflow_sim.study.stored import read_points

    question = question_of({"by": list(by), **kind})
    points = read_points(results)
    wrong = problems_of_question(question, points.columns)
    if wrong:
        raise InputError("\n".join(wrong))
    answer = answered(points, question)
    if as_json:
        rows = [dict(row) for row in answer.rows]
        click.echo(json.dumps({"question": answer.question, "rows": rows}, indent=2))
        return
    show((answer_table(answer),))
    if not answer.rows:
        click.echo("no point does")


@command.command("pareto")
@_results
@click.option("--least", multiple=True, metavar="COLUMN", help="Wanted low; repeatable.")
@click.option("--most", multiple=True, metavar="COLUMN", help="Wanted high; repeatable.")
@_by
@json_option
def pareto(
    results: str, least: tuple[str, ...], most: tuple[str, ...], by: tuple[str, ...], as_json: bool
) -> None:
    """List the points that no other one beats in all of some columns."""
    wanted = {"least": list(least), "most": list(most)}
    _answer(results, as_json, by, pareto=wanted)


@command.command("knee")
@_results
@click.option("--within", default="5%", show_default=True, help="So much above the floor.")
@click.option("--of", "of", default="dram_bytes", show_default=True, help="What falls to it.")
@click.option("--floor", default="compulsory_bytes", show_default=True, help="Column of the floor.")
@click.option(
    "--against", default="local_memory_bytes", show_default=True, help="What is wanted least."
)
@_by
@json_option
def knee(
    results: str,
    within: str,
    of: str,
    floor: str,
    against: str,
    by: tuple[str, ...],
    as_json: bool,
) -> None:
    """Find the least memory from which on a column stays within so much of its floor."""
    wanted = {"within": within, "of": of, "floor": floor, "against": against}
    _answer(results, as_json, by, knee=wanted)


@command.command("needs")
@_results
@click.option("--least", required=True, metavar="COLUMN", help="The resource that is wanted low.")
@click.option("--target", required=True, metavar="CONDITION", help="As in 'dram_bytes <= 10 * MB'.")
@_by
@json_option
def needs(results: str, least: str, target: str, by: tuple[str, ...], as_json: bool) -> None:
    """Find the least memory, bandwidth or clock from which on a target is met."""
    wanted = {"least": least, "target": target}
    _answer(results, as_json, by, needs=wanted)


@command.command("sensitivity")
@_results
@click.option("--of", "of", required=True, metavar="COLUMN", help="What is moved.")
@_by
@json_option
def sensitivity(results: str, of: str, by: tuple[str, ...], as_json: bool) -> None:
    """Tell how each axis moves a column, all others the same; the strongest first."""
    _answer(results, as_json, by, sensitivity={"of": of})
