"""How often the values of a kernel occur: all that is kept of it when it is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often each quantised value of a kernel occurs, zeros apart; only what occurs is listed.

    `zeros` are those that quantisation makes zero, `exact_zeros` the kernel's own; `distinct` are
    its distinct values before quantisation, None where they are too many to be counted.
    """

    zeros: int
    others: tuple[int, ...]
    exact_zeros: int
    distinct: int | None

    @property
    def elements(self) -> int:
        """All values."""
        return self.zeros + sum(self.others)
