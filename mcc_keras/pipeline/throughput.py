"""Volumes per second of a data set, and the time that a step waits for it.

Waiting is the time from the request of a batch to its arrival. Where network and pipeline share the cores, the pipeline
also slows the step itself, which waiting does not show; `benchmarks/pipeline.py` compares whole epochs.
"""

import dataclasses
import time

import numpy as np
import tensorflow as tf

from mcc_keras.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Throughput:
    """Result of `measure_throughput`.

    Args:
        steps: Batches.
        volumes: Volumes (or patches) in them.
        seconds: Time of all steps, including the waiting.
        seconds_waiting: Of these, the time spent waiting for a batch.

    Example:

    >>> print(Throughput(steps=10, volumes=20, seconds=4.0, seconds_waiting=1.0))
    5.00 volumes/s (20 volumes in 10 steps, 4.0 s); waiting for data: 25% of a step.
    """

    steps: int
    volumes: int
    seconds: float
    seconds_waiting: float

    @property
    def volumes_per_second(self):
        """Volumes per second."""
        return self.volumes / self.seconds if self.seconds else 0.0

    @property
    def waiting_share(self):
        """Share of a step spent waiting, in [0, 1]."""
        return min(1.0, self.seconds_waiting / self.seconds) if self.seconds else 0.0

    def __add__(self, other):
        """Return the two one after the other."""
        return Throughput(*(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)))

    def to_dict(self):
        """Return the measured numbers and the two rates, as a dict of plain values."""
        rates = {"volumes_per_second": self.volumes_per_second, "waiting_share": self.waiting_share}
        return {name: round(value, 4) for name, value in (dataclasses.asdict(self) | rates).items()}

    @classmethod
    def from_dict(cls, numbers):
        """Return what `to_dict` described."""
        return cls(**{field.name: field.type(numbers[field.name]) for field in dataclasses.fields(cls)})

    def __str__(self):
        """Return one line."""
        done = f"{self.volumes} volumes in {self.steps} steps, {self.seconds:.1f} s"
        return (
            f"{self.volumes_per_second:.2f} volumes/s ({done}); waiting for data: {self.waiting_share:.0%} of a step."
        )


def measure_throughput(dataset, *, step=None, step_seconds=None, steps=None, warm_up=1):
    """Measure the volumes per second of a data set and the share of a step spent waiting for it.

    Args:
        dataset: Data set of batches, from `load_dataset` for example.
        step: Callable that gets the parts of a batch, such as `model.train_on_batch`.
        step_seconds: Duration of a step elsewhere, on a GPU for example, which is simulated by sleeping. With neither,
            batches are discarded: all time is waiting, and the rate is the highest possible.
        steps: Batches to measure; `None` is one pass. More than a pass begins the next.
        warm_up: Batches before the measurement: the first compiles and fills the queues.

    Returns:
        `Throughput`.

    Example:

    >>> numbers = tf.data.Dataset.range(6).batch(2)
    >>> measure_throughput(numbers, step_seconds=0.01, warm_up=0).volumes
    6
    """
    for name, value, least in (("steps", steps, 1), ("warm_up", warm_up, 0)):
        if value is not None and not (isinstance(value, int | np.integer) and value >= least):
            raise UsageError(f"`{name}` must be an integer of at least {least}. Received: {name}={value!r}.")
    if step is not None and step_seconds is not None:
        raise UsageError(f"Give `step` or `step_seconds`, not both. Received: {step=}, {step_seconds=}.")
    if step_seconds is not None and not (np.isreal(step_seconds) and 0 <= step_seconds < np.inf):
        raise UsageError(f"`step_seconds` must be 0 or more. Received: {step_seconds=}.")
    work = step or (lambda *batch: time.sleep(step_seconds or 0))
    steps = steps or int(dataset.cardinality())
    if steps <= 0:
        raise UsageError("`steps` must be given for a data set of unknown length. Received: steps=None.")
    batches = _endless(dataset)
    for _ in range(warm_up):
        work(*next(batches))
    volumes, waited, begin = 0, 0.0, time.perf_counter()
    for _ in range(steps):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        volumes += int(tf.shape(batch[0])[0])
        work(*batch)
    return Throughput(steps, volumes, time.perf_counter() - begin, waited)


class Clock:
    """Counts the volumes taken from the data set that `watch` returns, and sums the time spent waiting for them."""

    def __init__(self):
        self.seconds, self.steps, self.volumes, self._asked = 0.0, 0, 0, 0.0

    def _ask(self, number):
        self._asked = time.perf_counter()
        return number

    def _answer(self, volumes):
        self.seconds += time.perf_counter() - self._asked
        self.steps, self.volumes = self.steps + 1, self.volumes + int(volumes)
        return volumes


def watch(dataset, clock=None):
    """Return the data set with a `Clock` on it, and the clock; for `fit`, which asks for batches inside its graph.

    The attributes of a data set from `load_dataset` are those of the watched one as well.
    """
    clock = clock or Clock()
    # Not tf.timestamp: TensorFlow refuses it once kernels are deterministic.
    asked = tf.data.Dataset.range(np.iinfo(np.int64).max).map(
        lambda number: tf.ensure_shape(tf.numpy_function(clock._ask, [number], tf.int64), ())
    )

    def answer(number, batch):
        volumes = tf.shape(tf.nest.flatten(batch)[0], tf.int64)[0] + 0 * number
        with tf.control_dependencies([tf.numpy_function(clock._answer, [volumes], tf.int64)]):
            return tf.nest.map_structure(tf.identity, batch)

    watched = tf.data.Dataset.zip((asked, dataset)).map(answer)  # zip takes from its parts in order
    if dataset.cardinality() >= 0:
        watched = watched.apply(tf.data.experimental.assert_cardinality(dataset.cardinality()))
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False  # so that TensorFlow does not read the clock ahead
    watched = watched.with_options(options)
    if hasattr(dataset, "epoch"):
        watched.epoch, watched.cases_of = dataset.epoch, dataset.cases_of
        watched.rest = lambda step: watch(dataset.rest(step), clock)[0]
        watched.endless = lambda step=0: watch(dataset.endless(step), clock)[0]
    return watched, clock


def _endless(dataset):
    while True:
        for batch in dataset:
            yield batch if isinstance(batch, tuple | list) else (batch,)
