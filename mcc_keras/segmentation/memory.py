"""Whether the memory holds a scan in the windows of a network, and which windows it would hold.

Where memory ends, the system kills a process without a word. So the least that a scan needs is compared with what is
free before the work begins; what cannot be known before is named when TensorFlow meets it.
"""

import contextlib
import math
import weakref

import tensorflow as tf

from mcc_keras.errors import MemoryFailure
from mcc_keras.memory import GIB, free_memory, held_memory
from mcc_keras.segmentation.sizes import nearest_size, trace_network

BYTES = 4  # of a float32
OWN = GIB // 2  # what a process with TensorFlow and a network takes before it has a tensor
GENEROUS = 512  # float32 values for each voxel that a network sees: more than are alive at once in most
SHARES = (0.75, 0.5, 0.375, 0.25, 0.125)  # of the sides of a window, which are tried in its place
# Operations that cannot write into the memory of what they read, by parts of their names.
_APART = ("Conv", "Pool", "Concat", "Pad", "Transpose", "MatMul", "Pack", "Tile", "Resize", "Gather", "Reverse")
_SAME = ("Identity", "Reshape", "ExpandDims", "Squeeze", "StopGradient")  # that share it
_KNOWN = weakref.WeakKeyDictionary()  # member of a segmenter → size → bytes


@contextlib.contextmanager
def enough_memory(segmenter, volume, *, probability=False):
    """Refuse a scan that needs more memory than is free, and name the scan where the memory ends within the block.

    Args:
        segmenter: `Segmenter` or `Ensemble`.
        volume: `Volume` of the scan, with array (x, y, z, channels).
        probability: Whether all probabilities are held as well.

    Raises:
        MemoryFailure: With windows that need less, where there are any.
    """
    free, options = _free(), {"probability": probability}
    if _most(segmenter, volume, probability) > free:  # else nothing has to be traced
        needed = least_bytes(segmenter, volume, **options)
        if needed > free:
            found = f"about {_gib(needed)} needed and {_gib(free)} free"
            raise _failure(segmenter, volume, found, free=free, shares=SHARES, **options)
    try:
        yield
    except Exception as error:
        if not _is_exhausted(error):
            raise
        raise _failure(segmenter, volume, "too little", free=free, shares=SHARES[1:], **options) from error


def _is_exhausted(error):
    """Return whether an error says that memory has ended."""
    return isinstance(error, MemoryError | tf.errors.ResourceExhaustedError)


def least_bytes(segmenter, volume, *, window=None, probability=False):
    """Return how many bytes a scan needs at least, beside what the process holds already.

    The tensors of a network that are alive at once, unless they are on a GPU, the boxes, the rows of probabilities, and
    the mask; what single operations need beside their results is not known.

    Args:
        segmenter: `Segmenter` or `Ensemble`.
        volume: `Volume` of the scan.
        window: (x, y, z) in place of the sizes of the members' windows.
        probability: Whether all probabilities are held as well.
    """
    found = _scan_bytes(segmenter, volume, window, probability)
    if tf.config.list_physical_devices("GPU"):
        return found
    return found + max(_network_bytes(member, window or _seen(member, volume)) for member in segmenter.members)


def live_bytes(graph):
    """Return the most bytes of tensors that are alive at once if the operations of a graph run in their order.

    Tensors of unknown shapes and constants do not count.

    Example:

    >>> import tensorflow as tf
    >>> with tf.Graph().as_default() as graph:
    ...     x = tf.compat.v1.placeholder(tf.float32, (1, 10, 10))
    ...     y = tf.transpose(tf.nn.relu(tf.concat([x, x], 0)))
    >>> live_bytes(graph)  # the joined tensor and its transpose, which relu did not copy
    1600
    """
    operations = [op for op in graph.get_operations() if op.type not in ("Const", "Placeholder", "NoOp")]
    owners, sizes, readers = {}, {}, {}
    for op in operations:
        for tensor in op.outputs:
            same = op.type in _SAME and op.inputs
            owners[tensor.name] = owners.get(op.inputs[0].name) if same else tensor.name
            sizes[tensor.name] = _bytes(tensor)
        for tensor in op.inputs:
            readers[owners.get(tensor.name)] = op.name  # the last one counts
    held, most = set(), 0
    for op in operations:
        made = {owners[tensor.name] for tensor in op.outputs} - {None}
        ended = {owner for owner in held if readers.get(owner) == op.name}
        if not any(part in op.type for part in _APART):
            held -= ended
        held |= made
        most = max(most, sum(sizes[owner] for owner in held))
        held -= ended
    return most


def _free():
    """Return the free bytes, and those that TensorFlow keeps for its next tensors: it gives none of them back."""
    return free_memory(swap=True) + max(0, held_memory() - OWN)


def _most(segmenter, volume, probability):
    seen = [math.prod(_seen(member, volume)) * (1 + len(member.flip_axes)) for member in segmenter.members]
    return BYTES * GENEROUS * max(seen) + 4 * _scan_bytes(segmenter, volume, None, probability)


def _scan_bytes(segmenter, volume, window, probability):
    """Return the bytes of the boxes and of the rows of probabilities of all members, and of the mask."""
    found, classes = 0, segmenter.task.num_classes
    for member in segmenter.members:
        box = _box(member, volume)
        sides = [max(pair) for pair in zip(box, window or _seen(member, volume), strict=True)]
        rows = min(sides[0], (window or member.window.size)[0]) if member.window else sides[0]
        found += BYTES * (math.prod(box) * segmenter.channels + rows * math.prod(sides[1:]) * classes)
    voxels = math.prod(volume.shape)
    return found + voxels * (1 + (BYTES * classes if probability else 0))


def _network_bytes(member, size):
    known = _KNOWN.setdefault(member, {})
    if size not in known:
        graph = trace_network(member.model, size, predict=member.predict)
        known[size] = 0 if graph is None else live_bytes(graph)
    return known[size]


def _seen(member, volume):
    """Return what a network sees at a time, (x, y, z)."""
    return member.window.size if member.window else _box(member, volume)


def _box(member, volume):
    preprocessing = member.preprocessing
    return preprocessing.grid(volume.array, volume.affine).size if preprocessing.is_native else preprocessing.size


def _bytes(tensor):
    return tensor.dtype.size * tensor.shape.num_elements() if tensor.shape.is_fully_defined() else 0


def _failure(segmenter, volume, found, *, free, shares, probability):
    seen = " and ".join(dict.fromkeys(_sides(_seen(member, volume)) for member in segmenter.members))
    windowed = all(member.window for member in segmenter.members)
    how = f"in windows of {seen}" if windowed else f"in a box of {seen}"
    problem = f"expected memory for a scan of {_sides(volume.shape)} voxels {how}, found {found}"
    way_out = "Use a machine with more memory."
    smaller = _smaller_window(segmenter, volume, free, shares, probability) if windowed else None
    if smaller:
        way_out = f"Give smaller windows with window_size={smaller}, or use a machine with more memory."
    elif any(member.flip_axes for member in segmenter.members):
        call = 'mcc-keras segment --flips none (mk.segment(flips="none"))'
        way_out = f"Average no flips with {call}, or use a machine with more memory."
    return MemoryFailure(volume.path, problem, way_out)


def _smaller_window(segmenter, volume, free, shares, probability):
    """Return the first window of some shares of the present one that needs less than is free, or `None`."""
    before = segmenter.members[0].window.size
    for share in shares:
        asked = tuple(max(1, round(share * n)) for n in before)
        size = nearest_size(segmenter.members[0].model, asked, predict=segmenter.members[0].predict)
        if size is None or math.prod(size) >= math.prod(before):
            continue
        if least_bytes(segmenter, volume, window=size, probability=probability) <= free:
            return size
    return None


def _sides(size):
    return " × ".join(map(str, size))


def _gib(number):
    return f"{number / GIB:.1f} GiB"
