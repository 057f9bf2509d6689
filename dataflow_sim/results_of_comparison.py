"""Two results beside each other, as plain frozen data."""

from __future__ import annotations

from dataclasses import asdict, dataclass

COMPARE_SCHEMA = "dataflow_sim.compare/1"


@dataclass(frozen=True, slots=True)
class Change:
    """A figure, or what was asked, before and after; as texts where it is no number."""

    what: str
    before: float | str | None
    after: float | str | None

    @property
    def difference(self) -> float | None:
        """After less before, None where one is no number."""
        if isinstance(self.before, int | float) and isinstance(self.after, int | float):
            return self.after - self.before
        return None

    @property
    def ratio(self) -> float | None:
        """After over before, None where there is none."""
        if self.difference is None or not self.before:
            return None
        assert isinstance(self.before, int | float)
        assert isinstance(self.after, int | float)
        return self.after / self.before


@dataclass(frozen=True, slots=True)
class LayerChange:
    """A layer whose traffic changed: by how much, by reason, and what is different about it."""

    layer: str
    before_bytes: int | None
    after_bytes: int | None
    by_reason: tuple[tuple[str, int], ...]
    why: tuple[str, ...]

    @property
    def difference_bytes(self) -> int:
        """After less before; a layer that one side has not counts as nothing there."""
        return (self.after_bytes or 0) - (self.before_bytes or 0)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two runs, or two sweeps, differ in: inputs, figures, layers or points."""

    before: str
    after: str
    inputs: tuple[Change, ...]
    figures: tuple[Change, ...]
    layers: tuple[LayerChange, ...]

    def to_json(self) -> dict[str, object]:
        """The JSON result as plain data."""

        def told(change: Change) -> dict[str, object]:
            return {**asdict(change), "difference": change.difference, "ratio": change.ratio}

        return {
            "schema": COMPARE_SCHEMA,
            "before": self.before,
            "after": self.after,
            "inputs": [told(each) for each in self.inputs],
            "figures": [told(each) for each in self.figures],
            "layers": [
                {
                    **asdict(each),
                    "by_reason": dict(each.by_reason),
                    "difference_bytes": each.difference_bytes,
                }
                for each in self.layers
            ],
        }
