"""What the reference of scenario files says in prose, beside what follows from the models.

Headings, the rules of axes and expressions, operators, units of columns, reasons of DRAM bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dataflow_sim.scenario.points import FIELDS
from dataflow_sim.traffic import Reason

EXAMPLE = """\
title: What 4-bit weights and more memory buy
networks: [mobilenet_v1@0.25-128, ds_cnn_l]
hardware: bare
axes:
  policy: [layerwise, merged]
  weight_bits: [8, 4]
  local_memory: {from: 8KiB, to: 128KiB, per_octave: 2}
record: [dram_bytes, map_bytes, compulsory_bytes]
derive:
  over_floor: dram_bytes / compulsory_bytes
measure:
  wide: dram_bytes(weight_bits=8, policy='merged')
  narrow: dram_bytes(weight_bits=4, policy='merged')
expect:
  - {label: narrow weights never move more, value: all(narrow <= wide), holds: true}
questions:
  - ask: the least memory without spills
    needs: {least: local_memory_bytes, target: map_bytes == 0}
    by: [network, weight_bits, policy]
pictures:
  - file: bytes
    kind: steps
    title: DRAM bytes of a frame
    x: local_memory_bytes
    y: dram_bytes
    by: [network, weight_bits, policy]
    log: [x]
"""

HEAD = f"""\
# Scenario files

Made from the models by `dataflow-sim scenario reference`; `dataflow-sim scenario schema` prints the
keys as a JSON Schema for editors, `dataflow-sim scenario columns` the columns for the terminal. A
scenario is a study as a YAML file: what runs, along which axes, what is recorded, and what is asked
of it. `dataflow-sim scenario check FILE.yaml` shows its points, or everything that is wrong with it
with line and column; `dataflow-sim sweep FILE.yaml` runs them.

```yaml
{EXAMPLE}```

This has 2 networks x 2 policies x 2 widths x 9 memories = 72 points.

What a point runs is said by the file, then by its case, then by its axes; the later wins.
`what_ifs`, `dims`, `branches`, `trips` and `set` add up instead. An axis that a case sets as well
is refused.
"""

# headings of the groups of keys, in the order of the page; what each model says stands below
HEADINGS: Mapping[str, str] = {
    "Expectation": "Expectations",
    "Question": "Questions",
    "Knee": "knee",
    "Pareto": "pareto",
    "Needs": "needs",
    "Sensitivity": "sensitivity",
    "Shown": "Tables",
    "Picture": "Pictures",
    "Claim": "Claim",
}
BELOW: Mapping[str, str] = {
    "Expectation": (
        "Give one of `equals`, `at_least`, `at_most`, `above`, `below` and `holds`. The five that "
        "compare take a number or an expression. `equals` is exact to 1 part in 10⁹ unless it has "
        "one of `within`, `by` and `digits`."
    ),
    "Question": (
        "Give one of `knee`, `pareto`, `needs` and `sensitivity`. `dataflow-sim study` asks the "
        "same of results that are there. Points that have an error play no part."
    ),
    "Pareto": "Name two columns or more.",
    "Sensitivity": (
        "The answer has a row for each axis: the column at every other value over that at the "
        "first one, on geometric mean (`mean_ratio`), at least and at most; for axes of numbers "
        "the slope in logarithms (`elasticity`). An axis that never turns alone has no figures."
    ),
}
AXES = f"""\
A key of `axes` is a setting ({", ".join(f"`{each}`" for each in FIELDS)}), a key of the hardware
file by its dotted path (`dram.energy`; [hardware.md](hardware.md) has all), or `dims.NAME`,
`branches.NODE`, `trips.NODE`. `networks` and `machines` are axes too, called `network` and
`hardware` in `zip`; so is `case`. Axes are crossed, the later ones faster.
"""
AXIS_VALUES: Sequence[tuple[str, ...]] = (
    (
        "a list",
        "`policy: [layerwise, merged]`",
        "the key, dots and hyphens as underscores: `policy`, `dram_energy`",
    ),
    (
        "a range, in equal ratios",
        "`local_memory: {from: 32KiB, to: 1MiB, per_octave: 4}`",
        "the same; of memory `local_memory_bytes`, in bytes",
    ),
    (
        "by name",
        '`what_ifs: {plain: [], pruned: ["prune=0.5"]}`',
        "the same, with the names as values; of memory `memory`",
    ),
)
EXPRESSIONS = """\
An expression is arithmetic over a table, as in `map_bytes / dram_bytes`. What it may name depends
on where it stands.

| key | sees |
|---|---|
| `where` | the columns of the axes, of one point |
| `derive`, `derive_layers` | the columns of one row, and derived columns that stand before it |
| `measure`, `expect` | all tables, whole; `measure` the names before it, `expect` all of them |
| `needs.target`, `study needs --target` | the columns of one point |

In `measure` and `expect` a column is an array with an element for each row. Called with filters it
is the column of the rows that they choose: `dram_bytes(policy='merged', local_memory='64KiB')`.
Where one row is left it is a single value. A list keeps the order of its values:
`policy=['merged', 'layerwise']`. A filter is a column that tells rows apart, or `status`; one of
bytes takes sizes, and may be written without its `_bytes`. `layer.` in front takes a column of
layers, which are told apart by `layer` too, and by `op` and `kind` where they are recorded;
`curve.` one of breakpoints. A row without a value, such as that of a point that does not fit, is an
error of the expression; `status='ok'` leaves it out.
"""
OPERATORS: Mapping[str, str] = {
    "+": "sum",
    "-": "difference; before a value its negative",
    "*": "product",
    "/": "quotient",
    "//": "quotient, rounded down",
    "%": "remainder",
    "**": "power, at most 64",
    "<": "less than; comparisons chain, as in `1 < gap < 2`",
    "<=": "at most",
    ">": "more than",
    ">=": "at least",
    "==": "equal",
    "!=": "not equal",
    "and": "both hold; of single values",
    "or": "either holds; of single values",
    "not": "does not hold; of a single value",
}
LANGUAGE = """\
Arithmetic and comparisons go element by element. There are numbers, texts in quotes, `True` and
`False`, lists (`[1, 2]`), an element (`x[0]`, `x[-1]`) and a part (`x[1:]`) of an array, and
brackets. Nothing else is legal. An expression has at most 2,000 letters.
"""
ROWS_AND_FINDERS = """\
Every row of points has the columns of its axes, with `network` and `hardware` first, then `status`
(`ok`, `does not fit`, `error` or `defect`), what is recorded and derived, and `error`, which says
why. A row of layers has `layer` instead of `status` and `error`; a row of breakpoints is of every
memory at once and has no column of that axis.

What finds a column decides what is computed:

| found by | takes |
|---|---|
| `machine` | the hardware file |
| `facts` | the network, without a schedule |
| `curve` | a budget curve, which points of several memories share, or a run of the point |
| `run` | a run of the point |
| `held` | a run of the point, and one of the network before its what-ifs |
"""
TEXT_COLUMNS = """\
`limited_by` is who works for most of the latency, such as `compute` or `dram`; `latency` where
nobody does. `verdict` is `fits`, `compute-bound`, `bandwidth-bound`, both, or `latency-bound`.
"""
REASONS: Mapping[Reason, str] = {
    Reason.INPUT_READ: "the network's input, each element the first time",
    Reason.INPUT_REFETCH: "the network's input, read again",
    Reason.WEIGHT_FETCH: "weights, each the first time",
    Reason.WEIGHT_REFETCH: "weights, read again",
    Reason.MAP_SPILL: "a map between layers, written",
    Reason.MAP_FILL: "a map between layers, read by a layer the first time",
    Reason.MAP_REFILL: "a map between layers, read by the same layer again",
    Reason.PARTIAL_SUM_SPILL: "sums that are not finished, written",
    Reason.PARTIAL_SUM_FILL: "sums that are not finished, read back",
    Reason.OUTPUT_WRITE: "the network's output, written",
    Reason.BURST_PADDING: "the rest of bursts that transfers fill in part",
    Reason.COMMAND_FETCH: "the machine's command stream",
}
# units by the end of a column's name, the longer first
_UNITS = (
    ("dram_pj_per_bit", "pJ/bit"),
    ("operations_per_weight_byte", "operations/element"),
    ("macs_per_cycle", "MAC/cycle"),
    ("frames_per_second", "1/s"),
    ("lifetime_layers", "layers"),
    ("reads_per_byte", "ratio"),
    ("_gb_s", "GB/s"),
    ("_bytes", "B"),
    ("_elements", "elements"),
    ("_weights", "elements"),
    ("_bits", "bit"),
    ("_gops", "10⁹ operations/s"),
    ("_mhz", "MHz"),
    ("_watt", "W"),
    ("_ms", "ms"),
    ("_us", "µs"),
    ("_mj", "mJ"),
    ("_uj", "µJ"),
    ("_pj", "pJ"),
)
_UNITS_OF_NAMES: Mapping[str, str] = {
    "macs": "MAC",
    "macs_executed": "MAC",
    "parameters": "elements",
    "gap": "ratio",
    "utilisation": "ratio",
    "zero_weights": "ratio",
    "counted": "true or false",
    **dict.fromkeys(("layer_count", "groups", "steps", "parts"), "count"),
    **dict.fromkeys(("limited_by", "verdict", "op", "kind"), "text"),
}


def unit_of(column: str) -> str:
    """The unit of a column, from its name.  Raises KeyError for a name that tells none."""
    if column in _UNITS_OF_NAMES:
        return _UNITS_OF_NAMES[column]
    found = next((unit for end, unit in _UNITS if column.endswith(end)), None)
    if found is None:
        raise KeyError(column)
    return found
