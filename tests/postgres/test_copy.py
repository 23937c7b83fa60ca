"""
What a COPY sends is the same however it is read, and what goes wrong in it has a name.
"""

import shutil
from collections.abc import Iterator
from contextlib import closing

import pytest
from servers import running_server
from tls import behind_tls, has_tls, server_with_tls

from cdc_assets.model import LSN, TableName
from cdc_assets.pgoutput.cells import PADDING
from cdc_assets.postgres.copy import Copy, Refused, _LibpqCopy, _SocketCopy, copy
from cdc_assets.postgres.patterns import Patterns
from cdc_assets.postgres.session import connect
from cdc_assets.postgres.wal import WalCapture
from cdc_assets.testing import installations

WAYS = [
    lambda connection, query: _SocketCopy(connection.pgconn, query, (b"\0\2",)),
    lambda connection, query: _LibpqCopy(connection.pgconn, query),
]
T = TableName("public", "t")


@pytest.fixture(params=WAYS, ids=["socket", "libpq"])
def way(request):
    return request.param


def messages(running: Copy) -> list[bytes]:
    """Everything the COPY sends."""
    found = []
    with closing(running):
        while not running.ended:
            running.wait()
            running.receive()
            frames = running.frames()
            found += [frames[number] for number in range(len(frames))]
    return found


def capture_of(dsn: str) -> WalCapture:
    return WalCapture("test", lambda: dsn, Patterns.parse(["public.*"]), batch_delay=0.01)


def seeded(capture: WalCapture) -> list[dict]:
    """Every row of every table, by a snapshot."""
    tables = capture.select().tables.values()
    capture.prepare(capture.select().tables)
    with capture.snapshot([*tables]) as snapshot:
        batches = [
            batch
            for table in tables
            for chunk in capture.plan([table])[table.name]
            for batch in snapshot.read(table, chunk)
        ]
    return [row for batch in batches for row in batch.to_pylist()]


def streamed(capture: WalCapture, until: LSN) -> list[dict]:
    """Every change, confirmed."""
    found = []
    for batch in capture.live(until=until):
        found += [change.row for change in batch]
        batch.ack.confirm()
    return found


@pytest.mark.parametrize(
    "rows",
    [
        "select g, repeat('x', g % 50) from generate_series(1, 20000) g",
        "select g, null::text from generate_series(1, 3) g",
        "select 1, repeat('d', 3000000) union all select 2, repeat(E'\\\\x64000000', 500000)",
        "select 1, 'Z' || repeat(E'Z', 70000)",
        "select 1, 'none' where false",
    ],
    ids=["many", "few", "large", "misleading", "none"],
)
def test_both_ways_give_the_same_messages(dsn, rows):
    query = f"COPY ({rows}) TO STDOUT (FORMAT binary)".encode()

    with connect(dsn) as connection:
        by_socket, by_libpq = (messages(way(connection, query)) for way in WAYS)

    assert by_socket == by_libpq
    assert by_socket[-1].endswith(b"\xff\xff")


def test_a_short_cell_that_ends_what_has_arrived_is_read(newest_dsn, way):
    """A fixed number of bytes is read where a cell starts, and there may be no more yet."""
    with connect(newest_dsn) as connection, closing(way(connection, b"COPY (select 1) TO STDOUT")) as running:
        frames = []
        while not running.ended:
            running.wait()
            running.receive()
            frames.append(running.frames())

    assert all(each.data[-len(PADDING) :].tobytes() == PADDING for each in frames)


def test_notices_on_the_way_are_no_messages(newest_dsn, way):
    with connect(newest_dsn) as connection:
        connection.execute(
            "create function public.say(n int) returns int language plpgsql as"
            " $$ begin raise warning 'row %', n; return n; end $$"
        )

        found = messages(
            way(connection, b"COPY (select public.say(g) from generate_series(1, 99) g) TO STDOUT")
        )

    assert found == [b"%d\n" % number for number in range(1, 100)]


def test_a_connection_can_be_used_again_after_a_copy(newest_dsn, way):
    with connect(newest_dsn) as connection:
        messages(way(connection, b"COPY (select 1) TO STDOUT"))

        assert connection.execute("select 2").fetchone() == (2,)
        assert messages(way(connection, b"COPY (select 3) TO STDOUT")) == [b"3\n"]


def test_a_query_the_server_refuses_is_refused_at_once(newest_dsn, way):
    with connect(newest_dsn) as connection, pytest.raises(Refused, match="nowhere") as refused:
        way(connection, b"COPY (select * from nowhere) TO STDOUT")

    assert refused.value.sqlstate == "42P01"


def test_an_error_in_the_middle_of_a_copy_is_raised(newest_dsn, way):
    query = b"COPY (select 1 / (30000 - g), g from generate_series(1, 40000) g) TO STDOUT (FORMAT binary)"

    with connect(newest_dsn) as connection, pytest.raises(Refused, match="division by zero") as refused:
        messages(way(connection, query))

    assert refused.value.sqlstate == "22012"


@pytest.fixture(params=["itself", "proxy"])
def encrypted_dsn(request, tmp_path) -> Iterator[str]:
    """A database whose server is reached through TLS."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    if request.param == "proxy":
        with behind_tls(request.getfixturevalue("newest_dsn"), tmp_path) as dsn:
            yield dsn
        return
    able = [version for version in installations() if has_tls(running_server(version))]
    if not able:
        pytest.skip("no installed PostgreSQL is built with OpenSSL")
    with server_with_tls(able[-1], tmp_path) as dsn:
        yield dsn


def test_a_snapshot_and_a_stream_are_whole_over_tls(encrypted_dsn):
    capture = capture_of(encrypted_dsn)
    with connect(encrypted_dsn) as source:
        source.execute(
            "create table public.t as select g as id, repeat('x', g) as note from generate_series(1, 4000) g"
        )
        source.execute("alter table public.t add primary key (id)")
        expected = {row[0]: row[1] for row in source.execute("select id, note from public.t")}
        assert source.pgconn.ssl_in_use

        there = seeded(capture)
        source.execute("update public.t set note = note || 'y' where id % 2 = 0")
        changes = streamed(capture, capture.head())

    assert {row["id"]: row["note"] for row in there} == expected
    assert {row["id"]: row["note"] for row in changes} == {
        number: note + "y" for number, note in expected.items() if number % 2 == 0
    }


def test_an_encrypted_connection_is_left_to_libpq(encrypted_dsn):
    with connect(encrypted_dsn) as connection:
        running = copy(connection, b"COPY (select 1) TO STDOUT")

        assert isinstance(running, _LibpqCopy)
        assert messages(running) == [b"1\n"]


def test_what_libpq_has_decrypted_is_not_waited_for(newest_dsn, tmp_path):
    """A message ends in the part of a TLS record that found no room in libpq's buffer."""
    with behind_tls(newest_dsn, tmp_path) as dsn, connect(dsn) as connection:
        for size in range(0, 60_000, 4001):
            query = f"COPY (select repeat('x', {size})) TO STDOUT".encode()
            assert messages(copy(connection, query)) == [b"x" * size + b"\n"]


def test_a_connection_that_is_not_encrypted_is_read_from_its_socket(newest_dsn):
    with connect(newest_dsn) as connection:
        running = copy(connection, b"COPY (select 1) TO STDOUT", b"1")

        assert isinstance(running, _SocketCopy)
        assert messages(running) == [b"1\n"]
