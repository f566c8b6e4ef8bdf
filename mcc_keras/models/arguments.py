"""Validation of the arguments that the networks share."""

import math

import keras

from mcc_keras.errors import UsageError

NORMALIZATIONS = ("batch", "group", "instance")


def check_network(input_shape, num_classes, *, multiple, activation, normalization, foreground_fraction, width):
    """Check the arguments of all networks and return the input shape as a tuple; `normalization` may be None."""
    input_shape = check_input_shape(input_shape)
    check_sides(input_shape[:3], multiple)
    check_count("num_classes", num_classes)
    check_activation(activation)
    if normalization is not None:
        check_choice("normalization", normalization, NORMALIZATIONS)
    check_foreground_fraction(foreground_fraction)
    check_width(width)
    return input_shape


def is_count(value, least=1):
    """Whether a value is an integer of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_number(value):
    """Whether a value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def check_input_shape(input_shape):
    """Return `(x, y, z, channels)` as a tuple, or raise."""
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


def check_sides(sides, multiple):
    """Raise if a known side is shorter than one voxel of the coarsest level."""
    if any(side is not None and side < multiple for side in sides):
        raise UsageError(
            f"Every side of the volume must be at least {multiple} voxels, one voxel of the coarsest level. "
            f"Received: sides={tuple(sides)}. The smallest size that works is {(multiple,) * len(sides)}; pad the "
            "volume up to it."
        )


def check_count(name, value, *, least=1):
    """Raise unless a value is an integer of at least `least`."""
    if not is_count(value, least):
        raise UsageError(f"`{name}` must be an integer of at least {least}. Received: {name}={value!r}")


def check_counts(name, values, length):
    """Return a tuple of `length` positive integers, or raise."""
    values = tuple(values) if isinstance(values, (tuple, list)) else values
    if not isinstance(values, tuple) or len(values) != length or not all(is_count(value) for value in values):
        raise UsageError(f"`{name}` must be {length} positive integers. Received: {name}={values!r}")
    return values


def check_choice(name, value, choices):
    """Raise unless a value is one of the choices."""
    if value not in choices:
        raise UsageError(f"`{name}` must be one of {', '.join(map(repr, choices))}. Received: {name}={value!r}")


def check_rate(name, value):
    """Raise unless a value lies in [0, 1)."""
    if not is_number(value) or not 0 <= value < 1:
        raise UsageError(f"`{name}` must be a number of at least 0 and below 1. Received: {name}={value!r}")


def check_weights(name, values, length):
    """Return a tuple of `length` finite numbers of at least 0, or raise."""
    values = tuple(values) if isinstance(values, (tuple, list)) else values
    if not isinstance(values, tuple) or len(values) != length or not all(is_number(v) and v >= 0 for v in values):
        raise UsageError(f"`{name}` must be {length} finite numbers of at least 0. Received: {name}={values!r}")
    return values


def check_width(value):
    """Raise unless the channel multiplier is a positive finite number."""
    if not is_number(value) or value <= 0:
        raise UsageError(f"`width` must be a positive finite number. Received: width={value!r}")


def check_foreground_fraction(value):
    """Raise unless a foreground fraction is None or lies strictly between 0 and 1."""
    if value is not None and not (is_number(value) and 0 < value < 1):
        raise UsageError(
            f"`foreground_fraction` must lie strictly between 0 and 1, or be None. "
            f"Received: foreground_fraction={value!r}"
        )


def check_activation(activation):
    """Raise unless an activation is `auto`, None or known to Keras."""
    try:
        keras.activations.get(None if activation == "auto" else activation)
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"`activation` must be 'auto', None, or an activation that Keras knows. Received: activation={activation!r}"
        ) from error


def scaled(channels, width):
    """Scale a number of channels, or a tuple of them, by `width`, keeping at least one."""
    if isinstance(channels, tuple):
        return tuple(scaled(count, width) for count in channels)
    return max(1, round(channels * width))
