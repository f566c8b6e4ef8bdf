"""`Deformation`: one draw of all spatial transforms, for a whole volume or for one box of it."""

import dataclasses

import tensorflow as tf

from mcc_keras.augmentation.spatial import affine, elastic, flip, identity_points, inverse


@dataclasses.dataclass(frozen=True, eq=False)
class Deformation:
    """Mapping from voxels of a deformed volume to points of the original.

    Args:
        shape: (x, y, z) of both, integers or a tensor.
        flips: Three booleans.
        matrix: (3, 3), or `None` where nothing is affine; in voxels, about the center.
        shift: (3,), in voxels.
        bend: (3, n, n, n), shifts of the control points, or `None`.
        bent: Whether they are shifted at all, as a tensor; `True` itself if it is not drawn.
    """

    shape: tuple
    flips: object
    matrix: object = None
    shift: object = None
    bend: object = None
    bent: object = True

    def points(self, size, corner):
        """Return the points (3, *size) that the box at an integer corner (3,) of the changed volume reads."""
        points = identity_points(size, tf.cast(corner, tf.float32))
        if self.bend is not None:
            points = self._bend(points, corner)
        if self.matrix is not None:
            points = affine(points, self.matrix, self.shift, shape=self.shape)
        return flip(points, self.flips, shape=self.shape)

    def place_of(self, point):
        """Return the position of a point (3,) of the volume in the deformed one, to within a voxel or two."""
        place = flip(tf.reshape(point, (3, 1, 1, 1)), self.flips, shape=self.shape)
        if self.matrix is not None:
            back = inverse(self.matrix)
            place = affine(place, back, -tf.reduce_sum(back * self.shift, axis=1), shape=self.shape)
        if self.bend is not None:
            last = tf.cast(self.shape, tf.int32) - 1
            corner = tf.clip_by_value(tf.cast(tf.round(place[:, 0, 0, 0]), tf.int32), 0, last)
            here = identity_points((1, 1, 1), tf.cast(corner, tf.float32))
            place += here - self._bend(here, corner)
        return place[:, 0, 0, 0]

    def _bend(self, points, corner):
        def bend():
            return elastic(points, self.bend, shape=self.shape, corner=corner)

        return bend() if self.bent is True else tf.cond(self.bent, bend, lambda: points)
