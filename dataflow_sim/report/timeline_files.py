"""The files of a timeline: all rendered in memory."""

from __future__ import annotations

import pandas as pd

from dataflow_sim.report.dram import TRACE_FORMATS, stream_text
from dataflow_sim.report.timeline import layer_frame, series_frame, stay_frame
from dataflow_sim.report.timeline_plot import timeline_pictures
from dataflow_sim.report.trace import trace_text
from dataflow_sim.results_of_time_study import TimeStudy


def _csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False, lineterminator="\n").encode()


def timeline_files(study: TimeStudy, trace_format: str | None = None) -> dict[str, bytes]:
    """File names and contents: JSON, a trace, tables and pictures; of the study's requests a trace
    for each channel."""
    assert study.run.timeline is not None
    files = {
        "timeline.json": study.json_text().encode(),
        "trace.json": trace_text(study).encode(),
        "layers.csv": _csv(layer_frame(study.run.timeline)),
        "windows.csv": _csv(series_frame(study)),
        "occupancy.csv": _csv(stay_frame(study)),
    }
    if study.sensitivity:
        rows = [each.to_json() for each in study.sensitivity]
        files["sensitivity.csv"] = _csv(pd.DataFrame(rows))
    for stream in study.requests:
        text = stream_text(stream, trace_format or TRACE_FORMATS[0])
        files[f"requests_{stream.name}.trace"] = text.encode()
    return {**files, **timeline_pictures(study)}
