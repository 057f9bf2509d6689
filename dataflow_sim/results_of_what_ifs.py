"""What was changed of a network before it was scheduled, as plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WhatIfResult:
    """One change: as it was asked for, and what it did, a sentence each."""

    text: str
    effects: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """One entry of `what_ifs`."""
        return {"text": self.text, "effects": list(self.effects)}
