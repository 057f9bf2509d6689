"""A dataflow and DRAM-bandwidth simulator: what a network costs in memory traffic on a machine.

In a notebook or a script:

    import dataflow_sim
    dataflow_sim.run("mobilenet_v1", hw="bare").to_frame()
    dataflow_sim.curve("mobilenet_v1").plot()
    dataflow_sim.sweep("my_study.yaml").to_frame()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataflow_sim.api import Curve, Run, Sweep, curve, run, sweep

__all__ = ["Curve", "Run", "Sweep", "curve", "run", "sweep"]


def __getattr__(name: str) -> Any:
    """Import the interface when it is asked for, so that the command line starts quickly."""
    if name in __all__:
        from importlib import import_module

        return getattr(import_module("dataflow_sim.api"), name)
    raise AttributeError(f"module 'dataflow_sim' has no attribute '{name}'")
