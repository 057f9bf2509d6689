"""Faults of groups by rows and by tiles, of running reductions, of rows handed over."""

from __future__ import annotations

from tests.support.mutations import (
    ESTIMATE,
    LEDGER,
    MEMORY,
    OCCUPANCY,
    REPLAY,
    RESULT,
    TRAFFIC,
    Fault,
)

ROWS = (
    Fault(
        "the halo is short by a row",
        *("row_pipeline", "rows of a concat", RESULT, {ESTIMATE, REPLAY}),
        sound="rows = needs.views[0].rows(row)\n",
        faulty="low, high, apart = needs.views[0].rows(row)\n"
        "        rows = Span(low, max(low + 1, high - 1), apart)\n",
    ),
    Fault(
        "the halo is short by a column",
        *("row_pipeline", "rows", RESULT, {ESTIMATE, REPLAY}),
        sound="rows, column_span(layer, view))",
        faulty="rows, Span(0, column_span(layer, view).stop - 1))",
    ),
    Fault(
        "the row above is loaded",
        *("row_pipeline", "rows", RESULT, {ESTIMATE, REPLAY}),
        sound="row = Span(held.number, held.number + 1)",
        faulty="row = Span(max(0, held.number - 1), max(1, held.number))",
    ),
    Fault(
        "the first row is not loaded",
        *("row_pipeline", "rows", RESULT, {ESTIMATE, OCCUPANCY, REPLAY}),
        sound="        if found.producer is None:\n",
        faulty="        if found.producer is None and held.number:\n",
    ),
    Fault(
        "rows that the group makes are loaded, too",
        *("row_pipeline", "rows", TRAFFIC, {LEDGER, REPLAY}),
        sound="        if found.producer is None:\n",
        faulty="        if True:\n",
    ),
    Fault(
        "a row is stored in the next one's place",
        *("row_pipeline", "rows, kernels streamed", RESULT, {REPLAY}),
        sound="append(Store(layer.output, box, part.buffer, part.origin))",
        faulty="append(\n"
        "                Store(layer.output, box._replace(row=Span(row ^ 1, (row ^ 1) + 1)), "
        "part.buffer, part.origin)\n"
        "            )",
    ),
    Fault(
        "the first row of a firing is not stored",
        *("row_pipeline", "rows", RESULT, {LEDGER, REPLAY}),
        sound="for row in rows if layer.output in self.group.stored else ():",
        faulty="for row in rows[1:] if layer.output in self.group.stored else ():",
    ),
    Fault(
        "rows that stay in the group are stored, too",
        *("row_pipeline", "rows", TRAFFIC, {ESTIMATE}),
        sound="for row in rows if layer.output in self.group.stored else ():",
        faulty="for row in rows:",
    ),
    Fault(
        "results of all channels lie in one place",
        *("row_pipeline", "rows, kernels streamed", RESULT, {REPLAY}),
        sound="(0, box.channel.start, 0, box.column.start), box)",
        faulty="(0, 0, 0, box.column.start), box)",
    ),
    Fault(
        "a segment is read at the channels of its tensor",
        *("row_pipeline", "rows of a concat", RESULT, {OCCUPANCY, REPLAY}),
        sound="piece.channel.start + shift - found.channels.start",
        faulty="piece.channel.start - found.channels.start",
    ),
    Fault(
        "neighbouring columns are read where every other is wanted",
        *("row_pipeline", "rows", RESULT, {REPLAY}),
        sound="stride = (1, box.column.step // columns.step)",
        faulty="stride = (1, 1)",
    ),
    Fault(
        "a convolution by channel reads all channels",
        *("row_pipeline", "rows, kernels streamed", RESULT, {ESTIMATE, REPLAY}),
        sound="taken = channels if depthwise(layer) else Span(0, view.shape[1])",
        faulty="taken = Span(0, view.shape[1])",
    ),
    Fault(
        "an operand is that of the row above",
        *("row_pipeline", "rows handed over", RESULT, {REPLAY}),
        sound="part = Box(images, channels, need.rows(row), columns)",
        faulty="part = Box(images, channels, need.rows(max(0, row - 1)), columns)",
    ),
    Fault(
        "an operand is that of the first channels",
        *("row_pipeline", "rows of a shortcut, kernels streamed", RESULT, {REPLAY}),
        sound="part = Box(images, channels, need.rows(row), columns)",
        faulty="part = Box(images, Span(0, channels.length), need.rows(row), columns)",
    ),
)

RUNNING = (
    Fault(
        "every row begins the running result",
        *("row_pipeline", "running apart", RESULT, {REPLAY}),
        sound="row == 0, row == needs.rows - 1, made",
        faulty="True, row == needs.rows - 1, made",
    ),
    Fault(
        "no row begins the running result",
        *("row_pipeline", "running", RESULT, {ESTIMATE, OCCUPANCY, REPLAY}),
        sound="row == 0, row == needs.rows - 1, made",
        faulty="False, row == needs.rows - 1, made",
    ),
    Fault(
        "no row ends the running result",
        *("row_pipeline", "running", RESULT, {LEDGER, OCCUPANCY, REPLAY}),
        sound="row == 0, row == needs.rows - 1, made",
        faulty="row == 0, False, made",
    ),
    Fault(
        "rows of the body are pooled again and again",
        *("row_pipeline", "running", RESULT, {LEDGER, REPLAY}),
        sound="row == 0, row == needs.rows - 1, made",
        faulty="row == 0, row == needs.rows - 1, Span(0, row + 1)",
    ),
    Fault(
        "the running result is the result",
        *("row_pipeline", "running", RESULT, {OCCUPANCY, REPLAY}),
        sound="self._row(layer.output, box) if sums is None or last else sums",
        faulty="self._row(layer.output, box) if sums is None else sums",
    ),
    Fault(
        "the running result lies in the other memory",
        *("row_pipeline", "running apart", RESULT, {ESTIMATE, OCCUPANCY, REPLAY}),
        sound="carried.address, Memory.ACCUMULATORS)",
        faulty="carried.address, Memory.LOCAL)",
    ),
    Fault(
        "running results lie on one another",
        *("row_pipeline", "running apart", RESULT, {OCCUPANCY, REPLAY}),
        sound="carried.address, Memory.ACCUMULATORS)",
        faulty="0, Memory.ACCUMULATORS)",
    ),
    Fault(
        "the running result is reserved anew for every row",
        *("row_pipeline", "running apart", RESULT, {OCCUPANCY, REPLAY}),
        sound="and carried.address is not None and rows[0] == 0:\n",
        faulty="and carried.address is not None:\n",
    ),
    Fault(
        "the running result is never freed",
        *("row_pipeline", "running apart", MEMORY, {OCCUPANCY, REPLAY}),
        sound="            if carried.address is not None and rows:\n",
        faulty="            if False:\n",
    ),
)

HANDOVERS = (
    Fault(
        "rows become a map in the wrong order",
        *("row_pipeline", "rows handed over", RESULT, {LEDGER, OCCUPANCY, REPLAY}),
        sound="Join(tuple(part.buffer for part in taking), joined)",
        faulty="Join(tuple(part.buffer for part in reversed(taking)), joined)",
    ),
    Fault(
        "a map falls apart in the wrong order",
        *("row_pipeline", "rows handed over", RESULT, {LEDGER, OCCUPANCY, REPLAY}),
        sound="Split(self.emit.resident.pop(hands.taken), given)",
        faulty="Split(self.emit.resident.pop(hands.taken), given[::-1])",
    ),
    Fault(
        "all rows of a map have its address",
        *("row_pipeline", "rows handed over", RESULT, {LEDGER, OCCUPANCY, REPLAY}),
        sound="bits, address + row * size)",
        faulty="bits, address)",
    ),
    Fault(
        "rows become a map in the place of the one before",
        *("row_pipeline", "rows handed over", RESULT, {LEDGER, OCCUPANCY, REPLAY}),
        sound="address = self.homes[hands.made]\n",
        faulty="address = self.homes[hands.taken]\n",
    ),
    Fault(
        "the map that rows became is not known",
        *("row_pipeline", "rows handed over", RESULT, {LEDGER, OCCUPANCY, REPLAY}),
        sound="self.emit.resident[hands.made] = joined.buffer\n",
        faulty="self.emit.resident[hands.made] = taking[0].buffer\n",
    ),
    Fault(
        "a row is given back a firing early",
        *("row_pipeline", "rows handed over", RESULT, {LEDGER, OCCUPANCY, REPLAY}),
        sound="self.due_behind[moment].append(free)",
        faulty="self.due_behind[max(0, moment - 1)].append(free)",
    ),
    Fault(
        "the first row is never given back",
        *("row_pipeline", "rows handed over", MEMORY, {OCCUPANCY, REPLAY}),
        sound="            else:\n                self.due_behind[moment].append(free)",
        faulty="            elif row:\n                self.due_behind[moment].append(free)",
    ),
    Fault(
        "a row takes its place a firing early",
        *("row_pipeline", "rows handed over", RESULT, {OCCUPANCY, REPLAY}),
        sound="self.due_before[moment].append(taking[row])",
        faulty="self.due_before[max(0, moment - 1)].append(taking[row])",
    ),
    Fault(
        "the row above is read",
        *("row_pipeline", "rows handed over", RESULT, {LEDGER, OCCUPANCY, REPLAY}),
        sound="yield Slice(self.rows[name][row], ",
        faulty="yield Slice(self.rows[name][max(0, row - 1)], ",
    ),
)

TILES = (
    Fault(
        "the cell to the left is loaded",
        *("tile_pipeline", "tiles cached", RESULT, {ESTIMATE, OCCUPANCY, REPLAY}),
        sound="rows, columns = _span(found.row_cells, held.number), "
        "_span(found.column_cells, held.moment)",
        faulty="rows = _span(found.row_cells, held.number)\n"
        "        columns = _span(found.column_cells, max(0, held.moment - 1))",
    ),
    Fault(
        "the first cell is not loaded",
        *("tile_pipeline", "tiles cached", RESULT, {ESTIMATE, OCCUPANCY, REPLAY}),
        sound="        if found.producer is None:\n",
        faulty="        if found.producer is None and held.number + held.moment:\n",
    ),
    Fault(
        "the halo is short by a row",
        *("tile_pipeline", "tiles made again", RESULT, {ESTIMATE, REPLAY}),
        sound="Span(int(rows[0][line]), int(rows[1][line])),",
        faulty="Span(int(rows[0][line]), int(rows[1][line]) - 1),",
    ),
    Fault(
        "the halo is short by a column",
        *("tile_pipeline", "tiles made again", RESULT, {ESTIMATE, REPLAY}),
        sound="Span(int(columns[0][column]), int(columns[1][column])),",
        faulty="Span(int(columns[0][column]), int(columns[1][column]) - 1),",
    ),
    Fault(
        "tiles lack their last row",
        *("tile_pipeline", "tiles cached", RESULT, {LEDGER, REPLAY}),
        sound="int(made.rows.made_high[line])),",
        faulty="int(made.rows.made_high[line]) - 1),",
    ),
    Fault(
        "cells that hold one column of a halo are left out",
        *("tile_pipeline", "tiles cached", RESULT, {LEDGER, REPLAY}),
        sound="(side.start < wanted.stop)",
        faulty="(side.start < wanted.stop - 1)",
    ),
    Fault(
        "a cell is read from its first row on",
        *("tile_pipeline", "tiles of a concat", RESULT, {REPLAY}),
        sound="both[0].start - rows.start,",
        faulty="0,",
    ),
    Fault(
        "a cell is read from its first column on",
        *("tile_pipeline", "tiles of a concat", RESULT, {REPLAY}),
        sound="both[1].start - columns.start,",
        faulty="0,",
    ),
    Fault(
        "a segment is read at the channels of its tensor",
        *("tile_pipeline", "tiles of a concat", RESULT, {OCCUPANCY, REPLAY}),
        sound="box.channel.start + shift - found.channels.start,",
        faulty="box.channel.start - found.channels.start,",
    ),
    Fault(
        "of several cells one is written",
        *("tile_pipeline", "tiles cached", RESULT, {LEDGER, OCCUPANCY, REPLAY}),
        sound="more=tuple(more),",
        faulty="more=(),",
    ),
    Fault(
        "a tile is stored twice",
        *("tile_pipeline", "tiles cached", TRAFFIC, {LEDGER}),
        sound="for part in self._made(layer.output, (line, column), box):",
        faulty="for part in self._made(layer.output, (line, column), box) * 2:",
    ),
    Fault(
        "results are those of the first channels",
        *("tile_pipeline", "tiles, kernels streamed", RESULT, {REPLAY}),
        sound="box._replace(channel=channels), kernel)",
        faulty="box._replace(channel=Span(0, channels.length)), kernel)",
    ),
    Fault(
        "a convolution by channel reads all channels",
        *("tile_pipeline", "tiles, kernels streamed", RESULT, {ESTIMATE, REPLAY}),
        sound="taken = box.channel if depthwise(layer) else Span(0, layer.input.shape[1])",
        faulty="taken = Span(0, layer.input.shape[1])",
    ),
)

MERGED = (*ROWS, *RUNNING, *HANDOVERS, *TILES)
