"""NetworkSummary: what is told of a built-in network; counts at 8 bit, one byte an element."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Setting:
    """A number that the network's name carries: its value here, its default, what is legal."""

    name: str
    value: float
    default: float
    limits: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """A published figure beside the count here, and why they differ where they do.

    `what` is "parameters" or "MACs"; `at` are the numbers of the name that it was published for.
    """

    what: str
    at: str
    published: int
    counted: int
    source: str
    because: str

    @property
    def difference(self) -> float:
        """The count over the published figure, less one."""
        return self.counted / self.published - 1


@dataclass(frozen=True, slots=True)
class NetworkSummary:
    """A built-in network: what it is, what it takes, how large it is.

    `inputs` are names and shapes as the ONNX model has them.  Ratios and the live set are those
    of `inspect`.
    """

    name: str
    pattern: str
    task: str
    description: str
    source: str
    deviations: tuple[str, ...]
    settings: tuple[Setting, ...]
    inputs: tuple[tuple[str, tuple[int, ...]], ...]
    outputs: tuple[tuple[str, tuple[int, ...]], ...]
    layers: int
    parameters: int
    macs: int
    operations_per_weight_byte: float | None
    live_peak_elements: int
    published: tuple[Comparison, ...] = ()

    def to_json(self) -> dict[str, object]:
        """The summary as plain data, keys in a fixed order."""
        return {
            **asdict(self),
            "deviations": list(self.deviations),
            "settings": [asdict(setting) for setting in self.settings],
            "inputs": _shapes(self.inputs),
            "outputs": _shapes(self.outputs),
            "published": [
                {**asdict(each), "difference": each.difference} for each in self.published
            ],
        }


def _shapes(values: tuple[tuple[str, tuple[int, ...]], ...]) -> list[dict[str, object]]:
    return [{"name": name, "shape": list(shape)} for name, shape in values]
