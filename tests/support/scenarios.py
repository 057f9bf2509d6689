"""Scenarios of tests: texts that are written to files, and their results computed here."""

from __future__ import annotations

from pathlib import Path

from dataflow_sim.results_of_studies import StudyResult
from dataflow_sim.scenario.reading import Scenario, ScenarioError, read_text
from dataflow_sim.studies import run_scenarios
from dataflow_sim.sweeps.engine import one_by_one
from dataflow_sim.sweeps.store import Store

SMALL = """
title: small
networks: [mobilenet_v1@0.25-32, ds_cnn_s]
hardware: bare
axes:
  policy: [layerwise, resident]
  local_memory: [1KiB, 16KiB, 64KiB]
record: [dram_bytes, map_bytes, macs, capacity_bytes]
"""


def scenario(text: str) -> Scenario:
    """A scenario of a text."""
    return read_text(text, Path("study.yaml"))


def mistakes(text: str) -> list[str]:
    """Everything that is said to be wrong with a text."""
    try:
        scenario(text)
    except ScenarioError as error:
        return str(error).splitlines()
    return []


def studied(text: str, directory: Path) -> StudyResult:
    """A scenario's results, computed in this process and stored in a directory."""
    with Store(directory) as store:
        (found,) = run_scenarios([scenario(text)], store, one_by_one, lambda done, total: None)
    return found
