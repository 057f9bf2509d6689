"""The page as one file: template, style, scripts, the drawing library and the data, all inside.

Nothing is fetched: a policy in the page forbids it.  Data and library are compressed, and texts of
the data are only ever made text nodes, so that no name of a layer is read as markup.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.resources import files
from itertools import count

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from dataflow_sim.report.page.run_data import run_data
from dataflow_sim.report.page.sweep_data import Sweep
from dataflow_sim.results_of_comparison import Comparison
from dataflow_sim.results_of_review import Review

PLOTLY = "plotly-cartesian-4.1.1.min.js.gz"
_LIBRARY = "plotly.js 4.1.1"
_LEVEL = 9
_SHARED = ("core.js", "datatable.js")
_OF_RUNS = ("network.js", "run.js", "time.js", "several.js")
_OF_SWEEPS = ("sweep.js",)


def runs_page(
    reviews: Sequence[Review], names: Sequence[str], comparisons: Sequence[Comparison]
) -> bytes:
    """The page of one run, or of several side by side: comparisons are of the first to the others.

    `names`, all different, tell the runs apart.
    """
    own = list(names)
    runs = [run_data(review, name) for review, name in zip(reviews, own, strict=True)]
    data = {
        "kind": "runs",
        "runs": runs,
        "comparisons": [each.to_json() for each in comparisons],
    }
    first = reviews[0].run
    title = " and ".join(dict.fromkeys(f"{each.run.network}" for each in reviews))
    one = len(reviews) == 1
    return _page(
        title=f"{title}: what it costs in memory traffic",
        subtitle=f"{first.network} on {first.hardware}, {first.policy}"
        if one
        else f"{len(reviews)} runs side by side: {', '.join(own)}",
        verdicts=[(name, run["verdict"]) for name, run in zip(own, runs, strict=True)],
        data=data,
        scripts=(*_SHARED, *_OF_RUNS),
    )


def comparison_page(found: Comparison) -> bytes:
    """The page of what differs between two runs, or two sweeps."""
    return _page(
        title=f"{found.before} to {found.after}: what differs",
        subtitle=f"{len(found.inputs)} of what was asked, {len(found.figures)} figures and "
        f"{len(found.layers)} layers differ",
        verdicts=(),
        data={"kind": "comparison", "comparison": found.to_json()},
        scripts=(*_SHARED, *_OF_RUNS),
    )


def sweep_page(sweep: Sweep) -> bytes:
    """The page of a sweep: its points by their axes."""
    return _page(
        title=f"{sweep.name}: what would change the memory traffic",
        subtitle=f"{len(sweep.rows):,} points over {', '.join(axis.name for axis in sweep.axes)}",
        verdicts=(),
        data=sweep.to_json(),
        scripts=(*_SHARED, *_OF_SWEEPS),
    )


def distinct(names: Sequence[str]) -> list[str]:
    """Names that are all different: of equal ones each gets its number."""
    numbers = {name: count(1) for name in names}
    return [name if names.count(name) == 1 else f"{name} ({next(numbers[name])})" for name in names]


def _text(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _packed(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _page(
    *,
    title: str,
    subtitle: str,
    verdicts: Sequence[tuple[str, object]],
    data: Mapping[str, object],
    scripts: Sequence[str],
) -> bytes:
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # the project's own files are markup; every other text is escaped by the template
    script = "\n".join(_text(name) for name in (*scripts, "page.js"))
    page = environment.from_string(_text("page.html")).render(
        title=title,
        subtitle=subtitle,
        verdicts=verdicts,
        version=version("dataflow-sim"),
        library=_LIBRARY,
        style=Markup(_text("page.css")),
        script=Markup(script),
        plotly=_packed((files(__package__) / "plotly" / PLOTLY).read_bytes()),
        data=_packed(gzip.compress(text.encode(), _LEVEL, mtime=0)),
    )
    return page.encode()
