"""Checks of what the networks are called with, so that every network refuses nonsense in the same words."""

from mcc_keras.errors import UsageError

NORMALISATIONS = ("batch", "group", "instance")


def is_count(value, least=1):
    """Whether a value is an integer of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def check_input_shape(input_shape):
    """Return `(x, y, z, channels)` as a tuple, or refuse it."""
    shape = tuple(input_shape) if isinstance(input_shape, (tuple, list)) else input_shape
    if (
        not isinstance(shape, tuple)
        or len(shape) != 4
        or not is_count(shape[3])
        or not all(side is None or is_count(side) for side in shape[:3])
    ):
        raise UsageError(
            "`input_shape` must be `(x, y, z, channels)`: three sides, each a positive integer or None, and a positive "
            f"number of channels, without the batch axis. Received: input_shape={input_shape!r}"
        )
    return shape


def check_count(name, value, *, least=1):
    """Refuse a value that is not an integer of at least `least`."""
    if not is_count(value, least):
        raise UsageError(f"`{name}` must be an integer of at least {least}. Received: {name}={value!r}")


def check_counts(name, values, length):
    """Return a tuple of `length` positive integers, or refuse it."""
    values = tuple(values) if isinstance(values, (tuple, list)) else values
    if not isinstance(values, tuple) or len(values) != length or not all(is_count(value) for value in values):
        raise UsageError(f"`{name}` must be {length} positive integers. Received: {name}={values!r}")
    return values


def check_choice(name, value, choices):
    """Refuse a value that is none of the choices."""
    if value not in choices:
        raise UsageError(f"`{name}` must be one of {', '.join(map(repr, choices))}. Received: {name}={value!r}")


def check_rate(name, value):
    """Refuse a value outside [0, 1)."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value < 1:
        raise UsageError(f"`{name}` must be a number of at least 0 and below 1. Received: {name}={value!r}")


def check_foreground_fraction(value):
    """Refuse a foreground fraction that is not strictly between 0 and 1."""
    if value is not None and not (isinstance(value, (int, float)) and 0 < value < 1):
        raise UsageError(
            f"`foreground_fraction` must lie between 0 and 1, both excluded, or be None. "
            f"Received: foreground_fraction={value!r}"
        )


def scaled(channels, width):
    """Scale a number of channels, or a tuple of them, by `width`, keeping at least one."""
    if not isinstance(width, (int, float)) or isinstance(width, bool) or not 0 < width < float("inf"):
        raise UsageError(f"`width` must be a positive number. Received: width={width!r}")
    if isinstance(channels, tuple):
        return tuple(scaled(count, width) for count in channels)
    return max(1, round(channels * width))
