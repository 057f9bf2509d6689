"""Faults of what residents, frames and all groups are lowered with."""

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

LOWERING = (
    Fault(
        "a map that is kept is not loaded",
        *("lowering", "concat of residents", RESULT, {ESTIMATE, OCCUPANCY, REPLAY}),
        sound="        if name in group.kept:\n",
        faulty="        if name in group.kept and buffer < 0:\n",
    ),
    Fault(
        "weights that stand are not loaded",
        *("lowering", "frames", RESULT, {ESTIMATE, OCCUPANCY, REPLAY}),
        sound="emitter.instructions.append(Load(name, box, emitter.resident[name], ORIGIN))",
        faulty="del box",
    ),
    Fault(
        "maps are freed before their readers",
        *("lowering", "residents", RESULT, {OCCUPANCY, REPLAY}),
        sound="_move_out(later[0].resident if later else schedule.standing, emitter)",
        faulty="_move_out(schedule.standing, emitter)",
    ),
    Fault(
        "maps are never freed",
        *("lowering", "residents", MEMORY, {OCCUPANCY, REPLAY}),
        sound="        if buffer not in emitter.resident.values():\n",
        faulty="        if False:\n",
    ),
    Fault(
        "a place that is taken over is freed",
        *("lowering", "residents", RESULT, {LEDGER, OCCUPANCY, REPLAY}),
        sound="        if buffer not in emitter.resident.values():\n",
        faulty="        if True:\n",
    ),
    Fault(
        "a map that takes a place over has a buffer of its own there",
        *("lowering", "residents", RESULT, {OCCUPANCY, REPLAY}),
        sound="        if sharing:\n",
        faulty="        if False:\n",
    ),
    Fault(
        "a resident map lies an element too high",
        *("lowering", "residents", RESULT, {OCCUPANCY, REPLAY}),
        sound="home.address)\n        emitter.resident[name] = buffer",
        faulty="home.address + 4)\n        emitter.resident[name] = buffer",
    ),
    Fault(
        "weights that stand lie at the first address",
        *("lowering", "frames", RESULT, {OCCUPANCY, REPLAY}),
        sound="home.address)\n        alloc",
        faulty="0)\n        alloc",
    ),
    Fault(
        "groups lie at the first address",
        *("lowering", "residents", RESULT, {OCCUPANCY, REPLAY}),
        sound="emitter.base = group.address",
        faulty="emitter.base = 0",
    ),
    Fault(
        "local memory is an element short",
        *("lowering", "tiles", MEMORY, {OCCUPANCY, REPLAY}),
        sound="capacity_bytes=memory.capacity_bytes,\n        layers",
        faulty="capacity_bytes=memory.capacity_bytes - 4,\n        layers",
    ),
    Fault(
        "there is no memory for partial sums",
        *("lowering", "running apart", MEMORY, {OCCUPANCY, REPLAY}),
        sound="memory.accumulator_capacity_bytes or 0,\n        again",
        faulty="0,\n        again",
    ),
    Fault(
        "spilled sums have half their width",
        *("lowering", "spilled KPM", TRAFFIC, {ESTIMATE, REPLAY}),
        sound="bits = memory.accumulator_bits\n",
        faulty="bits = memory.accumulator_bits // 2\n",
    ),
    Fault(
        "spilled sums have the shape of the input",
        *("lowering", "spilled KPM", RESULT, {LEDGER, REPLAY}),
        sound="TensorKind.PARTIAL_SUM, layer.body_shape, bits)",
        faulty="TensorKind.PARTIAL_SUM, layer.input.shape, bits)",
    ),
    Fault(
        "it is not told that halos are made again",
        *("lowering", "tiles made again", TRAFFIC, {LEDGER}),
        sound="if any(halo is not Halo.CACHE for _, halo in group.halos)",
        faulty="if False",
    ),
    Fault(
        "a cold program finds what it is to bring",
        *("lowering", "frames", MEMORY, {LEDGER, OCCUPANCY}),
        sound="stands=standing if schedule.warm else (),",
        faulty="stands=standing,",
    ),
    Fault(
        "a warm program does not find what it needs",
        *("lowering", "frames", RESULT, {LEDGER, OCCUPANCY, REPLAY}),
        sound="stands=standing if schedule.warm else (),",
        faulty="stands=(),",
    ),
    Fault(
        "a warm program reserves what stands",
        *("lowering", "frames", RESULT, {LEDGER, OCCUPANCY, REPLAY}),
        sound="    if schedule.warm:\n        emitter.instructions.clear()\n",
        faulty="",
    ),
    Fault(
        "nothing is left for the next frame",
        *("lowering", "frames", RESULT, {OCCUPANCY, REPLAY}),
        sound="leaves=standing,",
        faulty="leaves=(),",
    ),
)

GROUPS = (
    Fault(
        "buffers are freed before the layer computes",
        *("group_pipeline", "rows", RESULT, {LEDGER, OCCUPANCY, REPLAY}),
        sound="""            self.fire(index, moment, firing)
            self.emit.instructions.extend(self.due_behind[moment])
            for number in self.deaths[moment]:
                self.emit.instructions.append(Free(self.buffers.pop(self.layout.held[number])))
""",
        faulty="""            dead = [self.layout.held[number] for number in self.deaths[moment]]
            self.emit.instructions.extend(Free(self.buffers[held]) for held in dead)
            self.fire(index, moment, firing)
            self.emit.instructions.extend(self.due_behind[moment])
            for held in dead:
                self.buffers.pop(held)
""",
    ),
    Fault(
        "buffers are freed a firing late",
        *("group_pipeline", "rows", RESULT, {OCCUPANCY, REPLAY}),
        sound="self.deaths[life.last].append(index)",
        faulty="self.deaths[min(life.last + 1, len(layout.firings) - 1)].append(index)",
    ),
    Fault(
        "a buffer is never freed",
        *("group_pipeline", "tiles cached", MEMORY, {OCCUPANCY, REPLAY}),
        sound="for number in self.deaths[moment]:",
        faulty="for number in self.deaths[moment][1:]:",
    ),
    Fault(
        "buffers lie at the first addresses, whatever is resident",
        *("group_pipeline", "frames", RESULT, {OCCUPANCY, REPLAY}),
        sound="address = self.group.address + self.layout.addresses[number]",
        faulty="address = self.layout.addresses[number]",
    ),
    Fault(
        "rows that are handed over are freed before the layer computes",
        *("group_pipeline", "rows handed over", RESULT, {LEDGER, OCCUPANCY, REPLAY}),
        sound="""            self.fire(index, moment, firing)
            self.emit.instructions.extend(self.due_behind[moment])
""",
        faulty="""            self.emit.instructions.extend(self.due_behind[moment])
            self.fire(index, moment, firing)
""",
    ),
    Fault(
        "rows that take a place over are reserved when they are made",
        *("group_pipeline", "rows handed over", RESULT, {LEDGER, OCCUPANCY, REPLAY}),
        sound="""            self.emit.instructions.extend(self.due_before[moment])
            self.fire(index, moment, firing)
""",
        faulty="""            self.fire(index, moment, firing)
            self.emit.instructions.extend(self.due_before[moment])
""",
    ),
    Fault(
        "constants are not loaded",
        *("group_pipeline", "rows of a concat", RESULT, {ESTIMATE, OCCUPANCY, REPLAY}),
        sound="        if not streamed:\n            box",
        faulty='        if not streamed and role == "kernel":\n            box',
    ),
    Fault(
        "pinned channels are not loaded",
        *("group_pipeline", "rows handed over", RESULT, {ESTIMATE, OCCUPANCY, REPLAY}),
        sound="        if not streamed:\n            box",
        faulty="        if not streamed and held.number != PINNED:\n            box",
    ),
    Fault(
        "pinned channels are computed with again",
        *("group_pipeline", "rows handed over", TRAFFIC, {LEDGER}),
        sound="range(pinned, shape[0], size)",
        faulty="range(0, shape[0], size)",
    ),
    Fault(
        "the first streamed channel is left out",
        *("group_pipeline", "rows, kernels streamed", RESULT, {LEDGER, REPLAY}),
        sound="range(pinned, shape[0], size)",
        faulty="range(pinned + 1, shape[0], size)",
    ),
    Fault(
        "of a streamed kernel the first tile alone is loaded",
        *("group_pipeline", "tiles, kernels streamed", RESULT, {ESTIMATE, OCCUPANCY, REPLAY}),
        sound="append(Load(layer.weight, box, buffer, ORIGIN))\n            yield",
        faulty="extend([Load(layer.weight, box, buffer, ORIGIN)] * (first == pinned))\n"
        "            yield",
    ),
    Fault(
        "a streamed kernel is loaded behind its step",
        *("group_pipeline", "rows, kernels streamed", RESULT, {LEDGER, OCCUPANCY, REPLAY}),
        sound="""            self.emit.instructions.append(Load(layer.weight, box, buffer, ORIGIN))
            yield channels, Slice(buffer, ORIGIN, box)
""",
        faulty="""            yield channels, Slice(buffer, ORIGIN, box)
            self.emit.instructions.append(Load(layer.weight, box, buffer, ORIGIN))
""",
    ),
    Fault(
        "a streamed kernel is loaded twice",
        *("group_pipeline", "rows, kernels streamed", TRAFFIC, {ESTIMATE}),
        sound="append(Load(layer.weight, box, buffer, ORIGIN))\n            yield",
        faulty="extend([Load(layer.weight, box, buffer, ORIGIN)] * 2)\n            yield",
    ),
    Fault(
        "of two slots for a kernel the first is read",
        *("group_pipeline", "rows, kernels streamed, doubled", RESULT, {LEDGER, REPLAY}),
        sound="yield channels, Slice(buffer, ORIGIN, box)",
        faulty="yield channels, Slice(slots[0], ORIGIN, box)",
    ),
    Fault(
        "constants are those of the first channels",
        *("group_pipeline", "tiles, kernels streamed", RESULT, {REPLAY}),
        sound="(0, channels.start, 0, 0), box)",
        faulty="ORIGIN, box)",
    ),
)

SCHEDULES = (*LOWERING, *GROUPS)
