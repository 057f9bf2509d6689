"""Reading lifetimes: what is understood of a file, and every problem of it told at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dataflow_sim import lifetimes
from dataflow_sim.errors import InputError
from dataflow_sim.lifetimes import LARGEST_SIZE_BYTES, LATEST, read_lifetimes
from dataflow_sim.results_of_placement import Lifetime

EXPECTED = (Lifetime("a", 0, 3, 10), Lifetime("b c", 2, 5, 0))
HEADER = "id,lower,upper,size\n"


@pytest.mark.parametrize(
    "text",
    [
        "id,lower,upper,size\na,0,3,10\nb c,2,5,0\n",
        "id,lower,upper,size\na,0,3,10\nb c,2,5,0",
        "id,lower,upper,size\r\na,0,3,10\r\n\r\nb c,2,5,0\r\n",
        "\ufeffid,lower,upper,size\na,0,3,10\nb c,2,5,0\n",
        "size,note,upper,id,lower\n10,x,3,a,0\n0,,5,b c,2\n",
        '"size", upper,id,lower,offset\n 10,3 ,a,0,99\n0,5, "b c",2,\n,,,,\n',
        "id,lower,upper,size\na,000,3,00010\nb c,2,5,0\n",
    ],
)
def test_columns_in_any_order_and_further_ones_ignored(text: str, tmp_path: Path) -> None:
    path = tmp_path / "lives.csv"
    path.write_bytes(text.encode())
    assert read_lifetimes(path) == EXPECTED


def test_a_name_may_hold_what_csv_quotes(tmp_path: Path) -> None:
    path = tmp_path / "lives.csv"
    path.write_text(HEADER + '"a,""b""\nc",0,1,2\nd,0,1,2\n')
    assert [life.name for life in read_lifetimes(path)] == ['a,"b"\nc', "d"]


def test_numbers_up_to_their_limits(tmp_path: Path) -> None:
    path = tmp_path / "lives.csv"
    path.write_text(HEADER + f"a,{LATEST - 1},{LATEST},{LARGEST_SIZE_BYTES}\n")
    assert read_lifetimes(path) == (Lifetime("a", LATEST - 1, LATEST, LARGEST_SIZE_BYTES),)
    path.write_text(HEADER + f"a,{LATEST},{LATEST + 1},{LARGEST_SIZE_BYTES + 1}\n")
    with pytest.raises(InputError) as failure:
        read_lifetimes(path)
    assert str(failure.value).splitlines() == [
        f"{path}:2: upper is '1000000000000001'; it is at most 1,000,000,000,000,000",
        f"{path}:2: size is '1099511627777'; it is at most 1,099,511,627,776",
    ]


def problems(tmp_path: Path, contents: bytes | str) -> list[str]:
    """What is wrong with a file, the path left out."""
    path = tmp_path / "lives.csv"
    path.write_bytes(contents.encode() if isinstance(contents, str) else contents)
    with pytest.raises(InputError) as failure:
        read_lifetimes(path)
    return str(failure.value).replace(str(path), "F").splitlines()


BAD = {
    "": ["'F' is empty; its first line names the columns id, lower, upper and size"],
    "\n \n,,\n": ["'F' is empty; its first line names the columns id, lower, upper and size"],
    HEADER: ["'F' names no buffer; write one row a buffer below the first line"],
    "id,lower,size\na,1,2\n": [
        "F:1: no column 'upper' among 'id', 'lower', 'size'; "
        "the first line names id, lower, upper and size"
    ],
    "id,lower,size,upper,size\na,1,2,3,4\n": ["F:1: the column 'size' stands twice; delete one"],
    HEADER + "a,1,2\n": ["F:2: 3 cells; the first line names 4 columns"],
    HEADER + "a,1,2,3\nb,1,2,3\na,1,2,3\n": [
        "F:4: id 'a' stands on line 2 already; give every buffer its own"
    ],
    HEADER + ",1,2,3\n": ["F:2: id is empty; give every buffer a name of its own"],
    HEADER + "a,1,2,-3\n": ["F:2: size is '-3', negative; write a number from 0 up"],
    HEADER + "a,1,2,1e3\n": ["F:2: size is '1e3', no whole number; write bytes in digits alone"],
    HEADER + "a,1.0,2,3\n": [
        "F:2: lower is '1.0', no whole number; write a moment in digits alone"
    ],
    HEADER + "a,1,,3\n": ["F:2: upper is '', no whole number; write a moment in digits alone"],
    HEADER + "a,1,\u00b2,3\n": [
        "F:2: upper is '\u00b2', no whole number; write a moment in digits alone"
    ],
    HEADER + "a,4,4,3\n": [
        "F:2: upper is 4, lower 4; a buffer lives in [lower, upper), so that upper is at least 5"
    ],
    HEADER + "a,1,2," + "9" * 5000 + "\n": [
        "F:2: size is '" + "9" * 37 + "...'; it is at most 1,099,511,627,776"
    ],
    HEADER + 'a,1,2,3\n"b,1,2,3\n': ["F:3: not CSV: unexpected end of data"],
    HEADER + "a" * 200_000 + ",1,2,3\n": ["F:2: not CSV: field larger than field limit (131072)"],
}


@pytest.mark.parametrize("text", BAD, ids=[text[-30:].strip() or "empty" for text in BAD])
def test_bad_files(text: str, tmp_path: Path) -> None:
    assert problems(tmp_path, text) == BAD[text]


def test_binary_files(tmp_path: Path) -> None:
    assert problems(tmp_path, b"\x89PNG\r\n\x1a\n") == [
        "'F' is no CSV file: byte 0 is not UTF-8; save it as text"
    ]
    assert problems(tmp_path, b"id,lower\0upper,size") == [
        "'F' is no CSV file: it holds a byte 0; save it as text"
    ]


def test_all_problems_at_once_and_no_more_than_twenty_lines(tmp_path: Path) -> None:
    text = HEADER + "a,5,4,x\n,1,2,3,4\na,0,1,2\n" + '"'
    assert [
        each.split(": ")[0] + ":" + each.split(": ")[1][:9] for each in problems(tmp_path, text)
    ] == [
        "F:2:size is '",
        "F:2:upper is ",
        "F:3:5 cells; ",
        "F:4:id 'a' st",
        "F:5:not CSV",
    ]
    many = problems(tmp_path, HEADER + "a,0,1,x\n" * 30)
    assert len(many) == 21
    # the first has one problem, each other two
    assert many[-1] == "and 39 more problems"


def test_where_there_is_no_file(tmp_path: Path) -> None:
    cases: dict[str, Callable[[Path], object]] = {
        "does not exist": lambda path: None,
        "is a directory": lambda path: path.mkdir(),
    }
    for expected, make in cases.items():
        path = tmp_path / expected
        make(path)
        with pytest.raises(InputError, match=expected):
            read_lifetimes(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_lifetimes(tmp_path / ("x" * 300))


def test_too_many_buffers_and_too_large_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lives.csv"
    path.write_text(HEADER + "".join(f"{i},0,1,2\n" for i in range(5)))
    monkeypatch.setattr(lifetimes, "MOST_BUFFERS", 5)
    assert len(read_lifetimes(path)) == 5
    monkeypatch.setattr(lifetimes, "MOST_BUFFERS", 4)
    with pytest.raises(InputError, match=r":6: more than 4 buffers; split the file$"):
        read_lifetimes(path)
    monkeypatch.setattr(lifetimes, "_LARGEST_FILE_BYTES", path.stat().st_size - 1)
    with pytest.raises(InputError, match="has 60 bytes; lifetimes are read from at most 59"):
        read_lifetimes(path)
