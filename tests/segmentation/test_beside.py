import threading

import pytest

from mcc_keras.segmentation.beside import WriteBehind, read_ahead


def test_reading_goes_ahead_by_two_and_no_further():
    begun, third = [], threading.Event()

    def read(item):
        begun.append(item)
        if item == 2:
            third.set()
        return item

    with read_ahead(read, range(10)) as found:
        assert next(found)[1].result() == 0
        assert third.wait(timeout=60)
        assert set(begun) <= {0, 1, 2}


def test_an_error_of_reading_belongs_to_its_item():
    with read_ahead(lambda item: 1 / item, [1, 0, 2]) as found:
        assert [type(future.exception()) for _, future in found] == [type(None), ZeroDivisionError, type(None)]


def test_what_has_been_handed_over_is_done_before_an_error_leaves_the_block():
    written, gate, done = [], threading.Event(), []

    def write(item):
        gate.wait(timeout=60)
        written.append(item)

    with pytest.raises(KeyboardInterrupt), WriteBehind(lambda *ended: done.append(ended)) as writer:
        writer.add("a", write, 1)
        writer.add("b", write, 2)
        gate.set()
        raise KeyboardInterrupt
    assert sorted(written) == [1, 2] and done == []


def test_a_fourth_call_waits_for_the_first():
    gate, order = threading.Event(), []
    with WriteBehind(lambda item, future: order.append((item, future.exception()))) as writer:
        for item in "abc":
            writer.add(item, gate.wait, 60)
        assert order == []
        gate.set()
        writer.add("d", int, "no number")
        assert order[0] == ("a", None)
    assert [item for item, _ in order] == ["a", "b", "c", "d"]
    assert isinstance(order[3][1], ValueError)
