"""The way of a scan through one or more networks and back to its own grid, as a graph.

    scan = prepare(image, affine)        the box of each network, and the matrices back
    state, rows = slab(scan, state, k)   the masks and probabilities of some rows of the scan
    segment(image, affine)               a loop over the slabs, which keeps the mask alone

A slab is a few rows of the scan along its canonical first axis. Its probabilities are restored to the scan's grid,
averaged over the networks, reduced to classes and released; only the mask, an integer a voxel, is held as a whole.
"""

import typing

import tensorflow as tf

from mcc_keras.preprocessing.graph import GraphGrid, normalized_box
from mcc_keras.segmentation.windows import Whole, Windows, pad_to_window

SLAB = 1 << 22  # probabilities of a slab: 16 MB


class PreparedScan(typing.NamedTuple):
    """What is known of a scan for one network, in tensors.

    Args:
        box: float32 (x, y, z, channels), what the network sees.
        ways: Matrices (scan voxels, box voxels) of the canonical axes.
        pieces: int32 (2, 3): where nothing is resampled along the last two axes, the first voxel in the box and in the
            scan and their number.
        moved: bool, whether that is so.
        ends: int32 (2, scan rows): the first row of the box that a row of the scan needs, and the one after the last.
    """

    box: tf.Tensor
    ways: tuple
    pieces: tf.Tensor
    moved: tf.Tensor
    ends: tf.Tensor


class ScanGraph:
    """The graph of networks that answer together.

    Args:
        members: Objects with `preprocessing`, `window` (`Window` or `None`) and `predict`, a function of a box or
            window (x, y, z, channels) that returns float32 probabilities (x, y, z, classes).
        classes: Channels of their answers; one is a foreground class alone.
        labels: Value of the mask for each class, 0 first.
        dtype: NumPy type of the mask.
        threshold: Probability from which on a single class is foreground.
    """

    def __init__(self, members, *, classes, labels, dtype, threshold):
        self.members, self.classes, self.threshold = members, classes, threshold
        self.labels, self.dtype = labels, tf.as_dtype(dtype)

    def prepare(self, image, affine):
        """Return a `PreparedScan` for each member, and the `GraphGrid` of the first.

        Args:
            image: float32 (x, y, z, channels), in stored order.
            affine: float64 (4, 4), voxel indices to RAS+ millimetres.
        """
        grids = [GraphGrid(image, affine, member.preprocessing) for member in self.members]
        pairs = zip(self.members, grids, strict=True)
        return [_prepare(image, grid, member) for member, grid in pairs], grids[0]

    def answer(self, image, affine, *, probability):
        """Return a dict with the mask (x, y, z) of a scan, and its probability (x, y, z, classes) where asked for."""
        scans, grid = self.prepare(image, affine)
        rows, across = self.slab_rows(scans)
        shape = [tf.shape(way)[0] for way in scans[0].ways]
        kept = [tf.raw_ops.Empty(shape=tf.stack([shape[0], across]), dtype=self.dtype, init=True)]
        if probability:
            sides = tf.stack([shape[0], across * self.classes])
            kept.append(tf.raw_ops.Empty(shape=sides, dtype=tf.float32, init=True))

        def body(first, states, kept):
            states, *found = self.slab(scans, states, first, rows)
            places = tf.range(first, first + tf.shape(found[0])[0])
            flat = [tf.reshape(part, [tf.size(places), -1]) for part in found[: len(kept)]]
            kept = [tf.raw_ops.InplaceUpdate(x=x, i=places, v=v) for x, v in zip(kept, flat, strict=True)]
            with tf.control_dependencies(kept):  # the next slab uses rows again that this one has read
                states = tf.nest.map_structure(tf.identity, states)
            return first + rows, states, kept

        start = (tf.constant(0), self.start(scans), kept)
        _, _, kept = tf.while_loop(lambda first, *_: first < shape[0], body, start, parallel_iterations=1)
        found = {"mask": grid.to_stored(tf.reshape(kept[0], shape))}
        if probability:
            found["probability"] = grid.to_stored(tf.reshape(kept[1], [*shape, self.classes]))
        return found

    def slab_rows(self, scans):
        """Return how many rows a slab has, and the voxels of a row."""
        rows, y, z = (tf.shape(way)[0] for way in scans[0].ways)
        return tf.clip_by_value(SLAB // (self.classes * y * z), 1, rows), y * z

    def start(self, scans):
        """Return the states of a new call."""
        rows, _ = self.slab_rows(scans)
        return [
            self._way(member, scan).start(_most_rows(scan.ends, rows))
            for member, scan in zip(self.members, scans, strict=True)
        ]

    def slab(self, scans, states, first, rows):
        """Return the next states, the mask (rows, y, z) and the probabilities (rows, y, z, classes) of some rows.

        Args:
            scans: `PreparedScan`s of the members.
            states: Their states, as `start` and the slab before return them. Slabs follow each other.
            first: First row of the scan along its canonical first axis.
            rows: Number of rows; the last slab may have fewer.
        """
        after, answers = [], []
        for member, scan, state in zip(self.members, scans, states, strict=True):
            state, answer = self._member_slab(self._way(member, scan), scan, state, first, rows)
            after.append(state)
            answers.append(answer)
        probability = answers[0] if len(answers) == 1 else tf.add_n(answers) / len(answers)
        if self.classes > 1:  # where the box does not reach there is background
            foreground = probability[..., 1:]
            background = 1 - tf.reduce_sum(foreground, axis=-1, keepdims=True)
            probability = tf.concat([background, foreground], axis=-1)
            number = tf.argmax(probability, axis=-1, output_type=tf.int32)
        else:
            number = tf.cast(probability[..., 0] >= self.threshold, tf.int32)
        return after, tf.gather(tf.constant(self.labels, self.dtype), number), probability

    def _way(self, member, scan):
        if member.window is None:
            return Whole(scan.box, member.predict, self.classes)
        return Windows(scan.box, member.window, member.predict, self.classes)

    def _member_slab(self, way, scan, state, first, rows):
        low, high = (part[first : first + rows] for part in tf.unstack(scan.ends))
        low, high = tf.minimum(tf.reduce_min(low), tf.reduce_max(high)), tf.reduce_max(high)
        state = way.advance(state, high)
        part = tf.matmul(scan.ways[0][first : first + rows, low:high], _flat(way.rows(state, low, high)))
        return state, _across(part, scan, self.classes)


def _prepare(image, grid, member):
    box = normalized_box(image, grid, member.preprocessing)
    ways, same = grid.way_back()
    if member.window is not None:
        box, widths = pad_to_window(box, member.window)
        ends = (tf.stack([tf.zeros_like(pair), pair]) for pair in tf.unstack(widths))
        ways = [tf.pad(way, pair) for way, pair in zip(ways, ends, strict=True)]
    rows = ways[0] > 0
    known, sides = tf.reduce_any(rows, axis=1), tf.shape(rows)[1]
    low = tf.where(known, tf.argmax(rows, axis=1, output_type=tf.int32), sides)
    high = tf.where(known, sides - tf.argmax(rows[:, ::-1], axis=1, output_type=tf.int32), 0)
    pieces = tf.stack([_piece(way) for way in ways[1:]])
    return PreparedScan(box, tuple(ways), pieces, tf.reduce_all(same[1:]), tf.stack([low, high]))


def _piece(way):
    """Return where a matrix of zeros and ones begins, in its source and in its target, and how many ones it has."""
    known = tf.reduce_any(way > 0, axis=1)
    target = tf.argmax(known, output_type=tf.int32)
    return tf.stack(
        [tf.argmax(way[target], output_type=tf.int32), target, tf.math.count_nonzero(known, dtype=tf.int32)]
    )


def _most_rows(ends, rows):
    """Return the largest number of rows of the box that a slab needs at a time."""
    low, high = tf.unstack(ends)
    lacking = -tf.size(low) % rows
    low = tf.reduce_min(tf.reshape(tf.pad(low, [[0, lacking]], constant_values=low.dtype.max), [-1, rows]), axis=1)
    high = tf.reduce_max(tf.reshape(tf.pad(high, [[0, lacking]]), [-1, rows]), axis=1)
    return tf.maximum(tf.reduce_max(high - low), 1)


def _flat(rows):
    return tf.reshape(rows, [tf.shape(rows)[0], -1])


def _across(part, scan, classes):
    """Return rows (rows, y · z · classes of the box) on the scan's last two axes, (rows, y, z, classes)."""
    _, y, z = scan.ways
    rows, (m_y, n_y), (m_z, n_z) = tf.shape(part)[0], tf.unstack(tf.shape(y)), tf.unstack(tf.shape(z))

    def multiplied():
        found = tf.matmul(y, tf.reshape(part, [rows, n_y, n_z * classes]))
        found = turned(tf.reshape(found, [-1, n_z, classes]))
        found = tf.matmul(tf.reshape(found, [-1, n_z]), z, transpose_b=True)
        return tf.reshape(turned(tf.reshape(found, [-1, classes, m_z])), [rows, m_y, m_z, classes])

    def moved():
        (from_y, to_y, count_y), (from_z, to_z, count_z) = map(tf.unstack, tf.unstack(scan.pieces))
        found = tf.reshape(part, [rows, n_y, n_z, classes])[:, from_y : from_y + count_y, from_z : from_z + count_z]
        return tf.pad(found, [[0, 0], [to_y, m_y - to_y - count_y], [to_z, m_z - to_z - count_z], [0, 0]])

    def turned(found):
        return tf.transpose(found, (0, 2, 1)) if classes > 1 else found

    return tf.cond(scan.moved, moved, multiplied)
