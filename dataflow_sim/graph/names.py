"""Layers by their name, or by their number in the order of the network."""

from __future__ import annotations

from difflib import get_close_matches

from dataflow_sim.errors import InputError
from dataflow_sim.graph.network import NetworkGraph

_NEAREST = 3
_LONGEST_NUMBER = 8  # digits


def find_layer(graph: NetworkGraph, text: str) -> int:
    """The place of a layer by its name, or by its number from 1; a name goes before a number.

    Raises InputError naming the nearest names.
    """
    names = [layer.name for layer in graph.layers]
    if text in names:
        return names.index(text)
    how = f"`dataflow-sim inspect` lists its {len(names):,} layers in order"
    if text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER:
        if 1 <= int(text) <= len(names):
            return int(text) - 1
        raise InputError(f"{graph.name} has no layer number {text}, only 1 to {len(names)}; {how}")
    lowered = {name.lower(): name for name in reversed(names)}
    matches = get_close_matches(text[:200].lower(), list(lowered), _NEAREST, 0.4)
    nearest = ", ".join(lowered[match] for match in matches)
    close = f"; nearest: {nearest}" if nearest else ""
    raise InputError(f"{graph.name} has no layer '{text[:60]}'{close}; {how}")
