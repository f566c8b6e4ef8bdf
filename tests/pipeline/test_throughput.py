import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from mcc_keras.errors import UsageError
from mcc_keras.pipeline.throughput import Throughput, measure_throughput, watch


def slow(count, seconds):
    """Batches of one volume of 2³, each made in so many seconds, when it is asked for."""

    def make(number):
        time.sleep(seconds)
        return np.full((1, 2, 2, 2, 1), number, np.float32)

    def pair(number):
        image = tf.ensure_shape(tf.numpy_function(make, [number], tf.float32), (1, 2, 2, 2, 1))
        return image, image

    made = tf.data.Dataset.range(count).map(pair)
    options = tf.data.Options()
    options.autotune.enabled = False  # nothing runs ahead
    return made.with_options(options)


def test_making_a_batch_counts_as_waiting_and_a_step_does_not():
    found = measure_throughput(slow(8, 0.05), step=lambda image, mask: time.sleep(0.15), warm_up=0)
    assert (found.steps, found.volumes) == (8, 8)
    assert 8 * 0.05 <= found.seconds_waiting <= found.seconds - 8 * 0.15
    assert found.volumes_per_second == pytest.approx(8 / found.seconds)
    assert found.waiting_share == pytest.approx(found.seconds_waiting / found.seconds)


def test_a_step_elsewhere_is_slept_and_without_a_step_all_is_waiting():
    found = measure_throughput(slow(4, 0.0), step_seconds=0.15, warm_up=0)
    assert found.seconds_waiting <= found.seconds - 4 * 0.15
    assert measure_throughput(slow(4, 0.1), warm_up=0).seconds_waiting >= 4 * 0.1


def test_more_steps_than_a_pass_has_begin_the_next_and_warm_up_does_not_count():
    found = measure_throughput(slow(3, 0.0), steps=7, warm_up=2)
    assert (found.steps, found.volumes) == (7, 7)


def test_the_text_says_both_in_one_line():
    text = str(Throughput(steps=4, volumes=8, seconds=2.0, seconds_waiting=0.5))
    assert text == "4.00 volumes/s (8 volumes in 4 steps, 2.0 s); waiting for data: 25% of a step."


def test_two_measurements_add_up_to_one():
    both = Throughput(1, 2, 1.0, 0.5) + Throughput(3, 6, 3.0, 0.5)
    assert both == Throughput(4, 8, 4.0, 1.0)
    assert both.to_dict() | {"volumes_per_second": 2.0, "waiting_share": 0.25, "volumes": 8} == both.to_dict()


def test_a_clock_on_a_dataset_sees_what_fit_waits_for():
    watched, clock = watch(slow(6, 0.1))
    assert len(watched) == 6
    model = keras.Sequential([keras.Input((2, 2, 2, 1)), keras.layers.Dense(1)])
    model.compile("sgd", loss="mse")
    begin = time.perf_counter()
    model.fit(watched, verbose=0, shuffle=False)
    assert (clock.steps, clock.volumes) == (6, 6)
    assert 5 * 0.1 <= clock.seconds <= time.perf_counter() - begin


def test_a_clock_counts_the_time_of_who_asks_and_changes_no_batch():
    watched, clock = watch(slow(6, 0.1).prefetch(2))
    batches, waited, seen = iter(watched), 0.0, []
    for _ in range(6):
        begin = time.perf_counter()
        seen.append(float(next(batches)[0][0, 0, 0, 0, 0]))
        waited += time.perf_counter() - begin
        time.sleep(0.1)
    assert seen == [0, 1, 2, 3, 4, 5]
    assert 0.05 <= clock.seconds <= waited


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"steps": 0}, "steps=0"),
        ({"warm_up": -1}, "warm_up=-1"),
        ({"step_seconds": -1.0}, "step_seconds=-1.0"),
        ({"step_seconds": 1.0, "step": print}, "not both"),
    ],
)
def test_invalid_settings_are_refused(arguments, named):
    with pytest.raises(UsageError, match=named):
        measure_throughput(slow(1, 0), **arguments)


def test_a_dataset_without_an_end_needs_steps():
    with pytest.raises(UsageError, match="steps=None"):
        measure_throughput(tf.data.Dataset.range(2).batch(1).repeat())
