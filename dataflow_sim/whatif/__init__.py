"""What-ifs: from texts to a changed network, with a record of what was changed.

    texts --parse--> Plan --request--> how the file is read --> network --apply--> changed network

The record, `NetworkGraph.changes`, has every what-if in the order in which it ran.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import pairwise

from dataflow_sim.errors import InputError
from dataflow_sim.graph.network import Change, NetworkGraph
from dataflow_sim.ingest import ReadRequest
from dataflow_sim.whatif import blocks, codes, pruning, reading, sparsity, widths
from dataflow_sim.whatif.contract import Asked, Stage, Value, WhatIf
from dataflow_sim.whatif.measured import Measure

__all__ = ["NOTHING", "WHAT_IFS", "Plan", "Stage", "WhatIf", "described", "parse"]

WHAT_IFS: Mapping[str, WhatIf] = {
    each.name: each
    for each in sorted(
        (
            *reading.WHAT_IFS,
            *pruning.WHAT_IFS,
            *blocks.WHAT_IFS,
            *widths.WHAT_IFS,
            *sparsity.WHAT_IFS,
            *codes.WHAT_IFS,
        ),
        key=lambda what_if: what_if.stage,
    )
}
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Plan:
    """What-ifs with their values, in the order in which they run."""

    steps: tuple[tuple[WhatIf, Asked], ...] = ()

    def request(self, request: ReadRequest) -> ReadRequest:
        """How the file is to be read.  Raises InputError where an option says it otherwise."""
        for each, asked in self.steps:
            if each.read is not None:
                request = each.read(request, asked)
        return request

    def apply(self, graph: NetworkGraph, measure: Measure | None = None) -> NetworkGraph:
        """The network with all changes, and their record.

        `measure` counts the values of constants that the file carries.  Raises InputError where a
        what-if finds nothing to change.
        """
        for each, asked in self.steps:
            effects: tuple[str, ...] = (each.after,)
            replaced = next((p for p in graph.passes if p.name == asked.text), None)
            if replaced is not None:
                if not replaced.changed:
                    raise asked.refused("the network has none of these")
                effects = (f"{len(replaced.changed)} replaced",)
            if each.change is not None:
                found = each.change(graph, replace(asked, measure=measure))
                graph, effects = found.graph, found.effects
            graph = replace(graph, changes=(*graph.changes, Change(asked.text, effects)))
        return graph


NOTHING = Plan()


def _options(each: WhatIf, parts: Sequence[str], problems: list[str]) -> Mapping[str, Value | None]:
    """The options of a what-if; what is wrong with them goes to the problems."""
    known = {option.name: option for option in each.options}
    found: dict[str, Value | None] = {name: option.default for name, option in known.items()}
    given: set[str] = set()
    for part in parts:
        name, equals, text = part.partition("=")
        option = known.get(name)
        if option is None or not equals:
            legal = ", ".join(f"{o.name}={o.kind.words}" for o in each.options) or "none"
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            problems.append(f"{part[:_SHOWN]!r} is no option of it{hint}; there are {legal}")
        elif name in given:
            problems.append(f"{name} is given twice")
        else:
            value = option.kind.read(text)
            if value is None:
                problems.append(f"{name}={text[:_SHOWN]}: write {option.kind.words}")
            found[name] = value
            given.add(name)
    return found


def _step(text: str, problems: list[str]) -> tuple[WhatIf, Asked] | None:
    head, *parts = text.split(":")
    name, equals, value = head.partition("=")
    each = WHAT_IFS.get(name)
    if each is None:
        near = get_close_matches(name, WHAT_IFS, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        problems.append(
            f"--what-if {text[:_SHOWN]}: unknown; {hint}`dataflow-sim whatifs` lists them"
        )
        return None
    own: list[str] = []
    found = each.kind.read(value) if equals else None
    if found is None:
        own.append(f"write {each.usage}")
    options = _options(each, parts, own)
    problems += [f"--what-if {text[:_SHOWN]}: {problem}" for problem in own]
    return None if own or found is None else (each, Asked(text, found, options))


# what-ifs that say the same thing of all tensors, so that one would undo the other
_ALIKE = (
    ("weight_bits", "mixed_precision", "binary"),
    ("activation_bits", "binary"),
    ("sparsity", "n_of_m"),
    ("map_sparsity",),
    ("codebook", "weight_compression"),
    ("entropy", "weight_compression"),
    ("map_compression",),
)


def _conflicts(steps: Sequence[tuple[WhatIf, Asked]]) -> list[str]:
    """What is asked of all tensors twice, in one way or another; of some of them it may be."""
    general = [
        (each.name, asked)
        for each, asked in steps
        if asked.options.get("kind") is None and asked.options.get("layer") is None
    ]
    found: dict[str, None] = {}
    for family in _ALIKE:
        mine = [(name, asked) for name, asked in general if name in family]
        if family == ("activation_bits", "binary"):
            mine = [each for each in mine if each[0] != "binary" or each[1].value == "xnor"]
        for (_, first), (_, second) in pairwise(mine):
            found[
                f"--what-if {second.text}: --what-if {first.text} says otherwise of the same "
                "tensors; leave one out, or name a kind or a layer"
            ] = None
    return list(found)


def parse(texts: Sequence[str]) -> Plan:
    """The what-ifs that texts ask for, by stage and then as they are given.

    Raises InputError with everything that is wrong, one a line.
    """
    problems: list[str] = []
    steps = [step for text in texts if (step := _step(text, problems)) is not None]
    names = [each.name for each, _ in steps if each.stage is Stage.READING]
    problems += [
        f"--what-if {name} is given {names.count(name)} times; once is enough"
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    problems += _conflicts(steps)
    if problems:
        raise InputError("\n".join(problems))
    return Plan(tuple(sorted(steps, key=lambda step: step[0].stage)))


def _shown(value: Value | None) -> str | None:
    """A default as a user would write it."""
    if isinstance(value, tuple):
        return "/".join(str(each) for each in value)
    return None if value is None else str(value)


def described(each: WhatIf) -> dict[str, object]:
    """A what-if as plain data."""
    return {
        "name": each.name,
        "value": each.kind.words,
        "stage": each.stage.name.lower(),
        "meaning": each.meaning,
        "before": each.before,
        "after": each.after,
        "options": [
            {
                "name": option.name,
                "value": option.kind.words,
                "default": _shown(option.default),
                "meaning": option.meaning,
            }
            for option in each.options
        ],
    }
