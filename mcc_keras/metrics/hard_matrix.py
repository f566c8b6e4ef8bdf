"""The confusion matrix of hard labels: exact, and of a length that no compiler has to wait for.

XLA wants every length before it runs and TensorFlow has no deterministic `bincount` on a GPU, so voxels are counted by
comparison and by sums alone, whose operations have a kernel everywhere.
"""

from keras import ops

# Voxels per partial sum: their number is exact in a float32, the type in which comparisons are summed fastest.
CHUNK = 2**13
# Up to this many classes it is faster to compare each voxel with every cell than to multiply one-hot forms.
FEW_CLASSES = 7


def hard_matrix(true, predicted, classes, *, counted=None, dtype="int64"):
    """Count the voxels of each pair of true and predicted class.

    Args:
        true: True class, (batch, ...), of any type.
        predicted: Predicted class, (batch, ...), of any type.
        classes: Number of classes.
        counted: Boolean (batch, ...), or None to count every voxel.
        dtype: Integer type of the counts.

    Returns:
        The confusion matrix (batch, true class, predicted class).

    Example:

    >>> import numpy as np
    >>> true, predicted = np.array([[0, 1, 1, 1]]), np.array([[0, 0, 1, 1]])
    >>> ops.convert_to_numpy(hard_matrix(true, predicted, 2)).tolist()
    [[[1, 0], [1, 2]]]
    """
    small = "uint8" if classes <= FEW_CLASSES else "int32"
    # From 1 on, so that 0 is a voxel that is left out: products are faster than a choice between constants.
    true = ops.cast(true, small) + 1
    if counted is not None:
        true = true * ops.cast(counted, small)
    count = _compare if classes <= FEW_CLASSES else _multiply
    counts = count(_in_chunks(true), _in_chunks(ops.cast(predicted, small)), classes)
    return ops.reshape(ops.sum(ops.cast(counts, dtype), axis=1), (-1, classes, classes))


def _in_chunks(x):
    """Return (batch, ...) as (batch, chunks, voxels of a chunk), with zeros behind the last voxel."""
    batch = ops.shape(x)[0]
    x = ops.reshape(x, (batch, -1))
    voxels = ops.shape(x)[1]
    rest = ops.zeros((batch, -voxels % CHUNK), dtype=x.dtype)
    return ops.reshape(ops.concatenate([x, rest], axis=1), (batch, -1, CHUNK))


def _compare(true, predicted, classes):
    """Compare each voxel with the number of every cell."""
    cell = true * classes + predicted
    cells = range(classes, classes + classes * classes)
    return ops.stack([ops.sum(ops.cast(cell == number, "float32"), axis=-1) for number in cells], axis=-1)


def _multiply(true, predicted, classes):
    """Multiply the one-hot forms, in which a voxel that is left out has no class."""
    true, predicted = (ops.one_hot(x, classes, dtype="float32") for x in (true - 1, predicted))
    matrix = ops.matmul(ops.transpose(true, (0, 1, 3, 2)), predicted)
    return ops.reshape(matrix, (*ops.shape(matrix)[:2], classes * classes))


def largest(scores):
    """Return the index of the largest score on the last axis, the first of equal ones.

    Class by class: on a CPU that takes a quarter of the time of `ops.argmax`.
    """
    best, *others = ops.unstack(scores, axis=-1)
    index = ops.zeros_like(best, dtype="uint8" if len(others) < 256 else "int32")
    for number, score in enumerate(others, 1):
        index = index + ops.cast(score > best, index.dtype) * (number - index)
        best = ops.maximum(best, score)
    return index
