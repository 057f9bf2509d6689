"""Every layer alone, through DRAM, for every budget: the curve that all else is held against."""

from __future__ import annotations

import numpy as np

from dataflow_sim.graph.network import NetworkGraph
from dataflow_sim.schedule.alone import any_problem, frontier, plain_curve_of
from dataflow_sim.schedule.objectives import DRAM_BITS, Objective
from dataflow_sim.schedule.rows import Ints
from dataflow_sim.schedule.types import MemoryOptions

_BUDGETS = 256
# more bits than any network moves, and far from overflow when added up
IMPOSSIBLE = 1 << 50


class Baseline:
    """Frontiers of all layers alone.

    `alone` holds the costs of plain tilings by budget, on a grid of budgets: with resident maps a
    layer never does worse than that.  `least_bytes` is the smallest memory in which every
    layer runs.
    """

    def __init__(
        self, graph: NetworkGraph, memory: MemoryOptions, objective: Objective = DRAM_BITS
    ) -> None:
        self.objective = objective
        problems = [any_problem(graph, layer, memory) for layer in graph.layers]
        self.frontiers = [frontier(problem) for problem in problems]
        self.least_bytes = max(int(f.local_bytes[0]) for f in self.frontiers)
        low = min(int(f.local_bytes[0]) for f in self.frontiers)
        high = max(int(f.local_bytes[-1]) for f in self.frontiers)
        self._budgets = np.unique(np.geomspace(low, high, _BUDGETS).astype(np.int64))
        plain = {problem: plain_curve_of(problem) for problem in dict.fromkeys(problems)}
        self.alone = []
        for index, problem in enumerate(problems):
            local_bytes, bits = plain[problem]
            self.alone.append(self._costs(local_bytes, objective.cost((index,), bits)))

    def _costs(self, local_bytes: Ints, costs: Ints) -> Ints:
        place = np.searchsorted(local_bytes, self._budgets, "right") - 1
        return np.where(place >= 0, costs[place], IMPOSSIBLE)

    def point(self, local_bytes: int, cost: int) -> Ints:
        """A single point as costs by budget."""
        return np.where(self._budgets >= local_bytes, cost, IMPOSSIBLE)

    def at(self, by_budget: Ints, local_bytes: Ints) -> Ints:
        """Of costs by budget those at the largest budget within each of `local_bytes`."""
        place = np.searchsorted(self._budgets, local_bytes, "right") - 1
        return np.where(place >= 0, by_budget[place], IMPOSSIBLE)

    def breakpoints(self) -> Ints:
        """Local memories at which some layer gets better, from where all run, ascending."""
        found = np.unique(np.concatenate([f.local_bytes for f in self.frontiers]))
        return found[found >= self.least_bytes]

    def total_cost(self, local_bytes: Ints) -> Ints:
        """The cost of all layers in each of these memories."""
        total = np.sum(
            [
                self.objective.cost(
                    (index,),
                    f.dram_bits[np.searchsorted(f.local_bytes, local_bytes, "right") - 1],
                )
                for index, f in enumerate(self.frontiers)
            ],
            axis=0,
        )
        return np.asarray(total, np.int64)
