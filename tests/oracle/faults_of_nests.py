"""Faults of the loop nest of a layer alone: what it loads, its sums, what it stores."""

from __future__ import annotations

from tests.support.mutations import ESTIMATE, LEDGER, OCCUPANCY, REPLAY, RESULT, TRAFFIC, Fault

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
        sound="self.ring.leave()",
        faulty="pass",
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
        *("loop_nest", "spilled MKP", TRAFFIC, {LEDGER, REPLAY}),
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

NESTS = (*TILES_OF_A_NEST, *SUMS_OF_A_NEST)
