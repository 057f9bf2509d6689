"""Faults of what sweeps and other streamed layers are lowered with."""

from __future__ import annotations

from tests.support.mutations import ESTIMATE, LEDGER, OCCUPANCY, REPLAY, RESULT, TRAFFIC, Fault

SWEEPS = (
    Fault(
        "a tile is never refreshed",
        *("sweep", "attention by rows", RESULT, {ESTIMATE, REPLAY}),
        sound="        if around != held.box:\n",
        faulty="        if held.box is None:\n",
    ),
    Fault(
        "a tile is loaded in every step",
        *("sweep", "attention by columns", TRAFFIC, {ESTIMATE}),
        sound="        if around != held.box:\n",
        faulty="        if True:\n",
    ),
    Fault(
        "of a tile one index is loaded",
        *("sweep", "product", RESULT, {LEDGER, REPLAY}),
        sound="Span(span.start * unit, span.stop * unit)",
        faulty="Span(span.start * unit, span.start * unit + 1)",
    ),
    Fault(
        "a tile is read from the other of two slots",
        *("sweep", "product", RESULT, {LEDGER, REPLAY}),
        sound="return self.emit.held_view(view, box, held.buffer, (n, c, h, w))",
        faulty="return self.emit.held_view(view, box, held.slots.buffers[0], (n, c, h, w))",
    ),
    Fault(
        "constants are loaded whenever they are needed",
        *("sweep", "normalisation", TRAFFIC, {ESTIMATE}),
        sound="            if held.box is None:\n",
        faulty="            if True:\n",
    ),
    Fault(
        "every step begins the running sums",
        *("sweep", "attention by rows", RESULT, {ESTIMATE, REPLAY}),
        sound="begun = column == self.columns[0]",
        faulty="begun = True",
    ),
    Fault(
        "every step ends the running sums",
        *("sweep", "attention by columns", RESULT, {ESTIMATE, REPLAY}),
        sound='done = at_last["N"]',
        faulty="done = True",
    ),
    Fault(
        "a state begins anew with every row",
        *("sweep", "recurrent", RESULT, {ESTIMATE, REPLAY}),
        sound="begun = begun and row == rows[0]",
        faulty="begun = begun",
    ),
    Fault(
        "there is no second pass",
        *("sweep", "softmax", RESULT, {LEDGER, REPLAY}),
        sound="for second in (False, True) if twice else (False,):",
        faulty="for second in (False,):",
    ),
    Fault(
        "results are written before they are finished",
        *("sweep", "attention by rows", TRAFFIC, {LEDGER}),
        sound="waits = any(not done for loop, done in step.at_last.items() if loop not in indexed)",
        faulty="waits = False",
    ),
    Fault(
        "results lie a channel beyond their buffer",
        *("sweep", "softmax", RESULT, {OCCUPANCY, REPLAY}),
        sound="Slice(held.slots.advance(), ORIGIN, box))",
        faulty="Slice(held.slots.advance(), (0, 1, 0, 0), box))",
    ),
    Fault(
        "results are all those of the first rows",
        *("sweep", "product", RESULT, {LEDGER, REPLAY}),
        sound="Slice(held.slots.advance(), ORIGIN, box))",
        faulty="Slice(held.slots.advance(), ORIGIN, box._replace(row=Span(0, box.row.length))))",
    ),
    Fault(
        "the first rows are not stored",
        *("sweep", "normalisation", RESULT, {LEDGER, REPLAY}),
        sound="            if part is not None and name in self.stored:\n",
        faulty="            if part is not None and name in self.stored and part.box.row.start:\n",
    ),
    Fault(
        "a result is stored twice",
        *("sweep", "recurrent", TRAFFIC, {LEDGER}),
        sound="append(Store(name, part.box, part.buffer, part.origin))",
        faulty="extend([Store(name, part.box, part.buffer, part.origin)] * 2)",
    ),
    Fault(
        "running sums of all tiles of rows lie in one place",
        *("sweep", "attention by columns", RESULT, {REPLAY}),
        sound='low = row.start if self.order == "NP" else 0',
        faulty="low = 0",
    ),
    Fault(
        "running sums are those of the first group",
        *("sweep", "attention of two heads", RESULT, {REPLAY}),
        sound="        box = Box(batch, group, row, Span(0, self.sums_each))\n",
        faulty="        box = Box(batch, Span(0, group.length), row, Span(0, self.sums_each))\n",
    ),
)

STREAMED = (
    Fault(
        "the first slices are not loaded",
        *("lowering", "streamed", RESULT, {ESTIMATE, OCCUPANCY, REPLAY}),
        sound="            if region in slots:\n",
        faulty="            if region in slots and step:\n",
    ),
    Fault(
        "the first slices are loaded in every step",
        *("lowering", "streamed", RESULT, {LEDGER, REPLAY}),
        sound="boxes[step]\n",
        faulty="boxes[0]\n",
    ),
    Fault(
        "the first slices are not stored",
        *("lowering", "streamed", RESULT, {LEDGER, REPLAY}),
        sound="            if name in group.stored:\n",
        faulty="            if name in group.stored and step:\n",
    ),
    Fault(
        "of what a step reads the first alone is told",
        *("lowering", "streamed", RESULT, {LEDGER, REPLAY}),
        sound="Stream(index, tuple(reads), tuple(constants), made)",
        faulty="Stream(index, tuple(reads[:1]), tuple(constants), made)",
    ),
)

SWEEPS_BY_ROWS = (
    Fault(
        "every firing begins the statistics",
        *("row_pipeline", "rows normalised", RESULT, {ESTIMATE, REPLAY}),
        sound="Stream(index, inputs, constants, (writes,), sums, first, sums is None or not first)",
        faulty="Stream(index, inputs, constants, (writes,), sums, True, sums is None or not first)",
    ),
    Fault(
        "of a stripe the first row is read",
        *("row_pipeline", "rows of attention", RESULT, {LEDGER, REPLAY}),
        sound="spans = stripe_spans(needs, rows[0], rows[-1] + 1)",
        faulty="spans = stripe_spans(needs, rows[0], rows[0] + 1)",
    ),
    Fault(
        "all rows of a stripe are written to the first",
        *("row_pipeline", "rows of attention", RESULT, {OCCUPANCY, REPLAY}),
        sound="results._replace(row=Span(row, row + 1))) for row in rows\n",
        faulty="results._replace(row=Span(rows[0], rows[0] + 1))) for row in rows\n",
    ),
    Fault(
        "rows are stored in one another's places",
        *("row_pipeline", "rows normalised", RESULT, {REPLAY}),
        sound="append(Store(layer.output, box, part.buffer, part.origin))",
        faulty="append(Store(layer.output, box._replace(row=Span(layer.output_shape[2] - 1 - row, "
        "layer.output_shape[2] - row)), part.buffer, part.origin))",
    ),
    Fault(
        "constants are not read",
        *("row_pipeline", "rows normalised", RESULT, {LEDGER, REPLAY}),
        sound="Stream(index, inputs, constants, (writes,), sums, first, sums is None or not first)",
        faulty="Stream(index, inputs, (), (writes,), sums, first, sums is None or not first)",
    ),
)

SWEPT = (*SWEEPS, *STREAMED, *SWEEPS_BY_ROWS)
