"""The house: imports go one way, the bans that keep the proof honest hold."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "dataflow_sim"

# each room may import from the rooms named here, and from itself
MAY_IMPORT = {
    "errors": set(),
    "units": {"errors"},
    "traffic": set(),
    "garbage": set(),
    "resources": set(),
    "documents": {"errors"},
    "hardware": {"documents", "errors", "units", "resources"},
    "storage": {"energy", "graph", "hardware"},
    "graph": {"errors"},
    "ingest": {"errors", "graph"},
    "networks": {"errors"},
    "schedule": {
        *("errors", "garbage", "graph", "results_of_exact", "results_of_explanation"),
        *("results_of_groups", "traffic"),
    },
    "program": {"errors", "garbage", "graph", "schedule"},
    "simulate": {
        *("errors", "garbage", "graph", "traffic", "program.homes", "program.instructions"),
    },
    "results": {
        *("results_of_costs", "results_of_dram", "results_of_exact", "results_of_placement"),
        *("results_of_timeline", "results_of_what_ifs", "traffic"),
    },
    "results_of_costs": {"traffic"},
    "results_of_dram": set(),
    "results_of_curves": {"results_of_costs", "results_of_what_ifs", "traffic"},
    "results_of_exact": set(),
    "results_of_explanation": {"results_of_what_ifs"},
    "results_of_groups": {"results_of_explanation", "results_of_what_ifs"},
    "results_of_inspection": {"results_of_what_ifs"},
    "results_of_networks": set(),
    "results_of_placement": set(),
    "results_of_replay": {"results_of_what_ifs"},
    "results_of_timeline": set(),
    "results_of_what_ifs": set(),
    "results_of_comparison": set(),
    "results_of_studies": set(),
    "lifetimes": {"errors", "results_of_placement"},
    "placing": {"errors", "lifetimes", "results_of_placement", "schedule"},
    "whatif": {"energy", "errors", "graph", "ingest"},
    "inspection": {
        *("errors", "graph", "ingest", "results_of_inspection", "results_of_what_ifs", "whatif"),
    },
    "built_in": {
        *("errors", "graph", "ingest", "inspection", "networks", "results_of_networks"),
    },
    "energy": {"graph", "hardware", "results_of_costs", "results_of_dram"},
    "delivered": {"hardware", "program", "simulate"},
    "proof": {
        *(
            "delivered",
            "energy",
            "errors",
            "graph",
            "hardware",
            "program",
            "results",
            "schedule",
            "simulate",
        ),
        *("results_of_costs", "traffic"),
    },
    "timing": {
        *("delivered", "energy", "errors", "graph", "hardware", "program.instructions", "simulate"),
    },
    "timelines": {"graph", "hardware", "results_of_timeline", "simulate", "timing"},
    "choosing": {
        *("delivered", "energy", "errors", "graph", "hardware", "priced", "program", "proof"),
        *("results_of_exact", "schedule", "timing"),
    },
    "banking": {"choosing", "errors", "graph", "program", "proof", "schedule", "simulate"},
    "preparation": {
        *("errors", "graph", "hardware", "ingest", "networks", "schedule", "storage", "whatif"),
    },
    "priced": {
        *("energy", "errors", "graph", "hardware", "program", "proof", "results"),
        *("results_of_costs", "schedule", "timelines", "timing"),
    },
    "dram_result": {
        *("delivered", "energy", "hardware", "program.instructions", "results_of_costs"),
        *("results_of_dram", "timing"),
    },
    "request_streams": {
        *("delivered", "energy", "errors", "hardware", "results_of_dram", "simulate", "timing"),
    },
    "pipeline": {
        *(
            "dram_result",
            "banking",
            "choosing",
            "errors",
            "graph",
            "ingest",
            "networks",
            "hardware",
            "schedule",
        ),
        *("preparation", "priced", "program", "proof", "results", "results_of_exact"),
        *("results_of_costs", "results_of_curves", "results_of_timeline", "results_of_what_ifs"),
        *("timelines", "timing", "whatif"),
    },
    "results_of_time_study": {"results", "results_of_dram"},
    "results_of_review": {"results", "results_of_curves", "results_of_time_study"},
    "reviewing": {
        *("graph", "hardware", "pipeline", "results", "results_of_review"),
        *("results_of_time_study", "timeline_study"),
    },
    "reviews": {"errors", "results_of_review"},
    "timeline_study": {
        *(
            "request_streams",
            "errors",
            "graph",
            "hardware",
            "pipeline",
            "priced",
            "proof",
            "results_of_time_study",
        ),
        *("simulate", "timelines", "timing"),
    },
    "explanation": {
        *("errors", "graph", "hardware", "inspection", "pipeline", "results_of_explanation"),
        *("results_of_groups", "schedule"),
    },
    "holding": {
        *("errors", "graph", "hardware", "preparation", "program", "results_of_costs", "schedule"),
        *("simulate", "traffic"),
    },
    "scenario": {
        *("documents", "errors", "hardware", "networks", "pipeline", "resources"),
        *("results_of_studies", "traffic", "units"),
    },
    "sweeps": {
        *("errors", "graph", "hardware", "holding", "inspection", "pipeline", "results"),
        *("results_of_costs", "results_of_studies", "scenario", "traffic", "units", "whatif"),
    },
    "study": {"errors", "results_of_comparison", "results_of_studies", "scenario"},
    "studies": {"results_of_studies", "scenario", "study", "sweeps"},
    "api": {
        *("hardware", "pipeline", "report", "results", "results_of_curves"),
        *("results_of_studies", "scenario", "studies", "sweeps", "units"),
    },
    "execution": {"errors", "graph", "program", "results_of_replay", "simulate"},
    "replaying": {
        *("errors", "execution", "graph", "hardware", "ingest", "networks", "pipeline", "program"),
        *("results_of_replay", "schedule", "simulate", "whatif"),
    },
    "report": {
        *("errors", "results", "results_of_exact", "results_of_explanation", "results_of_groups"),
        *("results_of_costs", "results_of_curves", "results_of_dram", "results_of_inspection"),
        *(
            "results_of_networks",
            "results_of_placement",
            "results_of_time_study",
            "results_of_timeline",
        ),
        *("resources", "results_of_comparison", "results_of_replay", "results_of_review"),
        *("results_of_studies", "traffic", "units"),
    },
    "cli": {
        *("built_in", "errors", "explanation", "hardware", "inspection", "networks", "pipeline"),
        *(
            "placing",
            "replaying",
            "report",
            "request_streams",
            "resources",
            "results",
            "results_of_curves",
        ),
        *("results_of_studies", "reviewing", "reviews", "scenario", "studies", "study", "sweeps"),
        "timeline_study",
        *("units", "whatif"),
    },
}
# third-party packages that stay in few rooms
ONLY_IN = {
    "onnx": {"ingest", "networks", "simulate.reference", "simulate.reference_operators"},
    "onnxruntime": {"simulate.reference"},
    "distributed": {"sweeps.cluster"},
    "matplotlib": {"api", "report"},
    "pandas": {"api", "report"},
    "click": {"cli"},
    "rich": {"cli"},
    "ortools": {"schedule.exact_solver"},
    "ruamel": {"documents"},
    "jinja2": {"report.page.html"},
    "markupsafe": {"report.page.html"},
    "pydantic": {"hardware", "reviews", "scenario"},
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        yield name.removesuffix(".__init__"), ast.parse(path.read_text())


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def inside(name: str, places: set[str]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


@pytest.mark.parametrize(("module", "tree"), [pytest.param(*m, id=m[0]) for m in modules()])
def test_imports_go_one_way(module: str, tree: ast.Module) -> None:
    room = module.split(".")[0]
    for name in imports(tree):
        package, _, rest = name.partition(".")
        if package == "dataflow_sim" and rest and room != "__init__":
            assert inside(rest, MAY_IMPORT[room] | {room}), f"{module} imports {name}"
        if package in ONLY_IN:
            assert inside(module, ONLY_IN[package]), f"{module} imports {name}"


def test_rooms_form_no_cycle() -> None:
    done: set[str] = set()
    left = {room: {name.split(".")[0] for name in names} for room, names in MAY_IMPORT.items()}
    while left:
        ready = [room for room, names in left.items() if names <= done]
        assert ready, f"cycle among {sorted(left)}"
        for room in ready:
            done.add(room)
            del left[room]


def test_the_count_is_independent_of_the_estimate() -> None:
    """`simulate` takes nothing but types from `program`, and nothing from `schedule`."""
    for module, tree in modules():
        if module.startswith("simulate"):
            for name in imports(tree):
                assert not name.startswith("dataflow_sim.schedule"), f"{module}: {name}"
    instructions = ast.parse((PACKAGE / "program" / "instructions.py").read_text())
    functions = [n for n in instructions.body if isinstance(n, ast.FunctionDef)]
    assert not functions


def test_modules_stay_readable() -> None:
    """About 300 lines a module: none above 400."""
    lengths = {p.name: len(p.read_text().splitlines()) for p in PACKAGE.rglob("*.py")}
    assert {name: length for name, length in lengths.items() if length > 400} == {}
