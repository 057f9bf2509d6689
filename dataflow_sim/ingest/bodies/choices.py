"""What the user decides of bodies: the branch that an If takes, the trips that a loop makes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx

from dataflow_sim.errors import NetworkError
from dataflow_sim.ingest.bodies.inlining import STEPS, Holder, is_control, shared_name
from dataflow_sim.ingest.bodies.writer import shortened
from dataflow_sim.ingest.file.checks import check_functions, function_key

_NAMES_SHOWN = 12
_BRANCHES = ("then", "else")


@dataclass(frozen=True, slots=True)
class BodyChoices:
    """Choices by the names of nodes: `branches` for If, `trips` for Loop and Scan.

    Inside bodies a node's name is that of the nodes around it and its own: `cond/then/inner`.
    In a loop, `loop/inner` is the node in all iterations, `loop/3/inner` in one.
    """

    branches: Mapping[str, str] = field(default_factory=dict)
    trips: Mapping[str, int] = field(default_factory=dict)

    def branch(self, held: Holder) -> str | None:
        """The branch that is chosen for an If; None where none is."""
        return self.branches.get(held.full, self.branches.get(held.shared))

    def trips_of(self, held: Holder) -> int | None:
        """The trips that are chosen for a Loop or Scan; None where none are."""
        return self.trips.get(held.full, self.trips.get(held.shared))


def check_choices(model: onnx.ModelProto, label: str, choices: BodyChoices) -> None:
    """Refuse choices for nodes that the model does not have, at any depth.

    Raises NetworkError listing the names there are.
    """
    if not choices.branches and not choices.trips:
        return
    branching, looping = _names(model, label)
    _check_names("--branch", choices.branches, "If", branching, label)
    _check_names("--trips", choices.trips, "Loop or Scan", looping, label)
    for name, trips in choices.trips.items():
        if trips < 0:
            raise NetworkError(f"{label}: --trips {name}={trips}: a loop runs 0 times or more")
    for name, branch in choices.branches.items():
        if branch not in _BRANCHES:
            raise NetworkError(f"{label}: --branch {name}={branch}: a branch is then or else")


def _names(model: onnx.ModelProto, label: str) -> tuple[list[str], list[str]]:
    """The names of all If, and of all Loop and Scan, in the order of the file."""
    check_functions(model, label)
    functions = {function_key(function): function for function in model.functions}
    branching: dict[str, None] = {}
    looping: dict[str, None] = {}
    todo = [(node, "") for node in reversed(model.graph.node)]
    while todo:
        node, path = todo.pop()
        inner: list[tuple[Sequence[onnx.NodeProto], str]] = []
        function = functions.get(function_key(node)) if functions else None
        name = shared_name(node, path)
        if function is not None:
            inner.append((function.node, f"{name}/"))
        elif is_control(node):
            (branching if node.op_type == "If" else looping)[name] = None
            for attribute in node.attribute:
                step = STEPS.get(attribute.name)
                if step is not None and attribute.HasField("g"):
                    inner.append((attribute.g.node, f"{name}/{step}/" if step else f"{name}/"))
        for nodes, prefix in reversed(inner):
            todo.extend((each, shortened(prefix)) for each in reversed(nodes))
    return list(branching), list(looping)


def _check_names(
    option: str, chosen: Mapping[str, object], kind: str, names: Sequence[str], label: str
) -> None:
    known = {_without_trips(name) for name in names}
    for name in chosen:
        if _without_trips(name) in known:
            continue
        if not names:
            raise NetworkError(f"{label}: {option} {name}=..: the network has no {kind}")
        shown = ", ".join(f"'{each}'" for each in names[:_NAMES_SHOWN])
        more = f" and {len(names) - _NAMES_SHOWN:,} more" if len(names) > _NAMES_SHOWN else ""
        raise NetworkError(
            f"{label}: {option} {name}=..: no {kind} has that name; there are {shown}{more}"
        )


def _without_trips(name: str) -> str:
    """A name without what may be the numbers of iterations."""
    return re.sub(r"/\d+(?=/)", "", name)
