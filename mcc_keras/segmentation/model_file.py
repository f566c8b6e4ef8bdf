"""What a `.keras` file may hold: checked before memory is taken for it, since a small file can ask for gigabytes."""

import io
import json
import zipfile

from mcc_keras.errors import RunError

LARGEST_EXPANSION = 16  # inflated bytes per byte on disk; Keras compresses nothing
ALWAYS_ALLOWED = 64 << 20  # inflated bytes, whatever the size on disk
LARGEST_COUNT = 1_000_000  # units, channels or voxels along an axis that a configuration may name
WEIGHTS, CONFIG = "model.weights.h5", "config.json"
_NO_COUNTS = ("seed", "shared_object_id")
_AGAIN = "Copy the file again, or train again."


def refuse_large_model(path):
    """Refuse a model file that takes far more memory than it has bytes.

    Args:
        path: `.keras` file.

    Raises:
        RunError: The members of the archive, or the arrays in its weights, are many times larger than the file, or the
            configuration names a count above 1,000,000.
    """
    allowed = ALWAYS_ALLOWED + LARGEST_EXPANSION * path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        _refuse_more(path, sum(member.file_size for member in archive.infolist()), allowed)
        _refuse_counts(path, json.loads(archive.read(CONFIG)))
        # Bounded by now, and read at once: HDF5 asks for a few bytes at a time, each of which the archive looks for.
        _refuse_more(path, _bytes_of_arrays(io.BytesIO(archive.read(WEIGHTS))), allowed)


def _bytes_of_arrays(file):
    """Return the bytes of all arrays of an HDF5 file, which may store none of them."""
    import h5py

    sizes = []
    with h5py.File(file, "r") as weights:
        weights.visititems(lambda _, item: sizes.append(item.nbytes if isinstance(item, h5py.Dataset) else 0))
    return sum(sizes)


def _refuse_more(path, found, allowed):
    if found > allowed:
        problem = f"expected at most {allowed >> 20} MiB of weights in a file of this size, found {found >> 20} MiB"
        raise RunError(path, problem, _AGAIN)


def _refuse_counts(path, config):
    """Look at every number but seeds and the settings of the training, which allocate nothing."""
    left = [("", config)]
    while left:
        name, value = left.pop()
        if isinstance(value, dict):
            left += [item for item in value.items() if item[0] != "compile_config"]
        elif isinstance(value, list):
            left += [(name, item) for item in value]
        elif isinstance(value, int) and abs(value) > LARGEST_COUNT and name not in _NO_COUNTS:
            raise RunError(path, f"expected counts up to {LARGEST_COUNT}, found {name}={value}", _AGAIN)
