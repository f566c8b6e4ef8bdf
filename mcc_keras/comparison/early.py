"""How early a training reaches its scores, from its validation curve."""

import numpy as np

SHARE = 0.9


def area_under(steps, values, *, total):
    """Return the mean height of a validation curve: its area by the trapezoid rule, divided by its length.

    The curve begins at 0 with step 0 and stays at its last value until the end, so that trainings of the same length
    can be compared.

    Args:
        steps: Updates after which there was a validation, rising.
        values: The validation score after each; NaN counts as 0.
        total: Updates of the whole training.

    Example:

    >>> area_under([10, 20], [0.6, 0.8], total=20)  # (3 + 7) / 20
    0.5
    """
    x = np.array([0, *steps, max([total, *steps])], float)
    y = np.nan_to_num(np.array([0.0, *values, *values[-1:]], float))
    if len(y) < len(x):  # no validation at all
        return 0.0
    return float(np.trapezoid(y, x) / x[-1])


def steps_until(steps, values, *, share=SHARE):
    """Return the first step whose validation score is at least a share of the best one; `None` without one.

    Args:
        steps: Updates after which there was a validation, rising.
        values: The validation score after each.
        share: Of the best score.

    Example:

    >>> steps_until([10, 20, 30], [0.5, 0.75, 0.8])
    20
    """
    values = np.nan_to_num(np.array(values, float))
    if not values.size or values.max() <= 0:
        return None
    return int(np.asarray(steps)[np.argmax(values >= share * values.max())])
