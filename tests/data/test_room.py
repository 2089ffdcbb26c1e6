"""Memory in flight."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from finetune.data.room import Room


def test_no_more_is_taken_than_there_is():
    room, lock, in_use, most = Room(10), threading.Lock(), 0, 0

    def take(amount: int) -> None:
        nonlocal in_use, most
        with room.taken(amount):
            with lock:
                in_use += amount
                most = max(most, in_use)
            with lock:
                in_use -= amount

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take, [1, 4, 6, 10, 3] * 200))
    assert most == 10 and in_use == 0 and room.free == 10


def test_what_is_larger_than_all_room_is_let_in_alone():
    room = Room(10)
    with room.taken(1_000):
        assert room.free == 0
    assert room.free == 10


def test_room_is_given_back_after_an_error():
    room = Room(10)
    with pytest.raises(ValueError, match="broken"), room.taken(4):
        raise ValueError("broken")
    assert room.free == 10
