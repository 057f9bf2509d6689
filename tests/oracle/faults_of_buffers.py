"""Faults of what layers alone are lowered with: buffers, tiles, rings, what is pinned."""

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

EMITTER = (
    Fault(
        "buffers overlap by an element",
        *("emitter", "tiles", RESULT, {OCCUPANCY, REPLAY}),
        sound="address = self.base + self.height\n",
        faulty="address = self.base + max(0, self.height - 4)\n",
    ),
    Fault(
        "buffers lie at the first address, whatever is resident",
        *("emitter", "residents", RESULT, {OCCUPANCY, REPLAY}),
        sound="address = self.base + self.height\n",
        faulty="address = self.height\n",
    ),
    Fault(
        "two buffers of partial sums have one address",
        *("emitter", "spilled apart", MEMORY, {OCCUPANCY, REPLAY}),
        sound="address = self.accumulator_height\n",
        faulty="address = 0\n",
    ),
    Fault(
        "a segment is loaded from the channels of the view",
        *("emitter", "concat", RESULT, {LEDGER, REPLAY}),
        sound="channel=Span(low + shift, high + shift)",
        faulty="channel=Span(low, high)",
    ),
    Fault(
        "segments of a view overlap in their buffer",
        *("emitter", "concat", RESULT, {REPLAY}),
        sound="channel += part.channel.length\n",
        faulty="channel += part.channel.length - 1\n",
    ),
    Fault(
        "a resident segment is read at the channels of the view",
        *("emitter", "concat of residents", RESULT, {OCCUPANCY, REPLAY}),
        sound="at = (batch, channel + channel_shift, row, column)",
        faulty="at = (batch, channel, row, column)",
    ),
    Fault(
        "every row of a resident map is read where every other is wanted",
        *("emitter", "residents", RESULT, {REPLAY}),
        sound="return Slice(buffer, at, box, (box.row.step, box.column.step))",
        faulty="return Slice(buffer, at, box)",
    ),
    Fault(
        "what is resident is loaded again",
        *("emitter", "residents", RESULT, {LEDGER, OCCUPANCY, REPLAY}),
        sound="if tensor not in self.resident:\n",
        faulty="if True:\n",
    ),
    Fault(
        "a buffer is never freed",
        *("emitter", "tiles", MEMORY, {OCCUPANCY, REPLAY}),
        sound="for buffer in self.live)",
        faulty="for buffer in self.live[1:])",
    ),
    Fault(
        "buffers are freed before the last result is stored",
        *("emitter", "tiles", RESULT, {LEDGER, OCCUPANCY, REPLAY}),
        sound="self.instructions.extend(Free(buffer) for buffer in self.live)",
        faulty="self.instructions[-1:-1] = [Free(buffer) for buffer in self.live]",
    ),
)

PLANES = (
    Fault(
        "the last tile reaches beyond the edge",
        *("planes", "tiles", RESULT, {LEDGER, REPLAY}),
        sound="min(start + size, extent)",
        faulty="start + size",
    ),
    Fault(
        "the last tile is left out where it is of one row",
        *("planes", "tiles", RESULT, {LEDGER, REPLAY}),
        sound="in range(0, extent, size)",
        faulty="in range(0, max(1, extent - 1), size)",
    ),
    Fault(
        "columns of tiles are not told apart",
        *("planes", "low tiles", RESULT, {ESTIMATE, REPLAY}),
        sound="(batch.start, column.start),",
        faulty="(batch.start, 0),",
    ),
    Fault(
        "the halo is short by a column",
        *("planes", "tiles", RESULT, {ESTIMATE, REPLAY}),
        sound="source = (rows.input_span(body_row), columns.input_span(body_column))",
        faulty="low, high, step = columns.input_span(body_column)\n"
        "    low += column.start > 0\n"
        "    source = (rows.input_span(body_row), Span(low, high, step))",
    ),
    Fault(
        "the halo is a row too high",
        *("planes", "kept MKP", TRAFFIC, {ESTIMATE}),
        sound="source = (rows.input_span(body_row), ",
        faulty="low, high, step = rows.input_span(body_row)\n"
        "    source = (Span(max(0, low - 1), high, step), ",
    ),
)

RING = (
    Fault(
        "the last row of a window is not brought",
        *("ring", "tiles", RESULT, {ESTIMATE, REPLAY}),
        sound="return Span(held.stop, max(held.stop, window.stop))",
        faulty="return Span(held.stop, max(held.stop, window.stop - 1))",
    ),
    Fault(
        "the first missing row of a window is not brought",
        *("ring", "tiles", RESULT, {ESTIMATE, REPLAY}),
        sound="return Span(held.stop, max(held.stop, window.stop))",
        faulty="return Span(held.stop + 1, max(held.stop + 1, window.stop))",
    ),
    Fault(
        "rows of another column of tiles are kept",
        *("ring", "low tiles", RESULT, {ESTIMATE, REPLAY}),
        sound="held = self.window if column == self.column else _NOTHING",
        faulty="held = self.window",
    ),
    Fault(
        "common rows are brought again",
        *("ring", "tiles", TRAFFIC, {ESTIMATE}),
        sound="held = self.window if column == self.column else _NOTHING",
        faulty="held = _NOTHING",
    ),
    Fault(
        "the ring turns by a whole window",
        *("ring", "tiles", RESULT, {REPLAY}),
        sound="(self.first + self.window.length - kept) % self.rows",
        faulty="(self.first + self.window.length) % self.rows",
    ),
    Fault(
        "rows run over the ring's end",
        *("ring", "tiles", RESULT, {OCCUPANCY, REPLAY}),
        sound="stop = min(rows.stop, start + self.rows - place)",
        faulty="stop = rows.stop",
    ),
    Fault(
        "rows lie beside the lattice of those that are read",
        *("ring", "strided rows", RESULT, {REPLAY}),
        sound="rows.start * span.step + span.start % span.step",
        faulty="rows.start * span.step + 1",
    ),
    Fault(
        "rows between those that are read are brought",
        *("ring", "strided rows", RESULT, {ESTIMATE, OCCUPANCY, REPLAY}),
        sound="(rows.length - 1) * span.step + 1, span.step)",
        faulty="(rows.length - 1) * span.step + 1, 1)",
    ),
)

ROLES = (
    Fault(
        "sums of one channel are those of its tile's first",
        *("roles", "shortcut, kept", RESULT, {REPLAY}),
        sound="origin = (batch, first + channel - part.box.channel.start, row, column)",
        faulty="origin = (batch, first, row, column)",
    ),
    Fault(
        "two channels are finished instead of one",
        *("roles", "shortcut, kept", RESULT, {LEDGER, OCCUPANCY, REPLAY}),
        sound="channel=Span(channel, channel + 1)",
        faulty="channel=Span(channel, channel + 2)",
    ),
)

PINNED = (
    Fault(
        "a place in what is pinned is counted in rows that are not there",
        *("pinned", "strided rows, pinned", RESULT, {OCCUPANCY, REPLAY}),
        sound="lattice(inner).start - lattice(outer).start",
        faulty="inner.start - outer.start",
    ),
    Fault(
        "of what is pinned the first rows are read in every step",
        *("pinned", "input pinned", RESULT, {REPLAY}),
        sound="return Slice(self.buffer, (n, c, h, w), part)",
        faulty="return Slice(self.buffer, (n, c, 0, w), part)",
    ),
    Fault(
        "the last pinned channel is neither read nor streamed",
        *("pinned", "kernel pinned", RESULT, {ESTIMATE, REPLAY}),
        sound="Span(first, border), Span(border, last)",
        faulty="Span(first, border - 1), Span(border, last)",
    ),
    Fault(
        "the last pinned channel is streamed, too",
        *("pinned", "input pinned", RESULT, {ESTIMATE, OCCUPANCY, REPLAY}),
        sound="Span(first, border), Span(border, last)",
        faulty="Span(first, border), Span(border - 1, last)",
    ),
    Fault(
        "what is pinned is streamed again",
        *("pinned", "kernel pinned", TRAFFIC, {ESTIMATE}),
        sound="(*parts, *stream(Box(*behind)))",
        faulty="stream(box)",
    ),
    Fault(
        "streamed channels come before pinned ones",
        *("pinned", "kernel pinned", RESULT, {REPLAY}),
        sound="(*parts, *stream(Box(*behind)))",
        faulty="(*stream(Box(*behind)), *parts)",
    ),
    Fault(
        "of a pinned kernel one channel is loaded",
        *("pinned", "kernel pinned", RESULT, {ESTIMATE, REPLAY}),
        sound="Load(layer.weight, box, kernel.buffer, ORIGIN)",
        faulty="Load(layer.weight, box._replace(batch=Span(0, 1)), kernel.buffer, ORIGIN)",
    ),
    Fault(
        "a pinned input is not loaded",
        *("pinned", "input pinned", RESULT, {ESTIMATE, OCCUPANCY, REPLAY}),
        sound="        emit.load_view(layer.input, box, source.buffer)\n",
        faulty="",
    ),
)

BUFFERS = (*EMITTER, *PLANES, *RING, *ROLES, *PINNED)
