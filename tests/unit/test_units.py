from __future__ import annotations

from collections.abc import Callable

import pytest

from dataflow_sim import units
from dataflow_sim.errors import InputError


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (units.parse_bytes, "256KiB", 262_144),
        (units.parse_bytes, "1.5MB", 1_500_000),
        (units.parse_bytes, " 8 bit ", 1),
        (units.parse_bytes, "4096", 4096),
        (units.parse_bytes, 4096, 4096),
        (units.parse_bytes_per_second, "12.8GB/s", 12.8e9),
        (units.parse_bytes_per_second, "8Gbit/s", 1e9),
        (units.parse_hertz, "500MHz", 500e6),
        (units.parse_pj_per_bit, "10pJ/bit", 10.0),
        (units.parse_pj_per_bit, "8pJ/B", 1.0),
        (units.parse_pj_per_mac, "1pJ", 1.0),
        (units.parse_pj_per_mac, "200 fJ/MAC", 0.2),
        (units.parse_watt, "100mW", 0.1),
    ],
)
def test_legal_quantities(parse: Callable[[object], float], text: object, value: float) -> None:
    assert parse(text) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (units.parse_bytes, "256 Kb"),
        (units.parse_bytes, "256K"),
        (units.parse_bytes, "3bit"),
        (units.parse_bytes, "-1KiB"),
        (units.parse_bytes, -1),
        (units.parse_bytes, True),
        (units.parse_bytes, "lots"),
        (units.parse_bytes, None),
        (units.parse_bytes_per_second, "12.8"),
        (units.parse_bytes_per_second, "12.8Gb/s"),
        (units.parse_hertz, "500mhz"),
        (units.parse_pj_per_bit, "10pJ"),
        (units.parse_pj_per_mac, "1pJ/bit"),
        (units.parse_watt, "1pJ"),
    ],
)
def test_ambiguous_or_wrong_quantities_are_refused_with_the_choices(
    parse: Callable[[object], float], text: object
) -> None:
    with pytest.raises(InputError) as caught:
        parse(text)
    assert repr(text) in str(caught.value)


def test_sizes_for_people() -> None:
    assert units.format_bytes(17_071_016) == "17.071 MB"
    assert units.format_bytes(999) == "999 B"
    assert units.format_capacity(262_144) == "256 KiB"
    assert units.format_capacity(1_000) == "1,000 B"
