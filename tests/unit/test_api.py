"""The calls for notebooks: what they return is what the command line finds, and shows itself."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from matplotlib.figure import Figure

import dataflow_sim
from dataflow_sim.errors import InputError
from dataflow_sim.hardware import load_hardware
from dataflow_sim.report.frames import html_table
from dataflow_sim.report.tables import Table

NETWORK = "mobilenet_v1@0.25-32"


def test_a_run_shows_itself() -> None:
    found = dataflow_sim.run(NETWORK, hw="bare", local_memory="8KiB", policy="resident")
    frame = found.to_frame()
    assert frame["dram_bytes"].sum() == found.dram_bytes == found.result.traffic.total_bytes
    assert found.energy_mj == found.result.energy.total_pj / 1e9
    assert found.latency_ms > 0
    assert isinstance(found.plot(), Figure)
    assert "<table>" in found._repr_html_()
    with pytest.raises(FrozenInstanceError):
        found.result = found.result  # type: ignore[misc]


def test_a_curve_is_what_runs_find() -> None:
    found = dataflow_sim.curve(NETWORK, hw="bare", policy="resident")
    for size in ("4KiB", "8KiB", 65536):
        run = dataflow_sim.run(NETWORK, hw="bare", local_memory=size, policy="resident")
        assert found.at(size) == run.dram_bytes
    assert found.at("16B") is None
    assert len(found.to_frame()) == len(found.result.points)
    assert isinstance(found.plot(), Figure)
    assert "compulsory floor" in found._repr_html_()


def test_a_sweep_of_a_text(tmp_path: Path) -> None:
    text = (
        f"title: t\nnetwork: {NETWORK}\nhardware: bare\naxes: {{local_memory: [4KiB, 64KiB]}}\n"
        "record: [dram_bytes]\nrecord_layers: [macs]\ncurves: true\n"
        "pictures:\n  - {file: p, kind: bars, title: t, x: local_memory_bytes, y: dram_bytes}\n"
    )
    found = dataflow_sim.sweep(text, out=tmp_path, workers=1)
    assert list(found.to_frame()["local_memory_bytes"]) == [4096, 65536]
    assert len(found.to_frame("layers")) == 2 * 28
    assert len(found.to_frame("breakpoints")) > 2
    assert isinstance(found.plot(), Figure)
    assert "<table>" in found._repr_html_()
    again = dataflow_sim.sweep(text, out=tmp_path, workers=1)
    assert again.result.computed == 0
    assert again.to_frame().equals(found.to_frame())
    with pytest.raises(ValueError, match="'rows' is none of"):
        found.to_frame("rows")
    with pytest.raises(ValueError, match="draws no picture 'q'"):
        found.plot("q")


def test_arguments_are_those_of_the_command_line() -> None:
    found = dataflow_sim.run(
        "ds_cnn_s",
        hw="bare",
        batch=2,
        what_ifs=["weight_bits=4"],
        set={"dram.energy": "5pJ/bit", "compute.macs_per_cycle": 64},
        fps=10.0,
    )
    assert dict(found.result.overrides) == {
        "dram.energy": "5pJ/bit",
        "compute.macs_per_cycle": "64",
    }
    assert [each.text for each in found.result.what_ifs] == ["weight_bits=4"]
    assert found.result.required_gb_s is not None
    machine = load_hardware("bare")
    plain = dataflow_sim.run("ds_cnn_s", hw=machine)
    assert plain.dram_bytes == dataflow_sim.run("ds_cnn_s", hw="bare").dram_bytes
    with pytest.raises(TypeError, match="name of a machine"):
        dataflow_sim.run("ds_cnn_s", hw=machine, local_memory="8KiB")
    with pytest.raises(InputError):
        dataflow_sim.run("nowhere")
    with pytest.raises(AttributeError):
        dataflow_sim.nothing  # noqa: B018


def test_names_are_shown_not_executed() -> None:
    found = html_table(Table("<b>", ("<script>",), (("<img src=x>",),)))
    assert "<script>" not in found
    assert "&lt;script&gt;" in found
    assert "<img" not in found


def test_each_shows_itself_in_a_line() -> None:
    found = dataflow_sim.run("ds_cnn_s", hw="bare")
    assert repr(found).startswith("<Run: ds_cnn_s on bare, layerwise: ")
    assert f"{found.energy_mj:.3f} mJ" in repr(found)
    curve = dataflow_sim.curve("ds_cnn_s", hw="bare", policy="layerwise")
    assert repr(curve) == (
        f"<Curve: ds_cnn_s on bare, layerwise: {len(curve.result.points):,} breakpoints>"
    )
