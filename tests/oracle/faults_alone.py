"""Faults of what layers alone are lowered with: buffers, tiles, rings, pinned channels, nests."""

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
        *("emitter", "spilled apart", MEMORY, {OCCUPANCY}),
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
        *("emitter", "tiles", MEMORY, {OCCUPANCY}),
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

TILES_OF_A_NEST = (
    Fault(
        "the kernel is not refreshed for other output channels",
        *("loop_nest", "kept KPM", RESULT, {ESTIMATE, REPLAY}),
        sound="key = (step.group, step.output, step.input)\n",
        faulty="key = (step.group, step.input)\n",
    ),
    Fault(
        "the kernel is not refreshed for other input channels",
        *("loop_nest", "kept MKP", RESULT, {ESTIMATE, REPLAY}),
        sound="key = (step.group, step.output, step.input)\n",
        faulty="key = (step.group, step.output)\n",
    ),
    Fault(
        "the kernel is not refreshed for another group",
        *("loop_nest", "groups", RESULT, {ESTIMATE, REPLAY}),
        sound="key = (step.group, step.output, step.input)\n",
        faulty="key = (step.output, step.input)\n",
    ),
    Fault(
        "the kernel is loaded in every step",
        *("loop_nest", "kept KMP", TRAFFIC, {ESTIMATE}),
        sound="key = (step.group, step.output, step.input)\n",
        faulty="key = (step.group, step.output, step.input, step.plane)\n",
    ),
    Fault(
        "the kernel is that of the first input channels",
        *("loop_nest", "kept PKM", RESULT, {ESTIMATE, REPLAY}),
        sound="box = Box(channels, self.inputs[step.input], Span(0, rows)",
        faulty="box = Box(channels, self.inputs[0], Span(0, rows)",
    ),
    Fault(
        "the input is not refreshed for other channels",
        *("loop_nest", "kept PKM", RESULT, {ESTIMATE, REPLAY}),
        sound="key = (step.group, step.input, step.plane)\n",
        faulty="key = (step.group, step.plane)\n",
    ),
    Fault(
        "the input is not refreshed for another plane",
        *("loop_nest", "tiles doubled", RESULT, {ESTIMATE, REPLAY}),
        sound="key = (step.group, step.input, step.plane)\n",
        faulty="key = (step.group, step.input)\n",
    ),
    Fault(
        "the input lacks its last row",
        *("loop_nest", "tiles", RESULT, {ESTIMATE, REPLAY}),
        sound="box = Box(plane.batch, self._in_channels(step), plane.input_rows, ",
        faulty="low, high, apart = plane.input_rows\n"
        "        halo = Span(low, high - 1, apart)\n"
        "        box = Box(plane.batch, self._in_channels(step), halo, ",
    ),
    Fault(
        "rows stay in the ring when the channels change",
        *("loop_nest", "low tiles, kept", RESULT, {ESTIMATE, REPLAY}),
        sound="(step.group, step.input, *plane.column)",
        faulty="(step.group, *plane.column)",
    ),
    Fault(
        "rows are brought to the ring's first place",
        *("loop_nest", "tiles", RESULT, {REPLAY}),
        sound="self.emit.load_view(view, fresh, ring.buffer, (0, 0, place, 0))",
        faulty="self.emit.load_view(view, fresh, ring.buffer)",
    ),
    Fault(
        "rows are read at the ring's first place",
        *("loop_nest", "tiles", RESULT, {REPLAY}),
        sound="self.emit.held_view(view, held, ring.buffer, (0, 0, place, 0))",
        faulty="self.emit.held_view(view, held, ring.buffer)",
    ),
    Fault(
        "a tile is brought to the other of two slots",
        *("loop_nest", "tiles doubled", RESULT, {LEDGER, OCCUPANCY, REPLAY}),
        sound="Load(tensor, box, role.part.buffer, ORIGIN)",
        faulty="Load(tensor, box, role.slots.buffers[role.slots.current - 1], ORIGIN)",
    ),
    Fault(
        "channels are counted from the first group",
        *("loop_nest", "groups", RESULT, {LEDGER, OCCUPANCY, REPLAY}),
        sound="Span(group.start * per_group + part.start,",
        faulty="Span(part.start,",
    ),
    Fault(
        "constants are not refreshed for other output channels",
        *("loop_nest", "tiles", RESULT, {ESTIMATE, REPLAY}),
        sound="key = (step.group, step.input if on_input else step.output)",
        faulty="key = (step.group, step.input if on_input else 0)",
    ),
    Fault(
        "constants are those of the first output channels",
        *("loop_nest", "tiles", RESULT, {ESTIMATE, REPLAY}),
        sound="channels = self._in_channels(step) if on_input else self._out_channels(step)",
        faulty="channels = self._out_channels(step._replace(output=0))",
    ),
    Fault(
        "constants are left out",
        *("loop_nest", "tiles", RESULT, {ESTIMATE, REPLAY}),
        sound='self._vectors("output vectors", step) if last else None',
        faulty="None",
    ),
    Fault(
        "an operand is not refreshed for another channel",
        *("loop_nest", "shortcut, kept", RESULT, {ESTIMATE, REPLAY}),
        sound="key = (channels.start, channels.stop, step.plane)",
        faulty="key = (step.plane,)",
    ),
    Fault(
        "an operand is that of the first channels",
        *("loop_nest", "shortcut", RESULT, {REPLAY}),
        sound="box = Box(plane.batch, channels, plane.body_rows, plane.body_columns)\n",
        faulty="box = Box(plane.batch, Span(0, channels.length), plane.body_rows, "
        "plane.body_columns)\n",
    ),
    Fault(
        "an operand by channel is loaded for every plane",
        *("loop_nest", "gate", TRAFFIC, {ESTIMATE}),
        sound="key: tuple[int, ...] = (step.group, plane.batch.start)",
        faulty="key: tuple[int, ...] = (step.group, step.plane)",
    ),
)

SUMS_OF_A_NEST = (
    Fault(
        "every step begins its sums",
        *("loop_nest", "kept MPK", RESULT, {ESTIMATE, REPLAY}),
        sound="first, last = step.input == 0, ",
        faulty="first, last = True, ",
    ),
    Fault(
        "no step begins its sums",
        *("loop_nest", "kept KMP", RESULT, {ESTIMATE, OCCUPANCY, REPLAY}),
        sound="first, last = step.input == 0, ",
        faulty="first, last = False, ",
    ),
    Fault(
        "sums are finished a step too early",
        *("loop_nest", "kept PKM", RESULT, {LEDGER, REPLAY}),
        sound="step.input == len(self.inputs) - 1",
        faulty="step.input >= len(self.inputs) - 2",
    ),
    Fault(
        "spilled sums are not read again",
        *("loop_nest", "spilled KPM", RESULT, {ESTIMATE, REPLAY}),
        sound="if spilled and not first:",
        faulty="if spilled and not first and step.output:",
    ),
    Fault(
        "sums are read before there are any",
        *("loop_nest", "spilled MKP", TRAFFIC, {LEDGER}),
        sound="if spilled and not first:",
        faulty="if spilled:",
    ),
    Fault(
        "unfinished sums are not spilled",
        *("loop_nest", "spilled PKM", RESULT, {LEDGER, REPLAY}),
        sound="elif sums is not None and self.tiling.partial_sums is PartialSums.SPILLED:",
        faulty="elif sums is not None and step.output:",
    ),
    Fault(
        "finished sums are spilled, too",
        *("loop_nest", "spilled KMP", TRAFFIC, {ESTIMATE}),
        sound="elif sums is not None and self.tiling.partial_sums is PartialSums.SPILLED:",
        faulty="if sums is not None and self.tiling.partial_sums is PartialSums.SPILLED:",
    ),
    Fault(
        "kept sums of all output channels lie in one place",
        *("loop_nest", "kept KPM", RESULT, {REPLAY}),
        sound='channel = 0 if "M" in self.sums_outer else box.channel.start - base',
        faulty="channel = 0",
    ),
    Fault(
        "kept sums of all planes lie in one place",
        *("loop_nest", "kept MKP", RESULT, {REPLAY}),
        sound='inside = "P" not in self.sums_outer',
        faulty="inside = False",
    ),
    Fault(
        "kept sums change their slot with the input channels",
        *("loop_nest", "kept PMK doubled", RESULT, {OCCUPANCY, REPLAY}),
        sound="step.input if spilled else -1,",
        faulty="step.input,",
    ),
    Fault(
        "sums are of the rows of the output, not of the body",
        *("loop_nest", "strided rows, pinned", RESULT, {ESTIMATE, REPLAY}),
        sound="plane.body_rows, plane.body_columns)\n        spilled",
        faulty="plane.rows, plane.columns)\n        spilled",
    ),
    Fault(
        "the last channel of split sums is not finished",
        *("loop_nest", "shortcut, kept", RESULT, {LEDGER, REPLAY}),
        sound="for channel in range(*result.box.channel):",
        faulty="for channel in range(*result.box.channel[:1], result.box.channel.stop - 1):",
    ),
    Fault(
        "a step is that of the layer before",
        *("loop_nest", "shortcut", RESULT, {LEDGER, REPLAY}),
        sound="append(Compute(self.index, *tiles, output_vectors, ",
        faulty="append(Compute(max(0, self.index - 1), *tiles, output_vectors, ",
    ),
    Fault(
        "a result is stored twice",
        *("loop_nest", "tiles", TRAFFIC, {LEDGER}),
        sound="self.emit.instructions.append(store)",
        faulty="self.emit.instructions.extend((store, store))",
    ),
    Fault(
        "the first rows of a result are not stored",
        *("loop_nest", "tiles", RESULT, {LEDGER, REPLAY}),
        sound="if self.problem.output_stored:",
        faulty="if self.problem.output_stored and result.box.row.start:",
    ),
    Fault(
        "a result is stored a row too low",
        *("loop_nest", "shortcut", RESULT, {LEDGER, REPLAY}),
        sound="store = Store(self.layer.output, result.box, ",
        faulty="low, high, apart = result.box.row\n"
        "            box = result.box._replace(row=Span(low + 1, high + 1, apart))\n"
        "            store = Store(self.layer.output, box, ",
    ),
    Fault(
        "a result is stored from a row too low",
        *("loop_nest", "tiles", RESULT, {OCCUPANCY, REPLAY}),
        sound="result.buffer, result.origin)\n            self.emit",
        faulty="result.buffer, (0, 0, 1, 0))\n            self.emit",
    ),
    Fault(
        "a result is stored before its sums are finished",
        *("loop_nest", "spilled KPM", RESULT, {LEDGER, REPLAY}),
        sound="        if last:\n            self._store(result)\n",
        faulty="        if step.input == len(self.inputs) - 2:\n            self._store(result)\n",
    ),
)

ALONE = (*EMITTER, *PLANES, *RING, *ROLES, *PINNED, *TILES_OF_A_NEST, *SUMS_OF_A_NEST)
