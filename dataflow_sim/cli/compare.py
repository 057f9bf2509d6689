"""`dataflow-sim compare`: two runs, or two sweeps, and what differs."""

from __future__ import annotations

import click

from dataflow_sim.cli.options import json_option


@click.command("compare")
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--markdown", is_flag=True, help="Print Markdown, for a pull request.")
@click.option("--html", metavar="FILE", help="Write a page instead, as in changes.html.")
@json_option
def command(before: str, after: str, markdown: bool, html: str | None, as_json: bool) -> None:
    """Tell what differs between A and B: directories that `run --out` or `sweep --out` wrote.

    Of runs: inputs, totals, bytes by reason, and the layers that moved, with why.  Of sweeps: every
    figure of the points that both have.
    """
    import json
    from pathlib import Path

    from dataflow_sim.cli.render import show
    from dataflow_sim.errors import InputError
    from dataflow_sim.report import files
    from dataflow_sim.report.comparison import comparison_page, comparison_tables
    from dataflow_sim.study.comparing import compare_runs, compare_sweeps
    from dataflow_sim.study.stored import is_sweep, read_points, read_run

    if markdown + as_json + (html is not None) > 1:
        raise InputError("--markdown, --json and --html: give one of them")
    if html is not None:
        files.check_page(Path(html), "--html")
    names = (before, after)
    if is_sweep(before) != is_sweep(after):
        raise InputError(f"'{before}' and '{after}' are a run and a sweep; give two of a kind")
    if is_sweep(before):
        found = compare_sweeps(read_points(before), read_points(after), names)
    else:
        found = compare_runs(read_run(before), read_run(after), names)
    if html is not None:
        from dataflow_sim.report.page import html as pages

        files.write_page(Path(html), pages.comparison_page(found))
        click.echo(f"written to {html}")
    elif as_json:
        click.echo(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
    elif markdown:
        click.echo(comparison_page(found), nl=False)
    else:
        show(comparison_tables(found))
