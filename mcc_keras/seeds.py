"""Seeds: one rule for all that draw, since each stage hands its seed on to others."""

import operator

from mcc_keras.errors import UsageError

LARGEST_SEED = 2**32 - 1  # the limit of NumPy and Keras


def check_seed(seed):
    """Return a seed as a Python integer, or refuse it.

    Example:

    >>> check_seed(7)
    7
    >>> check_seed(-1)
    Traceback (most recent call last):
    mcc_keras.errors.UsageError: `seed` must be a whole number from 0 to 4294967295. Received: seed=-1.
    """
    try:
        number = operator.index(seed)
    except TypeError:
        number = -1
    if isinstance(seed, bool) or not 0 <= number <= LARGEST_SEED:
        raise UsageError(f"`seed` must be a whole number from 0 to {LARGEST_SEED}. Received: seed={seed!r:.40}.")
    return number
