"""What `explain` shows: one layer's nest, tensors, alternatives as plain tables.  Reads results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dataflow_sim.report.tables import Table
from dataflow_sim.results_of_explanation import (
    Alternative,
    Buffer,
    ExplainedSweep,
    ExplainResult,
    Finish,
    Loop,
    MemoryStep,
    Move,
    Pinned,
    Repeat,
    TensorTraffic,
)
from dataflow_sim.units import format_bytes, format_capacity

_ALTERNATIVES = 3  # besides the best of each stationary kind
_INDENT = "  "
_WHEN = {
    "always": "",
    "after first": ", but for the first tile of input channels",
    "before last": ", but for the last tile of input channels",
    "last": ", with the last tile of input channels",
    "finish": "",
    "own columns": ", where the columns are its own",
    "second pass": ", in the second pass",
    "last columns": ", with the last tile of columns",
    "last rows": ", with the last tile of rows",
}
_STAYS = {
    "input": "input stays",
    "kernel": "kernel stays",
    "output": "output stays",
    "rows": "rows stay",
    "columns": "columns stay",
}
# what rows and columns of a sweep are, by its kind
_ROWS_AND_COLUMNS = {
    "attention": ("queries", "keys"),
    "product": ("rows of the left factor", "columns of the right"),
    "twice": ("sets with statistics of their own", "what statistics run over"),
    "recurrent": ("time steps", "gates of all units"),
}


def explain_tables(result: ExplainResult) -> tuple[Table, ...]:
    """The layer, its loop nest, buffers, tensors, other nests, bound and memory."""
    if result.layer.kind == "streamed" and result.layer.sweep is None:
        return (_layer(result), _slices(result), _tensors(result), _limits(result))
    shown = (_layer, _nest, _buffers, _tensors, _others, _limits)
    return tuple(table(result) for table in shown)


def _extents(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape[1:] if shape[0] == 1 else shape))


def _by(extents: tuple[int, ...]) -> str:
    return "x".join(map(str, extents))


def _layer(result: ExplainResult) -> Table:
    """What the layer is."""
    layer = result.layer
    operation = layer.op
    if layer.kind == "convolution":
        operation += f" {_by(layer.kernel)}, stride {_by(layer.stride)}, pad {_by(layer.pad)}"
        operation += f", dilation {_by(layer.dilation)}" if max(layer.dilation) > 1 else ""
        operation += f", {layer.groups:,} groups" if layer.groups > 1 else ""
    pool = f"; input pooled {layer.input_pool} on the way in" if layer.input_pool else ""
    pool += f"; pooled {layer.pool}" if layer.pool else ""
    body = f" -> {_extents(layer.body_shape)}" if layer.body_shape != layer.output_shape else ""
    shapes = f"{_extents(layer.input_shape)}{body} -> {_extents(layer.output_shape)}"
    if layer.input_bits == layer.output_bits:
        widths = f"{layer.input_bits} bit"
    else:
        widths = f"{layer.input_bits} to {layer.output_bits} bit"
    work = f"{layer.macs:,} MACs"
    if layer.macs_executed != layer.macs:
        work += f", {layer.macs_executed:,} executed"
    weights = f"; {layer.weight_elements:,} weights" if layer.weight_elements else ""
    weights += f" of {layer.kernel_bits} bit" if layer.kernel_bits else ""
    weights += f"; {layer.vector_elements:,} constants" if layer.vector_elements else ""
    rows = [
        ("operation", operation + pool),
        ("maps", f"{shapes}, {widths}"),
        ("work", work + weights),
    ]
    if layer.sweep is not None:
        rows.append(("sweep", _loops_of(layer.sweep)))
    if layer.plane:
        rows.append(
            ("volume", f"rows are depth, columns the lines of planes of {_by(layer.plane)}")
        )
    if layer.folded:
        rows.append(("folded in", layer.folded))
    if layer.operands:
        rows.append(("also reads", ", ".join(layer.operands)))
    memory = format_capacity(result.capacity_bytes)
    if result.accumulator_capacity_bytes is not None:
        memory += f" and {format_capacity(result.accumulator_capacity_bytes)} for partial sums"
    beside = "every map through DRAM"
    if result.resident_bytes:
        beside = f"beside {format_bytes(result.resident_bytes)} of resident maps"
    rows.append(("runs", f"alone on {result.hardware} with {memory}, {beside}"))
    title = f"{layer.name}, layer {layer.number} of {layer.count} of {result.network}"
    return Table(title, ("", ""), tuple(rows))


def _loops_of(sweep: ExplainedSweep) -> str:
    """What rows and columns are, and how many indices each loop has."""
    rows, columns = _ROWS_AND_COLUMNS[sweep.kind]
    found = []
    if sweep.batch > 1:
        found.append(f"{sweep.batch:,} batches")
    if sweep.groups > 1:
        found.append(f"{sweep.groups:,} groups")
    found.append(f"{_counted(sweep.rows, 'row')} ({rows})")
    parts = f" in parts of {' and '.join(map(str, sweep.parts))}" if len(sweep.parts) > 1 else ""
    found.append(f"{_counted(sum(sweep.parts), 'column')} ({columns}){parts}")
    return f"{sweep.kind}: {', '.join(found)}"


# ------------------------------------------------------------ the nest


def _nest(result: ExplainResult) -> Table:
    """The loops, with loads before and stores behind what runs inside."""
    title = f"Loop nest, {_counted(result.steps, 'step')}"
    if result.stationary:
        title += f"; innermost {result.nest[-1]}: {_STAYS[result.stationary]}"
    columns = ("", "tiles", "bytes of a tile", "times")
    return Table(title, columns, tuple(_nest_rows(result, 0)))


_Row = tuple[str, str, str, str]


def _nest_rows(result: ExplainResult, depth: int) -> Iterator[_Row]:
    finish = result.finish
    here = [move for move in result.moves if move.depth == depth and move.when != "finish"]
    for move in here:
        if move.what != "store":
            yield _move_row(result, move)
    if depth < len(result.loops):
        yield _loop_row(result.loops[depth], depth)
        yield from _nest_rows(result, depth + 1)
    else:
        steps = result.steps - (0 if finish is None else finish.steps)
        yield (f"{_INDENT * depth}step", "", "", f"{steps:,}")
    if finish is not None and finish.depth == depth:
        yield from _finish_rows(result, finish)
    for move in here:
        if move.what == "store":
            yield _move_row(result, move)


def _finish_rows(result: ExplainResult, finish: Finish) -> Iterator[_Row]:
    """The sums of a tile, one output channel after the other."""
    moves = [move for move in result.moves if move.when == "finish"]
    head = f"for each output channel of the tile{_late(result, finish.depth)}"
    channels = f"{finish.channels:,} of 1" if finish.channels > 1 else "1"
    yield (f"{_INDENT * finish.depth}{head}", channels, "", "")
    inside = _INDENT * (finish.depth + 1)
    for move in (each for each in moves if each.what == "load"):
        yield (f"{inside}load {move.holds}", "", f"{move.tile_bytes:,}", f"{move.times:,}")
    yield (f"{inside}finish", "", "", f"{finish.steps:,}")
    for move in (each for each in moves if each.what == "store"):
        yield (f"{inside}store {move.holds}", "", f"{move.tile_bytes:,}", f"{move.times:,}")


def _late(result: ExplainResult, depth: int) -> str:
    """What waits for the last tile of the input channels says so, unless it stands behind them."""
    outside = (loop.axis for loop in result.loops[:depth])
    return _WHEN["last"] if "input channels" in outside else ""


def _loop_row(loop: Loop, depth: int) -> _Row:
    if loop.axis == "passes":
        return (f"{_INDENT * depth}for passes: statistics, then results", f"{loop.trips:,}", "", "")
    tiles = f"{loop.trips:,} of {loop.tile:,}"
    if loop.last_tile != loop.tile:
        tiles += f", the last {loop.last_tile:,}"
    return (f"{_INDENT * depth}for {loop.axis}: {loop.extent:,}", tiles, "", "")


def _move_row(result: ExplainResult, move: Move) -> _Row:
    verb = {"load": "load", "store": "store", "hold": "keep"}[move.what]
    text = f"{_INDENT * move.depth}{verb} {move.holds}"
    pinned = result.pinned
    if pinned is not None and move.holds == f"pinned {pinned.role}":
        text += f": {_pinned_share(pinned)}"
    if pinned is not None and move.holds == pinned.role:
        text += ", what is not pinned"
    text += ", only new rows" if move.new_rows else ""
    behind = move.what == "store" and move.when == "last"
    text += _late(result, move.depth) if behind else _WHEN[move.when]
    return (text, "", f"{move.tile_bytes:,}", f"{move.times:,}")


def _pinned_share(pinned: Pinned) -> str:
    if pinned.channels == pinned.of_channels:
        return f"all {pinned.channels:,} {pinned.axis}"
    return f"{pinned.channels:,} of {pinned.of_channels:,} {pinned.axis}"


def _counted(count: int, name: str) -> str:
    return f"{count:,} {name}" if count == 1 else f"{count:,} {name}s"


def _buffers(result: ExplainResult) -> Table:
    """The buffers in local memory, and behind their sum those of partial sums elsewhere."""
    rows = [_buffer_row(buffer) for buffer in result.buffers if not buffer.accumulators]
    rows += [(each.role, f"in place, {each.buffer}", "-", "-") for each in result.in_place]
    rows.append(("sum", "", "", f"{result.local_bytes:,}"))
    title, there = "Local memory", result.accumulator_capacity_bytes
    if there is not None:
        title += ", and behind its sum the accumulator memory"
        rows += [_buffer_row(buffer) for buffer in result.buffers if buffer.accumulators]
        rows.append((f"sum there, of {there:,}", "", "", f"{result.accumulator_bytes:,}"))
    return Table(title, ("buffer", "tile", "slots", "bytes"), tuple(rows))


def _buffer_row(buffer: Buffer) -> tuple[str, str, str, str]:
    shape = "-" if buffer.shape is None else "x".join(map(str, buffer.shape))
    return (buffer.holds, shape, _slots(buffer), f"{buffer.size_bytes:,}")


def _slots(buffer: Buffer) -> str:
    if buffer.ring:
        return "ring" if buffer.slots == 1 else "ring for two"
    return "-" if buffer.slots is None else str(buffer.slots)


def _slices(result: ExplainResult) -> Table:
    """A streamed layer: slices in place of loops."""
    rows = [
        (buffer.holds, str(buffer.slots), f"{buffer.size_bytes:,}") for buffer in result.buffers
    ]
    rows.append(("sum", "", f"{result.local_bytes:,}"))
    title = f"No loop nest: up to {_counted(result.steps, 'slice')} of each tensor"
    return Table(title, ("buffer", "slots", "bytes"), tuple(rows))


# ------------------------------------------------------------ tensors


def _tensors(result: ExplainResult) -> Table:
    rows = [
        (
            ", ".join(tensor.roles),
            f"{tensor.elements:,}",
            f"{tensor.once_bytes:,}",
            f"{tensor.dram_bytes:,}",
            f"{tensor.times:.2f} x",
            why(tensor),
        )
        for tensor in result.tensors
    ]
    rows.append(("sum", "", "", f"{result.dram_bytes:,}", "", ""))
    columns = ("tensor", "elements", "bytes once", "bytes moved", "times", "why")
    return Table("DRAM traffic", columns, tuple(rows))


def why(tensor: TensorTraffic) -> str:
    """Why a tensor moves as often as it does, in a sentence."""
    if tensor.roles == ("partial sums",):
        trips = tensor.repeats[0].trips
        return (
            f"unfinished after each of the {trips:,} tiles of input channels but the last: "
            "written, and read back"
        )
    pinned = tensor.pinned
    if pinned is not None and pinned.channels == pinned.of_channels and len(tensor.roles) == 1:
        return f"{_pinned_share(pinned)} stay in left-over memory: read once"
    if tensor.moved_elements == tensor.elements:
        return "written once" if tensor.roles == ("output",) else "read once"
    parts = [_repeated(repeat) for repeat in tensor.repeats]
    if tensor.halo_share:
        shared = " and ".join(tensor.halo_axes)
        parts.append(
            f"{tensor.halo_share:.1%} more in a pass, as tiles read the {shared} that they have "
            "in common again"
        )
    if tensor.halo_share and tensor.rows_stay:
        parts.append("rows that the tile above left stay")
    if pinned is not None and parts:
        rest = "the others" if tensor.repeats else "of the others"
        kept = "stays" if pinned.channels == 1 else "stay"
        once = "is read once" if pinned.channels == 1 else "are read once"
        share = f"{_pinned_share(pinned)} {kept} in left-over memory and {once}"
        parts[0] = f"{share}; {rest} {parts[0]}"
    if len(tensor.roles) > 1:
        parts.append(f"read as {' and as '.join(tensor.roles)}")
    return "; ".join(parts) or "its parts are read more than once"


def _repeated(repeat: Repeat) -> str:
    who = f"{' and '.join(repeat.roles)} " if repeat.roles else ""
    changes = f"the tile changes with {' and '.join(repeat.inside)}"
    if repeat.axis == "passes":
        return f"{who}once for the statistics and once for the results: inside a pass {changes}"
    loop = f"once for each of the {repeat.trips:,} tiles of {repeat.axis}"
    return f"{who}{loop}: inside that loop {changes}"


# ------------------------------------------------------------ what else there is


def shown_alternatives(result: ExplainResult) -> tuple[Alternative, ...]:
    """The nearest ones, and the best of each kind that leaves one tensor in place."""
    nearest = list(result.alternatives[:_ALTERNATIVES])
    kinds = {each.stationary for each in nearest}
    for each in result.alternatives[_ALTERNATIVES:]:
        if each.stationary not in kinds:
            kinds.add(each.stationary)
            nearest.append(each)
    return tuple(nearest)


def _others(result: ExplainResult) -> Table:
    rows = [
        (
            _outer_first(result.nest),
            _STAYS.get(result.stationary, "-"),
            str(result.tiling["partial_sums"]),
            _pinned_channels(result.tiling),
            f"{result.dram_bytes:,}",
            "chosen",
            f"{result.local_bytes:,}",
        )
    ]
    rows += [
        (
            _outer_first(each.nest),
            _STAYS.get(each.stationary, "-"),
            each.partial_sums,
            _pinned_channels(each.tiling),
            f"{each.dram_bytes:,}",
            f"{each.more_share:+.1%}",
            f"{each.local_bytes:,}",
        )
        for each in shown_alternatives(result)
    ]
    left = len(result.alternatives) - len(rows) + 1
    more = f"; {left:,} more in --json" if left else ""
    columns = ("loops, outermost first", "innermost", "sums", "pinned", "DRAM", "", "local")
    title = f"Other nests, each in its best tiling that fits, in bytes{more}"
    return Table(title, columns, tuple(rows))


def _pinned_channels(tiling: Mapping[str, str | int]) -> str:
    for side in ("input", "output"):
        channels = tiling[f"pinned_{side}_channels"]
        if channels:
            return f"{channels:,} {side}"
    return "-"


def _outer_first(nest: tuple[str, ...]) -> str:
    return " > ".join(nest) or "no loop"


def _limits(result: ExplainResult) -> Table:
    """The bound with its two terms, and what memory would change."""
    root = result.square_root_bytes
    if root is None:
        second = "no square-root bound here"
    elif root <= 0:
        second = "the square-root bound says nothing at this size"
    else:
        second = f"2 MACs / sqrt(R S) - 2 S: {format_bytes(root)}"
    once_each = f"each tensor once: {format_bytes(result.floor_bytes)}"
    rows = [
        ("lower bound", f"{format_bytes(result.lower_bound_bytes)}, gap {result.gap:.3f} x"),
        ("its terms", f"{once_each}; {second}"),
        ("runs at all", f"from {result.least.local_bytes:,} B up, {_moves(result.least)}"),
    ]
    for step in result.next_steps:
        more = step.local_bytes - result.capacity_bytes
        less = step.dram_bytes / result.dram_bytes - 1
        rows.append((f"{more:,} B more", f"{_moves(step)}, {less:+.2%}"))
    once = result.all_once
    rows.append(("each tensor once", f"from {once.local_bytes:,} B up, {_moves(once)}"))
    return Table("Bound and memory", ("", ""), tuple(rows))


def _moves(step: MemoryStep) -> str:
    return f"moves {format_bytes(step.dram_bytes)}"
