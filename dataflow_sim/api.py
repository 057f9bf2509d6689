"""For notebooks: run, curve and sweep in one call each, with frozen results that show themselves.

    import dataflow_sim
    result = dataflow_sim.run("mobilenet_v1", hw="bare", local_memory="256KiB", policy="merged")
    result.dram_bytes, result.to_frame(), result.plot()

Arguments have the names of the command line's options, of which the most used ones are there;
errors are those of the package.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from dataflow_sim.hardware import DEFAULT_HARDWARE, Hardware, load_hardware
from dataflow_sim.pipeline import (
    ReadRequest,
    RunOptions,
    load_network,
    parse_what_ifs,
)
from dataflow_sim.pipeline import curve as run_curve
from dataflow_sim.pipeline import run as run_network
from dataflow_sim.report import frames
from dataflow_sim.report.curve_plot import budget_figure
from dataflow_sim.report.curves import point_at
from dataflow_sim.report.plots import traffic_per_layer
from dataflow_sim.report.tables import layer_frame
from dataflow_sim.results import RunResult
from dataflow_sim.results_of_curves import CurveResult
from dataflow_sim.results_of_studies import StudyResult
from dataflow_sim.scenario.machines import overrides
from dataflow_sim.scenario.reading import Scenario, read_scenario, read_text, scenario_path
from dataflow_sim.studies import run_scenarios
from dataflow_sim.sweeps.engine import one_by_one, processes
from dataflow_sim.sweeps.store import Store
from dataflow_sim.units import format_bytes, parse_bytes, parse_rows_by_columns

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, repr=False)
class Run:
    """One run: `result` has everything; a row of the frame is a layer."""

    result: RunResult

    @property
    def dram_bytes(self) -> int:
        """All bytes over the DRAM interface, a frame."""
        return self.result.traffic.total_bytes

    @property
    def energy_mj(self) -> float:
        """Energy of a frame, mJ."""
        return self.result.energy.total_pj / 1e9

    @property
    def latency_ms(self) -> float:
        """Latency of a frame, ms."""
        return self.result.latency_s * 1e3

    def to_frame(self) -> pd.DataFrame:
        """Layers as rows, in network order; units stand in the names of columns."""
        return layer_frame(self.result)

    def plot(self) -> Figure:
        """DRAM bytes of each layer by reason."""
        return traffic_per_layer(self.result)

    def __repr__(self) -> str:
        """In a line."""
        found = self.result
        return (
            f"<Run: {found.network} on {found.hardware}, {found.policy}: "
            f"{format_bytes(self.dram_bytes)} of DRAM traffic, {self.energy_mj:.3f} mJ, "
            f"{self.latency_ms:.3f} ms>"
        )

    def _repr_html_(self) -> str:
        return frames.run_html(self.result)


@dataclass(frozen=True, slots=True, repr=False)
class Curve:
    """One budget curve: `result` has every breakpoint; a row of the frame is one."""

    result: CurveResult

    def at(self, local_memory: str | int) -> int | None:
        """DRAM bytes with so much local memory; None where the network does not fit.

        Raises InputError for what is no size.
        """
        point = point_at(self.result, parse_bytes(local_memory))
        return None if point is None else point.traffic.total_bytes

    def to_frame(self) -> pd.DataFrame:
        """Breakpoints as rows, local memory ascending."""
        return frames.curve_frame(self.result)

    def plot(self) -> Figure:
        """DRAM bytes against local memory, stacked by what moves."""
        return budget_figure([[self.result]])

    def __repr__(self) -> str:
        """In a line."""
        found = self.result
        return (
            f"<Curve: {found.network} on {found.hardware}, {found.policy}: "
            f"{len(found.points):,} breakpoints>"
        )

    def _repr_html_(self) -> str:
        return frames.curve_html(self.result)


@dataclass(frozen=True, slots=True, repr=False)
class Sweep:
    """Every point of a scenario; a row of the frame is a point."""

    result: StudyResult

    def to_frame(self, of: str = "points") -> pd.DataFrame:
        """Rows `of` points, layers or breakpoints.  Raises ValueError for another name."""
        return frames.study_frame(self.result, of)

    def plot(self, file: str | None = None) -> Figure:
        """A picture that the scenario names, without `file` its first one.

        Raises ValueError where there is none.
        """
        return frames.study_figure_of(self.result, file)

    def __repr__(self) -> str:
        """In a line."""
        return f"<Sweep: {self.result.name}: {len(self.result.points.rows):,} points>"

    def _repr_html_(self) -> str:
        return frames.study_html(self.result)


def _machine(
    hw: str | Hardware, local_memory: str | int | None, changes: Mapping[str, object] | None
) -> Hardware:
    if isinstance(hw, Hardware):
        if changes or local_memory is not None:
            raise TypeError("give the name of a machine to change its keys")
        return hw
    return load_hardware(hw, overrides(changes or {}, local_memory))


def _request(
    batch: int | None, input_size: str | None, dims: Mapping[str, int] | None
) -> ReadRequest:
    size = None if input_size is None else parse_rows_by_columns(input_size)
    return ReadRequest(dims=dict(dims or {}), batch=batch, input_size=size)


def run(
    network: str,
    *,
    hw: str | Hardware = DEFAULT_HARDWARE,
    local_memory: str | int | None = None,
    policy: str = "layerwise",
    objective: str = "dram",
    weight_bits: int | None = None,
    activation_bits: int | None = None,
    fps: float | None = None,
    frames: int = 1,
    layers: str | None = None,
    batch: int | None = None,
    input_size: str | None = None,
    dims: Mapping[str, int] | None = None,
    what_ifs: Sequence[str] = (),
    set: Mapping[str, object] | None = None,
) -> Run:
    """Schedule a network (a file or a built-in name) on a machine and tell what it costs.

    Raises InputError, and DoesNotFitError where no schedule of a layer fits.
    """
    machine = _machine(hw, local_memory, set)
    graph = load_network(
        network, _request(batch, input_size, dims), parse_what_ifs(tuple(what_ifs))
    )
    options = RunOptions(
        policy=policy,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        frames_per_second=fps,
        frames=frames,
        objective=objective,
        layers=layers,
    )
    return Run(run_network(graph, machine, options))


def curve(
    network: str,
    *,
    hw: str | Hardware = DEFAULT_HARDWARE,
    policy: str = "merged",
    weight_bits: int | None = None,
    activation_bits: int | None = None,
    layers: str | None = None,
    batch: int | None = None,
    input_size: str | None = None,
    dims: Mapping[str, int] | None = None,
    what_ifs: Sequence[str] = (),
    set: Mapping[str, object] | None = None,
) -> Curve:
    """DRAM bytes of a network at every local memory.  Raises InputError."""
    machine = _machine(hw, None, set)
    graph = load_network(
        network, _request(batch, input_size, dims), parse_what_ifs(tuple(what_ifs))
    )
    options = RunOptions(policy, weight_bits, activation_bits, layers=layers)
    return Curve(run_curve(graph, machine, options))


def sweep(
    scenario: str | Path,
    *,
    out: str | Path | None = None,
    workers: int | None = None,
) -> Sweep:
    """Every point of a scenario: a file, the name of a shipped one, or its YAML text.

    Results stay in `out` and are gone on from; without it they are thrown away.  `workers` are
    processes, without them one for each core; with 1 all is computed in this process, which is what
    a script without a `__main__` guard needs.  Raises ScenarioError and StoreError.
    """
    read = _scenario(scenario)
    count = workers or os.cpu_count() or 1
    executor = one_by_one if count == 1 else processes(count)
    with TemporaryDirectory() as thrown_away, Store(Path(out or thrown_away)) as store:
        (found,) = run_scenarios([read], store, executor, lambda done, total: None)
    return Sweep(found)


def _scenario(scenario: str | Path) -> Scenario:
    if isinstance(scenario, str) and "\n" in scenario:
        return read_text(scenario, Path("scenario.yaml"))
    return read_scenario(scenario_path(str(scenario)))
