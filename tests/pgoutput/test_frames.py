"""
Frames are where a loop over them finds them, whatever the messages are made of.
"""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cdc_assets.pgoutput.cells import PADDING
from cdc_assets.pgoutput.frames import Frames, split

MISLEADING = [
    b"d",
    b"w",
    b"k",
    b"\0",
    b"\0\0\0\5",
    b"d\0\0\0\5w",
    b"d\0\0\0\x04",
    b"d\xff\xff\xff\xffw",
    b"Z",
]
LEADS = [(b"w", b"k"), (b"\0\2",), (b"d",)]

bodies = st.lists(st.sampled_from(MISLEADING) | st.binary(max_size=3), max_size=8).map(b"".join)
messages = st.tuples(st.sampled_from([b"w", b"k", b"\0\2", b""]), bodies).map(b"".join)
others = st.tuples(st.sampled_from([b"c", b"C", b"Z", b"E", b"S"]), bodies).map(b"".join)


def framed(message: bytes) -> bytes:
    return b"d" + (len(message) + 4).to_bytes(4, "big") + message


def walked(data: bytes) -> tuple[list[bytes], int]:
    """The messages of whole frames, and where they end: a loop."""
    found, at = [], 0
    while data[at : at + 1] == b"d" and len(data) >= at + 5:
        end = at + 1 + int.from_bytes(data[at + 1 : at + 5], "big")
        if end > len(data):
            break
        found.append(data[at + 5 : end])
        at = end
    return found, at


def frames_of(messages: list[bytes]) -> Frames:
    """Messages as they lie in received data: with other bytes between them."""
    data = np.frombuffer(b"".join(map(framed, messages)), np.uint8)
    return split(data, b"w")[0]


def each(frames: Frames) -> list[bytes]:
    return [frames[number] for number in range(len(frames))]


@given(st.lists(messages), messages, st.integers(0, 12), st.sampled_from(LEADS))
def test_a_frame_that_is_cut_off_is_left_for_later(whole, last, cut, leads):
    data = b"".join(map(framed, whole)) + framed(last)[:cut]

    frames, end = split(np.frombuffer(data, np.uint8), *leads)

    assert (each(frames), end) == walked(data)


@given(st.lists(messages), others, st.sampled_from(LEADS))
def test_a_message_of_another_kind_ends_the_run(whole, other, leads):
    data = b"".join(map(framed, whole)) + other

    frames, end = split(np.frombuffer(data, np.uint8), *leads)

    assert (each(frames), end) == (whole, len(data) - len(other))


def test_frames_are_found_across_the_blocks_that_are_looked_at_in_one_go():
    """Small frames, ones that hold what looks like others, and one that is longer than a block."""
    small = [b"w" + bytes(number % 7) for number in range(100_000)]
    misleading = [b"w" + framed(b"w" + bytes(number % 5)) * (number % 4) for number in range(50_000)]
    whole = [*small, *misleading, b"w" + b"d\0\0\0\5w" * 500_000, *small]
    data = b"".join(map(framed, whole))

    frames, end = split(np.frombuffer(data, np.uint8), b"w", b"k")

    assert end == len(data)
    assert each(frames) == whole


@given(st.lists(messages, min_size=1), st.data())
def test_a_part_has_its_messages_in_no_more_data_than_holds_them(whole, data):
    begin = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(begin, len(whole)))

    part = frames_of(whole).part(begin, end)

    assert each(part) == whole[begin:end]
    assert len(part.data) <= sum(len(framed(message)) for message in whole[begin:end])


@given(st.lists(st.lists(messages)))
def test_joined_pieces_have_the_messages_of_all_and_room_to_read_beyond_the_last(pieces):
    joined = Frames.joined([frames_of(piece) for piece in pieces])

    assert each(joined) == [message for piece in pieces for message in piece]
    assert joined.data[-len(PADDING) :].tobytes() == PADDING


@given(st.lists(messages))
def test_messages_taken_one_by_one_are_frames_too(whole):
    assert each(Frames.of(whole)) == whole
