"""How long a cell is: equal steps for all arms, or equal cases seen where batches differ.

Steps are fixed before the first cell and never measured again, so that a busy machine changes no result.
"""

import dataclasses
import math

from mcc_keras.errors import UsageError

DEFAULT_MINUTES = 4.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pace:
    """What ten steps of an arm took on weights that were dropped.

    Args:
        seconds_per_step: Median.
        validation_seconds: Of the validation after each epoch.
        steps_per_epoch: Steps in an epoch.
        peak_memory: Most bytes that the process had in memory.
    """

    seconds_per_step: float
    validation_seconds: float
    steps_per_epoch: int
    peak_memory: int

    def seconds(self, batches):
        """Return the time of so many batches with the validations after each epoch."""
        return batches * self.seconds_per_step + self.validation_seconds * math.ceil(batches / self.steps_per_epoch)


def check_length(steps, minutes_per_cell):
    """Return (steps, minutes per cell), of which one is `None`; 4 minutes where neither is given.

    Raises:
        UsageError: Both are given, or one is not above 0.
    """
    if steps is not None and minutes_per_cell is not None:
        raise UsageError(
            f"Give one of `steps` and `minutes_per_cell`. Received: steps={steps}, minutes_per_cell={minutes_per_cell}."
        )
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or steps < 1):
        raise UsageError(f"`steps` must be an integer above 0. Received: steps={steps!r}.")
    if minutes_per_cell is not None and not 0 < minutes_per_cell < math.inf:
        raise UsageError(f"`minutes_per_cell` must be above 0. Received: minutes_per_cell={minutes_per_cell!r}.")
    return steps, DEFAULT_MINUTES if steps is None and minutes_per_cell is None else minutes_per_cell


def steps_of_arms(arms, paces, *, steps=None, minutes_per_cell=None):
    """Return arm name → updates of the weights of each of its cells.

    Arms whose updates see as many cases get as many updates. Where they see fewer, they get more: every arm sees the
    same number of cases, up to rounding.

    Args:
        arms: `Arm`s.
        paces: Arm name → `Pace`.
        steps: Updates of the arm with the smallest batch; `None`: what the slowest arm can do in the minutes.
        minutes_per_cell: The minutes.

    Example:

    >>> from mcc_keras.comparison.arms import build_arms
    >>> arms = build_arms(vary={"batch_size": (1, 4)})
    >>> pace = {"validation_seconds": 0.0, "steps_per_epoch": 10, "peak_memory": 0}
    >>> paces = {arms[0].name: Pace(seconds_per_step=0.1, **pace), arms[1].name: Pace(seconds_per_step=0.2, **pace)}
    >>> steps_of_arms(arms, paces, minutes_per_cell=1)  # 0.1 s for each case in the first, 0.05 s in the second
    {'batch_size=1': 600, 'batch_size=4': 150}
    """
    smallest = min(arm.batch for arm in arms)
    if steps is None:
        seen = min(_cases_in(60 * minutes_per_cell, arm, paces[arm.name]) for arm in arms)
    else:
        seen = steps * smallest
    return {arm.name: max(1, round(seen / arm.batch)) for arm in arms}


def _cases_in(seconds, arm, pace):
    """Return how many cases an arm can see in some time, validations included."""
    batch = pace.seconds_per_step + pace.validation_seconds / pace.steps_per_epoch
    return arm.recipe.batch_size * seconds / batch
