"""
What is made of NumPy and Arrow arrays is what a loop over lists would make of them.
"""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_assets.model import arrow

TEXTS = st.text(max_size=20) | st.sampled_from(
    ["", "twelve bytes", "thirteen byte", "é" * 6 + "!", "long " * 9]
)
COLUMNS = {
    "string view": (lambda values: pa.array(values, pa.string_view()), TEXTS),
    "json": (
        lambda values: pa.ExtensionArray.from_storage(
            pa.json_(pa.string_view()), pa.array(values, pa.string_view())
        ),
        TEXTS,
    ),
    "bytes": (lambda values: pa.array(values, pa.large_binary()), st.binary(max_size=20)),
    "number": (lambda values: pa.array(values, pa.int32()), st.integers(-(2**31), 2**31 - 1)),
    "boolean": (lambda values: pa.array(values, pa.bool_()), st.booleans()),
}
columns = st.sampled_from(sorted(COLUMNS))


@st.composite
def arrays(draw, kind: str, nulls: bool = True) -> tuple[pa.Array, list]:
    """An array that is part of another, and its values."""
    make, value = COLUMNS[kind]
    values = draw(st.lists(value | st.none() if nulls else value, max_size=30))
    begin = draw(st.integers(0, len(values)))
    end = draw(st.integers(begin, len(values)))
    return make(values)[begin:end], values[begin:end]


def places(values: list) -> st.SearchStrategy[list[int]]:
    return st.lists(st.sampled_from(range(len(values))), max_size=20) if values else st.just([])


@given(st.data(), columns)
def test_what_is_taken_is_what_was_there(data, kind):
    array, values = data.draw(arrays(kind))
    indices = data.draw(places(values))
    valid = data.draw(st.none() | st.lists(st.booleans(), min_size=len(indices), max_size=len(indices)))

    taken = arrow.take(array, np.array(indices, np.int64), None if valid is None else np.array(valid, bool))

    taken.validate(full=True)
    assert taken.type == array.type
    assert taken.to_pylist() == [
        values[index] if wanted else None
        for index, wanted in zip(indices, valid or [True] * len(indices), strict=True)
    ]


@given(st.data())
def test_rows_are_taken_across_all_columns(data):
    strings, texts = data.draw(arrays("string view"))
    batch = pa.RecordBatch.from_arrays([strings, pa.array(range(len(texts)))], names=["text", "number"])
    indices = data.draw(places(texts))

    taken = arrow.take_rows(batch, np.array(indices, np.int64))

    assert taken.to_pylist() == [{"text": texts[index], "number": index} for index in indices]


@given(st.data(), columns)
def test_validity_is_where_there_are_values(data, kind):
    array, values = data.draw(arrays(kind))

    assert arrow.is_valid(array).tolist() == [value is not None for value in values]


@given(st.data(), st.sampled_from(["number", "boolean"]))
def test_numbers_go_to_numpy_and_back(data, kind):
    array, values = data.draw(arrays(kind, nulls=False))

    there = arrow.to_numpy(array)

    assert there.tolist() == values
    assert arrow.from_numpy(there).equals(array)


@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans())))
def test_numbers_are_null_where_they_are_not_valid(pairs):
    numbers, valid = (np.array([*column]) for column in zip((0, True), *pairs, strict=True))

    assert arrow.from_numpy(numbers, valid.astype(bool)).to_pylist() == [
        number if there else None for number, there in [(0, True), *pairs]
    ]


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (pa.array([1, 2]), pa.array([1, 3]), [False, True]),
        (pa.array([0.0, float("nan")]), pa.array([-0.0, float("nan")]), [True, False]),
        (pa.array([0.0], pa.float32()), pa.array([-0.0], pa.float32()), [True]),
        (pa.array(["a", "b"], pa.string_view()), pa.array(["a", "B"], pa.string_view()), [False, True]),
        (
            pa.array([(1, 0, 0), (0, 30, 0)], pa.month_day_nano_interval()),
            pa.array([(1, 0, 0), (1, 0, 0)], pa.month_day_nano_interval()),
            [False, True],
        ),
        (
            pa.ExtensionArray.from_storage(pa.uuid(), pa.array([bytes(16)], pa.binary(16))),
            pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"\1" * 16], pa.binary(16))),
            [True],
        ),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_values_differ_unless_they_are_the_very_same(left, right, expected):
    assert arrow.differ(left, right).tolist() == expected


def test_none_of_it_loads_pandas():
    """Which would cost every process a third of a second."""
    script = """
import sys
import numpy as np, pyarrow as pa
from cdc_assets.model import arrow
numbers = arrow.from_numpy(np.arange(4), np.array([True, False, True, True]))
texts = pa.Array.from_buffers(pa.string_view(), 4, [None, pa.py_buffer(bytes(64))])
batch = pa.RecordBatch.from_arrays([numbers, texts], names=["number", "text"])
arrow.take_rows(batch, arrow.to_numpy(numbers)[:2])
arrow.take(texts, np.arange(2), arrow.is_valid(numbers)[:2])
arrow.to_numpy(arrow.from_numpy(np.zeros(3, bool)))
arrow.differ(numbers, numbers), arrow.differ(texts, texts)
print([name for name in ("pandas", "dagster") if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert ran.stdout == "[]\n"
