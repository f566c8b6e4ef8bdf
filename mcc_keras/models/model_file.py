"""Reading `.keras` files: no code in them is run, and memory is taken only when it is known how much.

A small file can ask for gigabytes; and once a process has allowed Keras to run the code of files, Keras does so in
every call, whatever the call's own `safe_mode` is.
"""

import io
import json
import zipfile

import keras
import numpy as np

from mcc_keras.errors import DataError

LARGEST_EXPANSION = 16  # inflated bytes per byte on disk; Keras compresses nothing
ALWAYS_ALLOWED = 64 << 20  # inflated bytes, whatever the size on disk
LARGEST_COUNT = 1_000_000  # units, channels or voxels along an axis that a configuration may name
WEIGHTS, CONFIG = "model.weights.h5", "config.json"
_NO_COUNTS = ("seed", "shared_object_id")
_AGAIN = "Copy the file again, or train again."


def read_model(path, *, error=DataError):
    """Return the Keras model of a `.keras` file, not compiled.

    Args:
        path: `.keras` file, a `Path`.
        error: Subclass of `DataError` to raise.

    Raises:
        DataError: The file is damaged, takes far more memory than it has bytes, or holds code or a class that is not
            registered.
    """
    try:
        refuse_large_model(path, error=error)
        with without_code():
            return keras.saving.load_model(path, compile=False, safe_mode=True)
    except DataError:
        raise
    except Exception as problem:  # Keras raises what zipfile, json and its own classes happen to raise
        found = f"expected a Keras model, found {type(problem).__name__}: {problem}"
        raise error(path, found, _AGAIN) from problem


def without_code():
    """Return a context in which Keras runs no code that comes with a configuration, whatever the process has allowed.

    Example:

    >>> code = keras.saving.serialize_keras_object(keras.layers.Lambda(lambda x: x))
    >>> with without_code():
    ...     keras.saving.deserialize_keras_object(code)
    Traceback (most recent call last):
    ValueError: ...
    """
    from keras.src.saving.serialization_lib import SafeModeScope  # Keras itself has no public name for it

    return SafeModeScope(True)


def refuse_nonfinite(weights, path, *, error=DataError):
    """Refuse weights that are NaN or infinite: their masks would be empty, without a word.

    Args:
        weights: Pairs (Keras variable, tensor).
        path: Where they come from.
        error: Subclass of `DataError` to raise.

    Raises:
        DataError: A weight is not finite.
    """
    for variable, value in weights:
        floating = keras.backend.is_float_dtype(keras.backend.standardize_dtype(value.dtype))
        if floating and not np.isfinite(keras.ops.convert_to_numpy(value)).all():
            raise error(path, f"expected finite weights, found NaN or infinite ones in {variable.path}", _AGAIN)


def refuse_large_model(path, *, error=DataError):
    """Refuse a model file that takes far more memory than it has bytes.

    Args:
        path: `.keras` file, a `Path`.
        error: Subclass of `DataError` to raise.

    Raises:
        DataError: The members of the archive, or the arrays in its weights, are many times larger than the file, or the
            configuration names a count above 1,000,000.
    """
    allowed = ALWAYS_ALLOWED + LARGEST_EXPANSION * path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        _refuse_more(path, sum(member.file_size for member in archive.infolist()), allowed, error)
        _refuse_counts(path, json.loads(archive.read(CONFIG)), error)
        # Bounded by now, and read at once: HDF5 asks for a few bytes at a time, each of which the archive looks for.
        _refuse_more(path, _bytes_of_arrays(io.BytesIO(archive.read(WEIGHTS))), allowed, error)


def _bytes_of_arrays(file):
    """Return the bytes of all arrays of an HDF5 file, which may store none of them."""
    import h5py

    sizes = []
    with h5py.File(file, "r") as weights:
        weights.visititems(lambda _, item: sizes.append(item.nbytes if isinstance(item, h5py.Dataset) else 0))
    return sum(sizes)


def _refuse_more(path, found, allowed, error):
    if found > allowed:
        problem = f"expected at most {allowed >> 20} MiB of weights in a file of this size, found {found >> 20} MiB"
        raise error(path, problem, _AGAIN)


def _refuse_counts(path, config, error):
    """Look at every number but seeds and the settings of the training, which allocate nothing."""
    left = [("", config)]
    while left:
        name, value = left.pop()
        if isinstance(value, dict):
            left += [item for item in value.items() if item[0] != "compile_config"]
        elif isinstance(value, list):
            left += [(name, item) for item in value]
        elif isinstance(value, int) and abs(value) > LARGEST_COUNT and name not in _NO_COUNTS:
            raise error(path, f"expected counts up to {LARGEST_COUNT}, found {name}={value}", _AGAIN)
