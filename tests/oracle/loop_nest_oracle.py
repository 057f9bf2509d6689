"""Element-by-element simulation of one layer executed as a tiled loop nest.

This is an oracle: it walks the loops, builds every tile as a Python set of element coordinates,
and counts what is moved.  It is slow on purpose and shares nothing with the code it checks.

The layer.  Input (N, G*K, IH, IW), kernel (G, M, K, kh, kw), body (N, G*M, BH, BW), output
(N, G*M, OH, OW).  The body is the output map of the convolution; the output is the pooled body,
or the body itself when there is no pool.  A layer without a kernel (pooling, elementwise) takes
each channel through by itself: M = K = 1 and the groups are the channels.  `input_vectors` and
`output_vectors` count constant vectors with one value per input / output channel.  An operand is
an extra feature map, full (the body's shape) or per channel (N, G*M, 1, 1).

The loops.  Group tiles are outermost; inside them the loops M (output channels of a group),
K (input channels of a group) and P (spatial tiles of the *output* map: batch tile, column tile,
and innermost row tile) in the tiling's order.  The innermost body is one step.

Regions of a step, and the multiplications of a body element: `loop_nest_regions`.  A step
multiplies each body element of its tile for each of its k.

Roles.  Each holds one tile, known by its loop indices, and loads (reads from DRAM, in full) when
the step needs a tile of another identity than the one held:

    input               group, k, p        every step
    kernel              group, m, k        every step, if the layer has a kernel
    input vectors       group, k           every step
    output vectors      group, m           steps of the last k tile
    full operand        group, m, p        steps of the last k tile
    per-channel operand group, n tile      steps of the last k tile

Of the input, elements that the tile held before has are not loaded again, if that tile has the
same group, k, batch tile and column tile, and the row tile just above.

The output tile is stored in every step of the last k tile.  With several k tiles and a full
operand the step of the last k tile only adds to the sums, and each of its output channels is then
finished by a step of its own, which reads the channel's sums, constants and full operands and
stores its results: the identity of a full operand is then (channel, p), its tile one channel.
With several k tiles the body sums
are "kept" (no traffic) or "spilled": written after every step not of the last k tile, read back
before every step not of the first.

Pinned channels.  Before the first step the kernel of the first `pinned_m` output channels, or the
first `pinned_k` input channels over all rows and columns that a single tile of the whole output
would read, are read once and stay.  In a step the roles of kernel and input have only the elements
of their tiles that are not pinned; a tile without such elements is no tile of the role at all.
Of a tensor with pinned channels no tile may be left or two, but not one alone.

Local memory.  Each buffer is the dense box of the per-axis maximum of its tiles' extents, in
whole units of the alignment, times two if it is double-buffered and sees more than one identity.
Tiles are of four kinds, each double-buffered or not: inputs (operands among them), weights
(constant vectors among them), outputs, sums.  A buffer is double-buffered if tiles of some such
kind pass through it.
The input's buffer is a ring of rows if ever an element was not loaded again: as many rows as the
largest tile has, or, double-buffered, as any tile and the rows loaded for the next one have
together; the rows of a tile without columns count.
Sums: spilled, the body tile (identity group, m, k, p); kept, the live region: all M channels of
the group tile if M is inside K, else the m tile, by the whole body map (N, BH, BW) if P is inside
K, else the body tile (identity group and whichever of m, p is outside K).  Output: the output
tile (identity group, m, p), absent if the sums have a buffer or the layer is elementwise in place
(no kernel, no pool, kernel = stride = 1, pads 0, input_bits == output_bits).  If neither holds,
the first full operand of output_bits has no buffer of its own: it uses the output's.
Outputs pass through the sums' buffer if there is one, and through the input's if in place.  They
must have room there: a reduction has one k tile where outputs are wider than sums, or where the
output map has more rows or columns than the body, as pooling over padding may make them.

Sums may lie apart, in a memory that is not local.  Whatever passes through their buffer then
neither takes local bytes nor moves local bits.  Kernel elements are kernel_local_bits wide in
local memory, and written to it and read from it at that width.
"""

from dataclasses import dataclass
from itertools import product

from tests.oracle.loop_nest_buffers import Axes, Buffer, Element, Role, RollingRole, whole_units
from tests.oracle.loop_nest_regions import body_axis, input_axis, multiplications, taps_of, window
from tests.oracle.loop_nest_spec import LayerSpec, NestCounts, NestTiling

ORDERS = ("PMK", "MPK", "PKM", "MKP", "KPM", "KMP")
SUMS = ("none", "kept", "spilled")


@dataclass(frozen=True)
class _SpatialTile:
    """One iteration of the P loop, over the output map."""

    n_index: int
    column_index: int
    row_index: int
    ns: tuple[int, ...]
    rows: tuple[int, ...]
    cols: tuple[int, ...]


def _tiles(size: int, tile: int) -> list[tuple[int, ...]]:
    """Coordinates 0 .. size-1 cut into consecutive runs of `tile`."""
    if tile < 1:
        raise ValueError("a tile extent is at least 1")
    return [tuple(range(low, min(low + tile, size))) for low in range(0, size, tile)]


def _spatial_tiles(spec: LayerSpec, tiling: NestTiling) -> list[_SpatialTile]:
    """The iterations of the P loop, in order."""
    result = []
    for n_index, ns in enumerate(_tiles(spec.n, tiling.n_tile)):
        for column_index, cols in enumerate(_tiles(spec.output_size[1], tiling.col_tile)):
            for row_index, rows in enumerate(_tiles(spec.output_size[0], tiling.row_tile)):
                result.append(_SpatialTile(n_index, column_index, row_index, ns, rows, cols))
    return result


def _elementwise_in_place(spec: LayerSpec) -> bool:
    """Whether the result overwrites the input tile."""
    return (
        not spec.has_kernel
        and spec.pool is None
        and spec.kernel == (1, 1)
        and spec.stride == (1, 1)
        and spec.up == (1, 1)
        and spec.pad_begin == (0, 0)
        and spec.input_bits == spec.output_bits
    )


def _operand_in_place(spec: LayerSpec, tiling: NestTiling) -> int | None:
    """Index of the operand that uses the output buffer, if any does."""
    if tiling.sums != "none" or _elementwise_in_place(spec):
        return None
    for index, operand in enumerate(spec.operands):
        if not operand.per_channel and operand.bits == spec.output_bits:
            return index
    return None


def _pinned(spec: LayerSpec, tiling: NestTiling) -> tuple[set[Element], int]:
    """The elements of the input that are pinned, and how many of the kernel are."""
    axes = [
        input_axis(spec, axis, body_axis(spec, axis, tuple(range(spec.output_size[axis]))))
        for axis in (0, 1)
    ]
    elements = set(product(range(spec.n), range(tiling.pinned_k), *axes))
    return elements, tiling.pinned_m * spec.k * spec.kernel[0] * spec.kernel[1]


def legal(spec: LayerSpec, tiling: NestTiling) -> bool:
    """Whether the model allows this tiling of this layer, whatever the memory."""
    if tiling.order not in ORDERS or tiling.sums not in SUMS:
        return False
    m_tiles = len(_tiles(spec.m, tiling.m_tile))
    k_tiles = len(_tiles(spec.k, tiling.k_tile))
    p_tiles = len(_spatial_tiles(spec, tiling))
    if tiling.group_tile > 1 and (m_tiles > 1 or k_tiles > 1):
        return False
    for pinned, tiles in (
        (tiling.pinned_m, _tiles(spec.m, tiling.m_tile)),
        (tiling.pinned_k, _tiles(spec.k, tiling.k_tile)),
    ):
        if pinned and sum(tile[-1] >= pinned for tile in tiles) == 1:
            return False
    if (tiling.sums == "none") != (k_tiles == 1):
        return False
    larger = any(out > body for out, body in zip(spec.output_size, spec.body_size, strict=True))
    if k_tiles > 1 and (larger or spec.output_bits > spec.accumulator_bits):
        return False
    inside_k = tiling.order[tiling.order.index("K") + 1 :]
    if tiling.sums == "spilled":
        if spec.pool is not None:
            return False
        enclosed = (m_tiles if "M" in inside_k else 1) * (p_tiles if "P" in inside_k else 1)
        return enclosed > 1
    if tiling.sums == "kept" and spec.pool is not None and "P" in inside_k:
        return p_tiles == 1
    return True


def simulate(spec: LayerSpec, tiling: NestTiling) -> NestCounts:
    """Walk the loop nest step by step and count.

    ValueError if the tiling is not `legal`; AssertionError if the walk itself is unsound: a tap
    or a pool window outside the tiles at hand, a held tile that is not the one needed, a body sum
    missing a k tile or adding one twice, an output element written twice or never.
    """
    if not legal(spec, tiling):
        raise ValueError("not a legal tiling of this layer")

    group_tiles = _tiles(spec.groups, tiling.group_tile)
    m_tiles = _tiles(spec.m, tiling.m_tile)
    k_tiles = _tiles(spec.k, tiling.k_tile)
    p_tiles = _spatial_tiles(spec, tiling)
    trips = {"M": len(m_tiles), "K": len(k_tiles), "P": len(p_tiles)}
    inside_k = tiling.order[tiling.order.index("K") + 1 :]

    input_role = RollingRole()
    kernel_role = Role()
    input_vector_role = Role()
    output_vector_role = Role()
    operand_roles = [Role() for _ in spec.operands]
    sums_buffer = Buffer()
    output_buffer = Buffer()

    row_products, column_products = multiplications(spec, 0), multiplications(spec, 1)
    k_tiles_added: dict[Element, int] = {}  # of every body element whose sum is unfinished
    pinned_input, pinned_kernel = _pinned(spec, tiling)
    live_identity: Element | None = None
    output_written: set[Element] = set()
    output_writes = 0
    sums_written = 0
    sums_read = 0
    macs = 0
    steps = 0
    on_chip_bits = 0
    sums_are_local = not tiling.chip.sums_apart
    output_is_local = tiling.sums == "none" or sums_are_local

    for g_index, gs in enumerate(group_tiles):
        for indices in product(*(range(trips[loop]) for loop in tiling.order)):
            at = dict(zip(tiling.order, indices, strict=True))
            m_index, k_index, p_index = at["M"], at["K"], at["P"]
            ms, ks, p_tile = m_tiles[m_index], k_tiles[k_index], p_tiles[p_index]
            first_k = k_index == 0
            last_k = k_index == len(k_tiles) - 1
            steps += 1

            # The step's coordinates.
            in_channels = tuple(g * spec.k + k for g in gs for k in ks)
            out_channels = tuple(g * spec.m + m for g in gs for m in ms)
            body_rows = body_axis(spec, 0, p_tile.rows)
            body_cols = body_axis(spec, 1, p_tile.cols)
            input_rows = input_axis(spec, 0, body_rows)
            input_cols = input_axis(spec, 1, body_cols)
            input_axes: Axes = (p_tile.ns, in_channels, input_rows, input_cols)
            body_axes: Axes = (p_tile.ns, out_channels, body_rows, body_cols)
            output_axes: Axes = (p_tile.ns, out_channels, p_tile.rows, p_tile.cols)
            body_tile = set(product(*body_axes))
            output_tile = set(product(*output_axes))

            # Tiles every step uses.
            place = (p_tile.n_index, p_tile.column_index, p_tile.row_index)
            open_axes = (p_tile.ns, tuple(c for c in in_channels if c >= tiling.pinned_k))
            if open_axes[1]:
                input_role.roll((g_index, k_index, *place), (*open_axes, input_rows, input_cols))
            on_chip_bits += len(set(product(*input_axes))) * spec.input_bits
            if spec.has_kernel:
                kh, kw = spec.kernel
                taps: Axes = (tuple(range(kh)), tuple(range(kw)))
                open_ms = tuple(m for m in ms if m >= tiling.pinned_m)
                if open_ms:
                    kernel_role.use((g_index, m_index, k_index), (gs, open_ms, ks, *taps))
                on_chip_bits += len(set(product(gs, ms, ks, *taps))) * spec.kernel_local_bits
            input_vector_axes: Axes = (tuple(range(spec.input_vectors)), in_channels)
            input_vector_role.use((g_index, k_index), input_vector_axes)
            on_chip_bits += len(input_vector_role.held) * spec.vector_bits

            held_now = input_role.held if open_axes[1] else set()

            # Every tap of every body element reads what is held (the same for every m).
            for n, channel in product(p_tile.ns, in_channels):
                for row, col in product(body_rows, body_cols):
                    for y, x in product(taps_of(spec, 0, row), list(taps_of(spec, 1, col))):
                        tap = (n, channel, y, x)
                        held = tap in (pinned_input if channel < tiling.pinned_k else held_now)
                        assert held, "a tap reads what is not held"

            # The sums: where they live, what the step adds to them.
            if tiling.sums == "spilled":
                sums_buffer.note((g_index, m_index, k_index, p_index), body_axes)
            elif tiling.sums == "kept":
                live_channels = out_channels
                live_ns, live_rows, live_cols = p_tile.ns, body_rows, body_cols
                identity = [g_index]
                if "M" in inside_k:
                    live_channels = tuple(g * spec.m + m for g in gs for m in range(spec.m))
                else:
                    identity.append(m_index)
                if "P" in inside_k:
                    live_ns = tuple(range(spec.n))
                    live_rows = tuple(range(spec.body_size[0]))
                    live_cols = tuple(range(spec.body_size[1]))
                else:
                    identity.append(p_index)
                sums_buffer.note(tuple(identity), (live_channels, live_ns, live_rows, live_cols))
                if tuple(identity) != live_identity:
                    live_identity = tuple(identity)
                    k_tiles_added.clear()  # what the live region held before is lost
            if not first_k:
                on_chip_bits += len(body_tile) * spec.accumulator_bits * sums_are_local
                if tiling.sums == "spilled":
                    sums_read += len(body_tile)
            for element in body_tile:
                assert k_tiles_added.get(element, 0) == k_index, "a k tile is lost or added twice"
                k_tiles_added[element] = k_index + 1
                if spec.has_kernel:
                    for _k in ks:
                        macs += row_products[element[2]] * column_products[element[3]]
            by_channel = len(k_tiles) > 1 and any(not o.per_channel for o in spec.operands)
            if by_channel and last_k:
                on_chip_bits += 2 * len(body_tile) * spec.accumulator_bits * sums_are_local
                steps += len(out_channels)
            if not last_k:
                on_chip_bits += len(body_tile) * spec.accumulator_bits * sums_are_local
                if tiling.sums == "spilled":
                    sums_written += len(body_tile)
                continue

            # Only in steps of the last k tile: the rest of the inputs, and the result.
            output_vector_axes: Axes = (tuple(range(spec.output_vectors)), out_channels)
            output_vector_role.use((g_index, m_index), output_vector_axes)
            on_chip_bits += len(output_vector_role.held) * spec.vector_bits
            for operand, role in zip(spec.operands, operand_roles, strict=True):
                if operand.per_channel:
                    role.use((g_index, p_tile.n_index), (p_tile.ns, out_channels, (0,), (0,)))
                elif by_channel:
                    for channel in out_channels:
                        role.use((channel, p_index), (p_tile.ns, (channel,), body_rows, body_cols))
                        on_chip_bits += len(role.held) * operand.bits
                    continue
                else:
                    role.use((g_index, m_index, p_index), body_axes)
                on_chip_bits += len(role.held) * operand.bits

            for element in body_tile:
                assert k_tiles_added.pop(element) == len(k_tiles), "a finished sum lacks a k tile"
            for axis, outputs, bodies in ((0, p_tile.rows, body_rows), (1, p_tile.cols, body_cols)):
                for output in outputs:
                    for body in window(spec, axis, output):
                        assert body in bodies, "a pool window leaves the body tile"
            output_buffer.note((g_index, m_index, p_index), output_axes)
            for element in output_tile:
                assert element not in output_written, "an output element is written twice"
                output_written.add(element)
                output_writes += 1
            on_chip_bits += len(output_tile) * spec.output_bits * output_is_local

    oh, ow = spec.output_size
    whole_output = product(range(spec.n), range(spec.groups * spec.m), range(oh), range(ow))
    assert output_written == set(whole_output), "an output element is never written"
    assert not k_tiles_added, "a sum is never finished"

    # Local memory.
    def double(*kinds: str) -> bool:
        return any(kind in tiling.chip.double for kind in kinds)

    unit = tiling.chip.alignment
    in_place, waiting = _elementwise_in_place(spec), _operand_in_place(spec, tiling)
    through_input = ("inputs", "outputs") if in_place else ("inputs",)
    local_bytes = input_role.local_bytes(spec.input_bits, double(*through_input), unit)
    if spec.has_kernel:
        local_bytes += kernel_role.local_bytes(spec.kernel_local_bits, double("weights"), unit)
    local_bytes += input_vector_role.local_bytes(spec.vector_bits, double("weights"), unit)
    local_bytes += output_vector_role.local_bytes(spec.vector_bits, double("weights"), unit)
    for index, operand in enumerate(spec.operands):
        if index != waiting:
            local_bytes += operand_roles[index].local_bytes(operand.bits, double("inputs"), unit)
    sums_bytes = 0
    if tiling.sums != "none":
        both = double("sums", "outputs")
        apart = 1 if tiling.chip.sums_apart else unit
        sums_bytes = sums_buffer.local_bytes(spec.accumulator_bits, both, apart)
    elif not in_place:
        through_output = ("outputs",) if waiting is None else ("outputs", "inputs")
        local_bytes += output_buffer.local_bytes(spec.output_bits, double(*through_output), unit)
    if sums_are_local:
        local_bytes, sums_bytes = local_bytes + sums_bytes, 0

    # What is pinned: read once, in buffers of its own.
    local_bytes += whole_units(len(pinned_input) * spec.input_bits, unit)
    local_bytes += whole_units(pinned_kernel * spec.kernel_local_bits, unit)

    # Traffic in bits.
    dram_bits = (input_role.reads + len(pinned_input)) * spec.input_bits
    dram_bits += (kernel_role.reads + pinned_kernel) * spec.kernel_bits
    dram_bits += (input_vector_role.reads + output_vector_role.reads) * spec.vector_bits
    for operand, role in zip(spec.operands, operand_roles, strict=True):
        dram_bits += role.reads * operand.bits
    dram_bits += output_writes * spec.output_bits
    spilled_bits = (sums_written + sums_read) * spec.accumulator_bits
    dram_bits += spilled_bits

    # What the transfers of these bits write to local memory, or read from it.
    dma_bits = dram_bits + kernel_role.reads * (spec.kernel_local_bits - spec.kernel_bits)
    dma_bits -= 0 if sums_are_local else spilled_bits
    dma_bits -= 0 if output_is_local else output_writes * spec.output_bits

    return NestCounts(
        local_bytes=local_bytes,
        sums_bytes=sums_bytes,
        input_first=input_role.first_reads + len(pinned_input),
        input_again=input_role.repeated_reads,
        kernel_first=kernel_role.first_reads + pinned_kernel,
        kernel_again=kernel_role.repeated_reads,
        input_vector_reads=input_vector_role.reads,
        output_vector_reads=output_vector_role.reads,
        operand_reads=tuple(role.reads for role in operand_roles),
        output_writes=output_writes,
        sums_written=sums_written,
        sums_read=sums_read,
        macs=macs,
        steps=steps,
        dram_bits=dram_bits,
        step_bits=on_chip_bits,
        local_bits=dma_bits + on_chip_bits,
    )
