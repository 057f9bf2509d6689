"""What `explain` shows of a group: who, line buffers, neighbours, variants as plain tables."""

from __future__ import annotations

from collections.abc import Iterator

from dataflow_sim.report.explanation import explain_tables
from dataflow_sim.report.tables import Table
from dataflow_sim.results_of_groups import (
    CellBuffer,
    GroupExplanation,
    LineBuffer,
    Member,
    Neighbour,
    Otherwise,
    ResidentMap,
    Rows,
    Tiles,
    Variant,
)
from dataflow_sim.units import format_bytes, format_capacity

_VARIANTS = 8
_OBSTACLES = {
    "streamed": "takes its maps in one pass, or carries a state from row to row",
    "several outputs": "makes several maps",
    "padding": "makes a row of padding alone",
    "no columns": "reads no column of its input",
    "constant": "reads a constant like a map",
}


_PACKINGS = {
    "rings": "a ring for each",
    "gaps": "packed into gaps",
    "searched": "packed by a search",
}


def group_tables(result: GroupExplanation) -> tuple[Table, ...]:
    """The group of a layer, merged or alone, and why it is neither more nor less."""
    if result.nest is not None:
        tables = [*explain_tables(result.nest), _group(result)]
    else:
        tables = [_group(result), _members(result), _memory(result)]
    if result.residents:
        tables.append(_residents(result))
    if result.traffic and result.merged:
        tables.append(_traffic(result))
    if result.neighbours:
        tables.append(_neighbours(result))
    if result.merged:
        tables.append(_variants(result))
    return tuple(tables)


def _group(result: GroupExplanation) -> Table:
    """Where the group stands in its schedule."""
    memory = format_capacity(result.capacity_bytes)
    runs = "alone"
    if result.rows is not None:
        runs = f"row by row, {_counted(result.rows.stripes, 'stripe')} of {_stripe(result.rows)}"
    if result.tiles is not None:
        runs = _tiled(result.tiles)
    own = f"{result.own_bytes:,} B"
    found = result.rows or result.tiles
    if found is not None:
        lie = "in rings" if found.packing == "rings" else "packed"
        own += f" {lie}, largest live set {found.peak.live_bytes:,} B"
    left = result.capacity_bytes - result.held_bytes
    rows = [
        ("runs", f"{runs}, on {result.hardware} with {memory}, policy {result.policy}"),
        ("own bytes", f"{own}; resident maps take {result.held_bytes:,} B and leave {left:,} B"),
        ("DRAM", f"{result.group_dram_bytes:,} B of {result.dram_bytes:,} B"),
    ]
    if result.tiles is not None and result.tiles.macs_executed > result.tiles.macs:
        more = result.tiles.macs_executed - result.tiles.macs
        share = f"{more / result.tiles.macs:.1%} more than without halos"
        rows.append(("MACs", f"{result.tiles.macs_executed:,}, {share}"))
    if result.policy == "resident":
        rows.append(("merging", "not in this policy; `--policy merged` has it"))
    layers = _names(tuple(member.name for member in result.members))
    title = f"{layers}: group {result.number} of {result.count} of {result.network}"
    return Table(title, ("", ""), tuple(rows))


def _tiled(tiles: Tiles) -> str:
    size = f"{tiles.columns:,} wide x {tiles.rows:,} high"
    return f"tile by tile, {_counted(tiles.lines, 'line')} of {tiles.width:,} tiles {size}"


def _tile(tile: tuple[int, int]) -> str:
    rows, columns = tile
    return f"tiles {columns:,} x {rows:,}"


def _stripe(rows: Rows) -> str:
    return _counted(rows.stripe_rows or 1, "row")


def _counted(count: int, name: str) -> str:
    return f"{count:,} {name}" if count == 1 else f"{count:,} {name}s"


def _names(names: tuple[str, ...]) -> str:
    if len(names) > 2:
        return f"{names[0]} .. {names[-1]}"
    return " and ".join(names)


def _members(result: GroupExplanation) -> Table:
    """The layers as they fire."""
    tiled = result.tiles is not None
    rows = tuple(
        (
            member.name + (" (asked for)" if member.name == result.layer else ""),
            member.op,
            "x".join(map(str, member.output_shape[1:])),
            f"{member.firings:,}",
            _kernel(member),
            *([_again(member)] if tiled else []),
        )
        for member in result.members
    )
    columns = ("layer", "op", "output", "firings", "kernel", *(["MACs again"] if tiled else []))
    return Table(f"Layers as they fire in a {'tile' if tiled else 'stripe'}", columns, rows)


def _again(member: Member) -> str:
    more = member.macs_executed - member.macs
    return f"{more:,} ({more / member.macs:.1%})" if more > 0 else "-"


def _kernel(member: Member) -> str:
    if member.kernel == "none":
        return "none"
    size = f"{member.kernel_bytes:,} B"
    if member.kernel == "stays":
        return f"{size} stay"
    tile = f"{member.tile_channels:,} of {member.channels:,} channels at a time"
    if member.pinned_channels:
        tile += f", {member.pinned_channels:,} stay"
    return f"{size} fetched {member.fetches:,} times, {tile}"


# ------------------------------------------------------------ local memory


def _memory(result: GroupExplanation) -> Table:
    """Line buffers or cells and weights, and what lives when most does."""
    rows, tiles = result.rows, result.tiles
    if rows is not None:
        shown = [_buffer_row(buffer) for buffer in rows.line_buffers]
        made = _range("row", (rows.peak.first_row, rows.peak.last_row))
        columns = ("line buffer, or weights", "rows", "bytes", "at the peak", "")
    else:
        assert tiles is not None
        shown = [_cell_row(buffer) for buffer in tiles.cells]
        made = f"{_range('row', tiles.peak.rows)} of {_range('column', tiles.peak.columns)}"
        columns = ("map, or weights", "halo", "bytes", "at the peak", "")
    found = rows or tiles
    assert found is not None
    for held in found.weights:
        name = f"{held.what} of {held.layer}"
        shown.append((name, "-", f"{held.size_bytes:,}", f"{held.peak_bytes:,}", ""))
    peak = found.peak
    shown.append(("live set", "", "", f"{peak.live_bytes:,}", ""))
    how = _PACKINGS[found.packing]
    shown.append(("allocated", "", "", f"{result.own_bytes:,}", how))
    title = (
        f"Own local memory; most lives at firing {peak.firing:,} of {peak.firings:,} of "
        f"{peak.layer}, which makes {made}"
    )
    return Table(title, columns, tuple(shown))


def _range(what: str, span: tuple[int, int]) -> str:
    first, last = span
    return f"{what} {first:,}" if first == last else f"{what}s {first:,} to {last:,}"


_HALOS = {
    "cache": "kept",
    "cache-x": "columns kept",
    "recompute": "made again",
}


def _cell_row(buffer: CellBuffer) -> tuple[str, ...]:
    made = "read" if not buffer.made_by else "made"
    text = "" if buffer.made_by else "comes from DRAM; "
    if buffer.read_by:
        text += f"{buffer.most_bytes:,} while computing, {buffer.between_bytes:,} between firings"
    else:
        text += "goes to DRAM" if buffer.stored else "nobody reads it"
    more = buffer.made_elements - buffer.elements
    if more > 0:
        text += f"; {more / buffer.elements:.1%} of it {made} again"
    halo = _HALOS[buffer.halo] if buffer.read_by else "-"
    return (buffer.tensor, halo, f"{buffer.most_bytes:,}", f"{buffer.peak_bytes:,}", text)


def _buffer_row(buffer: LineBuffer) -> tuple[str, ...]:
    most = f"{buffer.most_rows:,} of {buffer.row_bytes:,} B"
    there = f"{buffer.peak_bytes:,}"
    return (buffer.tensor, most, f"{buffer.most_bytes:,}", there, _lives(buffer))


def _lives(buffer: LineBuffer) -> str:
    """Why so many rows live."""
    comes = "" if buffer.made_by else "comes from DRAM; "
    if not buffer.read_by:
        return f"{comes}goes to DRAM" if buffer.stored else f"{comes}nobody reads it"
    most, between = buffer.most_rows, buffer.between_rows
    window, stride = buffer.window_rows, buffer.stride
    if window > 1 and stride == 0:
        text = f"waits whole: each row of {buffer.read_by[-1]} needs all {window:,} rows"
        return comes + text + ("; also goes to DRAM" if buffer.stored else "")
    text = f"{most:,} while computing, {between:,} between firings"
    more = 1 if buffer.doubled else 0
    explained = (window, max(window - (stride or 0), 0)) == (most - more, between - more)
    if stride is not None and explained:
        buffered = ", doubly buffered" if more else ""
        text = f"K = {window}, s = {stride}{buffered}: {text}"
    elif len(buffer.read_by) > 1:
        text += f"; {buffer.read_by[-1]} reads it last"
    return comes + text + ("; also goes to DRAM" if buffer.stored else "")


def _residents(result: GroupExplanation) -> Table:
    """The maps that are whole in local memory meanwhile."""
    rows = tuple(
        (" -> ".join(each.tensors), f"{each.size_bytes:,}", _matters(each))
        for each in result.residents
    )
    title = "Maps resident while it runs"
    return Table(title, ("map", "bytes", "why"), rows)


def _matters(each: ResidentMap) -> str:
    text = {
        "read": "read here",
        "made": "made here, and stays",
        "read and made": "read here, and overwritten by what is made",
        "waits": f"from {each.made_by}" if each.made_by else "from outside",
    }[each.role]
    if each.gives_to:
        text += f", row by row gives way to {each.gives_to}"
    if each.loaded:
        text += ", loaded whole before"
    if each.next_reader:
        return f"{text}, for {each.next_reader}"
    return text


def _traffic(result: GroupExplanation) -> Table:
    rows = [(each.tensor, each.reason, f"{each.dram_bytes:,}") for each in result.traffic]
    rows.append(("sum", "", f"{result.group_dram_bytes:,}"))
    return Table("DRAM traffic", ("tensor", "reason", "bytes"), tuple(rows))


# ------------------------------------------------------------ what else there is


def _neighbours(result: GroupExplanation) -> Table:
    """Why the group begins and ends where it does."""
    rows = tuple(
        (each.side, _who(each), *_joined(each, result.capacity_bytes)) for each in result.neighbours
    )
    columns = ("", "could join", "how", "needs", "DRAM of all", "why not")
    title = "Why it begins and ends where it does: bytes with resident maps, all else as it is"
    return Table(title, columns, rows)


def _who(neighbour: Neighbour) -> str:
    names = _names(neighbour.layers)
    if neighbour.whole and len(neighbour.layers) > 1:
        return f"{names}, group {neighbour.group}"
    if neighbour.whole:
        return names
    return f"{names} of group {neighbour.group}"


def _joined(neighbour: Neighbour, capacity_bytes: int) -> tuple[str, str, str, str]:
    found = neighbour.joined
    if found is None:
        text = _OBSTACLES.get(neighbour.obstacle, neighbour.obstacle)
        return ("-", "-", "-", f"impossible: {neighbour.blocked} {text}")
    way = _tile(found.tile) if found.tile else _counted(found.stripe_rows or 1, "row")
    if found.streamed:
        way += f", {_counted(len(found.streamed), 'kernel')} streamed"
    if found.short_bytes:
        short = f"{found.short_bytes:,} B short"
        if found.need_bytes <= capacity_bytes:
            short += ", for no addresses were found"
        return (way, f"{found.need_bytes:,}", "-", short)
    return (way, f"{found.need_bytes:,}", f"{found.dram_bytes:,}", _more(found))


def _more(found: Otherwise) -> str:
    if found.more_bytes > 0:
        return f"moves {format_bytes(found.more_bytes)} more"
    if found.more_bytes < 0:
        return f"would move {format_bytes(-found.more_bytes)} less; the search left it out"
    return "moves as much"


def _variants(result: GroupExplanation) -> Table:
    """Other ways to run the group's layers."""
    found = result.rows or result.tiles
    assert found is not None
    tile = result.tiles
    runs = _tile((tile.rows, tile.columns)) if tile else _stripe(result.rows) if result.rows else ""
    streamed = tuple(m.name for m in result.members if m.kernel == "streams")
    need = found.peak.live_bytes + result.held_bytes
    chosen = (
        *("the group as it is", runs, _streamed(streamed)),
        *(f"{result.dram_bytes:,}", "chosen", f"{need:,}", ""),
    )
    shown = [chosen, *(row for row in _variant_rows(result.variants[:_VARIANTS]))]
    left = len(result.variants) - _VARIANTS
    title = "Other ways for its layers: DRAM of the whole network, live set with resident maps"
    title += f"; {left:,} more in --json" if left > 0 else ""
    columns = ("", "runs by", "kernels that stream", "DRAM", "more", "local", "")
    return Table(title, columns, tuple(shown))


def _variant_rows(variants: tuple[Variant, ...]) -> Iterator[tuple[str, ...]]:
    for each in variants:
        found = each.otherwise
        what = {
            "alone": "each layer by itself",
            "cut": f"cut behind {each.behind}",
            "stripe": "another stripe",
            "tile": "bands of columns",
            "kernels": "another set of kernels",
        }[each.what]
        height, kernels = "-", "-"
        if each.what in ("stripe", "tile", "kernels"):
            height = _tile(found.tile) if found.tile else _counted(found.stripe_rows or 1, "row")
            kernels = _streamed(found.streamed)
        short = f"{found.short_bytes:,} B short" if found.short_bytes else ""
        more = f"{found.more_bytes:+,}" if found.more_bytes else "0"
        yield (what, height, kernels, f"{found.dram_bytes:,}", more, f"{found.need_bytes:,}", short)


def _streamed(names: tuple[str, ...]) -> str:
    if len(names) > 2:
        return f"{len(names):,} kernels"
    return " and ".join(names) or "none"
