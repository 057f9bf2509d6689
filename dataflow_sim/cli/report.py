"""`dataflow-sim report`: runs, or a sweep, as one page for a design review."""

from __future__ import annotations

from pathlib import Path

import click

from dataflow_sim.cli.options import check_out


@click.command("report")
@click.argument("results", metavar="RUN...", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="The page to write, as in review.html.",
)
@click.option(
    "--plots",
    metavar="DIR",
    help="Write every picture there, .png and .svg, as in print; of several runs a directory each.",
)
def command(results: tuple[str, ...], output: str | None, plots: str | None) -> None:
    """Write a page on RUN: directories that `run --out` or one that `sweep --out` wrote.

    The page is one file that opens from disk and prints; nothing is computed anew.  Of one run it
    tells the verdict, traffic, curve, time, memory, energy, network and layers; of several what
    differs, too; of a sweep it has sliders over its points.
    """
    from dataflow_sim.errors import InputError
    from dataflow_sim.report import files, review_pictures
    from dataflow_sim.report.page import html
    from dataflow_sim.report.page.sweep_data import sweep_of
    from dataflow_sim.report.sweep_pictures import sweep_pictures
    from dataflow_sim.reviews import read_review
    from dataflow_sim.study.comparing import compare_runs
    from dataflow_sim.study.stored import is_sweep, read_points

    if output is None and plots is None:
        raise InputError("nothing to write; give -o FILE.html, --plots DIR, or both")
    if output is not None:
        files.check_page(Path(output))
    check_out(plots, "--plots")
    sweeps = [name for name in results if is_sweep(name)]
    if sweeps and len(results) > 1:
        raise InputError(
            f"'{sweeps[0]}' is a sweep; report it alone, or give runs only: {len(results)} results"
        )
    if sweeps:
        table = read_points(sweeps[0])
        name = Path(sweeps[0]).resolve().name
        sweep = sweep_of(name, table.axes, table.columns, table.rows)
        page = html.sweep_page(sweep)
        pictures = {"": sweep_pictures(sweep)} if plots is not None else {}
    else:
        reviews = [read_review(name) for name in results]
        names = html.distinct([Path(name).resolve().name for name in results])
        plain = [each.run.to_json() for each in reviews]
        comparisons = [
            compare_runs(plain[0], after, (names[0], name))
            for name, after in zip(names[1:], plain[1:], strict=True)
        ]
        page = html.runs_page(reviews, names, comparisons)
        pictures = review_pictures.pictures_of(reviews, names) if plots is not None else {}
    if output is not None:
        files.write_page(Path(output), page)
        click.echo(f"written to {output}")
    if plots is not None:
        for folder, drawn in pictures.items():
            files.write_files(Path(plots) / folder, drawn, "give another --plots directory")
        click.echo(f"written to {plots}")
