import json
import math
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openo3.annotations import rows
from openo3.annotations.rejections import Reason, RowError

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def read(path: Path, content: str | bytes) -> list:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(rows.read_rows(path))


@given(st.lists(ANYTHING), st.booleans(), st.integers(1, 40))
def test_rows_equal_those_of_json_for_any_window_size(tmp_path_factory, values, indented, chunk):
    path = tmp_path_factory.mktemp("rows") / "r.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "_CHUNK", chunk)
        assert read(path, json.dumps(values, indent=2 if indented else None)) == values


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "row 0, byte 0: not a JSON list of rows"),
        ('{"id": 1}', "row 0, byte 0: not a JSON list of rows"),
        (
            "<!DOCTYPE html><html>",
            'row 0, byte 0: not a JSON list of rows, it starts with "<!DOCTYPE html><html"',
        ),
        ('[{"a": 1}, {"b', "row 1, byte 14: the file is cut off"),
        ('[{"a": 1}, ', "row 1, byte 11: the file is cut off"),
        ('[{"a": 1}', "row 1, byte 9: the file is cut off"),
        ('[{"é": 1}', "row 1, byte 10: the file is cut off"),
        ('[{"a" 1}]' + " " * 20, "row 0, byte 6: Expecting ':' delimiter"),
        ("[1 2]", "row 1, byte 3: expected a comma or the end of the list"),
        ("[1] 2", "row 1, byte 4: text after the end of the list"),
        ("[" * 100_000, "row 0, byte 1: maximum recursion depth"),
        ("[" + "9" * 5000 + "]", "row 0, byte 1: Exceeds the limit"),
    ],
)
def test_a_file_that_is_not_a_list_of_rows_is_named_with_the_position(tmp_path, content, message):
    path = tmp_path / "broken.json"
    with pytest.raises(rows.AnnotationError) as error:
        read(path, content)
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)


def test_rows_before_a_truncation_are_yielded(tmp_path):
    path = tmp_path / "cut.json"
    path.write_text('[{"a": 1}, {"a": 2}, {"a"')
    reader = rows.read_rows(path)
    assert [next(reader), next(reader)] == [{"a": 1}, {"a": 2}]
    with pytest.raises(rows.AnnotationError):
        next(reader)


def test_bad_bytes_and_nan_reject_a_row_not_the_file(tmp_path):
    bad, nan, good = read(tmp_path / "r.json", b'[{"q": "\xff"}, {"q": NaN}, {"q": "\xc3\xa9"}]')
    with pytest.raises(RowError, match="not valid text"):
        rows.text(bad, "q")
    assert math.isnan(nan["q"])
    assert rows.text(good, "q") == "é"


def test_a_byte_order_mark_is_skipped(tmp_path):
    assert read(tmp_path / "r.json", b"\xef\xbb\xbf[1]") == [1]


def test_memory_is_bounded_by_the_longest_row(tmp_path):
    path = tmp_path / "large.json"
    with path.open("w") as file:
        file.write("[" + ",".join(json.dumps({"q": "x" * 1000}) for _ in range(30_000)) + "]")  # 30 MB
    tracemalloc.start()
    assert sum(1 for _ in rows.read_rows(path)) == 30_000
    assert tracemalloc.get_traced_memory()[1] < 12e6
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("take", "reason"),
    [
        (lambda: rows.record([1]), Reason.NOT_OBJECT),
        (lambda: rows.text({}, "f"), Reason.FIELD_MISSING),
        (lambda: rows.text({"f": None}, "f"), Reason.FIELD_MISSING),
        (lambda: rows.text({"f": 3}, "f"), Reason.WRONG_TYPE),
        (lambda: rows.text({"f": "a\0b"}, "f"), Reason.NOT_TEXT),
        (lambda: rows.text({"f": "\ud800"}, "f"), Reason.NOT_TEXT),
        (lambda: rows.text({"f": "x" * 10_000_000}, "f"), Reason.TOO_LONG),
        (lambda: rows.identifier({"f": True}, "f"), Reason.WRONG_TYPE),
        (lambda: rows.listed({}, "f"), Reason.WRONG_TYPE),
        (lambda: rows.mapping([], "f"), Reason.WRONG_TYPE),
        (lambda: rows.number(None, "f"), Reason.FIELD_MISSING),
        (lambda: rows.number("3", "f"), Reason.WRONG_TYPE),
        (lambda: rows.number(True, "f"), Reason.WRONG_TYPE),
        (lambda: rows.number(math.nan, "f"), Reason.NOT_FINITE),
        (lambda: rows.number(-math.inf, "f"), Reason.NOT_FINITE),
        (lambda: rows.number(10**400, "f"), Reason.NOT_FINITE),
        (lambda: rows.integer(1.5, "f"), Reason.WRONG_TYPE),
        (lambda: rows.numbers([1, 2, 3], "f", 4), Reason.WRONG_TYPE),
        (lambda: rows.numbers([1, 2, 3, None], "f", 4), Reason.WRONG_TYPE),
        (lambda: rows.numbers([1, 2, 3, math.nan], "f", 4), Reason.NOT_FINITE),
    ],
)
def test_every_field_is_checked(take, reason):
    with pytest.raises(RowError) as error:
        take()
    assert error.value.reason is reason
    assert len(str(error.value)) < 300


def test_valid_fields_pass():
    assert rows.text({"f": "ü"}, "f") == "ü"
    assert rows.identifier({"f": 12}, "f") == "12"
    assert rows.listed(None, "f") == []
    assert rows.mapping(None, "f") == {}
    assert rows.integer(3.0, "f") == 3
    assert rows.numbers([1, 2.5], "f", 2) == (1.0, 2.5)


@given(st.text() | ANYTHING)
def test_values_in_messages_are_short_and_printable(value):
    shown = rows.shown(value)
    assert len(shown) <= 80
    shown.encode()
