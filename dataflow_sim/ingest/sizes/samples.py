"""What a node reads of one sample, given to every sample of a batch that became larger.

A class token, the first state of a recurrence, indices into the features of a sample: the file
has them once because its batch is 1, and every sample of another batch meets the same ones.
"""

from __future__ import annotations

import numpy as np
import onnx

from dataflow_sim.ingest.file.nodes import titled
from dataflow_sim.ingest.sizes.frozen import new_extent, old_extent, plain
from dataflow_sim.ingest.sizes.operands import known_operands
from dataflow_sim.ingest.sizes.site import Site

_STATES = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}
# what has the batch, and what may be a constant of one sample
_SAMPLED = {"GridSample": (0, 1), "GatherElements": (1, 0)}


def _numbers(site: Site, numbers: tuple[int, ...], position: int) -> str:
    return site.constant(np.array(numbers, np.int64), position)


def _repeat(site: Site, position: int, axis: int, count: int) -> None:
    """Read a constant repeated along one of its axes of extent 1."""
    name = site.name(position)
    shape, element = site.known.new(name), site.known.element_type(name)
    if shape is None or not site.known.is_constant(name) or shape[axis : axis + 1] != (1,):
        return
    if element is None:
        return
    whole = (*shape[:axis], count, *shape[axis + 1 :])
    repeated = site.names.fresh(f"{name}.repeated")
    inputs = [name, _numbers(site, whole, position)]
    site.before.append(onnx.helper.make_node("Expand", inputs, [repeated], name=repeated))
    site.known.add(repeated, element, plain(shape, whole), is_constant=True)
    site.repeated.append(name)
    site.node.input[position] = repeated


def _repeat_joined(site: Site, count: int) -> None:
    operands = known_operands(site)
    rank = len(operands[0][1]) if operands else 0
    along = site.integer("axis", 1) % rank if rank else 0
    for axis in range(rank):
        met = [axes[axis] for _, axes in operands if len(axes) == rank]
        if axis != along and any(site.known.is_batch(own) for own in met):
            for position in range(len(site.node.input)):
                _repeat(site, position, axis, count)


def _pick_in_each(site: Site, count: int) -> None:
    """Constant indices into a flattened sample: into each sample of a flattened batch.

    data (K,), indices (1, ..)     data (N x K,) as (N, K), picked along axis 1: (N, 1, ..)
    result (1, ..)                 result (N, ..)
    """
    axes, indices = site.axes(0), site.known.new(site.name(1))
    element = site.known.element_type(site.name(0))
    constant = site.known.is_constant(site.name(1)) and not site.known.changed(site.name(1))
    if axes is None or len(axes) != 1 or len(axes[0]) < 2 or not indices or element is None:
        return
    if not (site.known.is_batch(axes[0][:1]) and constant) or indices[0] != 1 or len(indices) < 2:
        return
    rows, picked = (site.names.fresh(f"{site.node.output[0]}.{end}") for end in ("rows", "picked"))
    inner = (old_extent(axes[0][1:]), new_extent(axes[0][1:]))
    flat = [site.name(0), _numbers(site, (count, inner[1]), 0)]
    site.before.append(onnx.helper.make_node("Reshape", flat, [rows], name=rows))
    site.known.add(rows, element, (axes[0][:1], axes[0][1:]))
    both = [rows, site.name(1)]
    site.before.append(onnx.helper.make_node("Gather", both, [picked], name=picked, axis=1))
    site.known.add(picked, element, (axes[0][:1], *plain(indices, indices)))
    site.remarks.append(f"{titled(site.node)} picks in each of the {count} samples")
    site.become("Reshape", [picked, _numbers(site, (count, *indices[1:]), 1)])


def meet_samples(site: Site) -> None:
    """Give constants of one sample to every sample, where a node does not so by itself."""
    op = site.node.op_type
    if site.known.batch is None or site.known.batch[0] != 1:
        return
    count = site.known.batch[1]
    if op == "Concat":
        _repeat_joined(site, count)
    elif op == "Gather" and site.integer("axis", 0) == 0:
        _pick_in_each(site, count)
    elif op in _STATES:
        axes = site.axes(0)
        batch_first = bool(site.integer("layout", 0))
        if axes and len(axes) == 3 and site.known.is_batch(axes[0 if batch_first else 1]):
            for position in _STATES[op]:
                _repeat(site, position, 0 if batch_first else 1, count)
    elif op in _SAMPLED:
        reads, constant = _SAMPLED[op]
        other = site.axes(reads)
        along_batch = op == "GatherElements" and site.integer("axis", 0) == 0
        if other and site.known.is_batch(other[0]) and not along_batch:
            _repeat(site, constant, 0, count)
