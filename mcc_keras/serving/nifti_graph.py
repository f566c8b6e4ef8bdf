"""A NIfTI file's bytes to its voxels and affine in a TensorFlow graph: what `read_volume` reads, without Python.

NIfTI-1 and NIfTI-2 in one file, both byte orders, every real type, plain or as one gzip stream of at most 1 GiB
inflated. What is refused here and read by `read_volume`: a gzip file of several members, one with zeros behind its end,
or one that holds bytes behind the voxels; a slope or intercept below the smallest normal number; pairs (`.hdr` and
`.img`) and other formats, which a client converts. -0.0 is read as 0.0. There are no warnings.
"""

from typing import NamedTuple

import tensorflow as tf

from mcc_keras.serving.nifti_graph_affine import graph_affine
from mcc_keras.serving.nifti_graph_header import HEAD_BYTES, GraphHeader, first_problem
from mcc_keras.serving.nifti_graph_voxels import head_of, plain_bytes, size_problems, stream_problems, voxels_of
from mcc_keras.volumes import MAX_RATIO, MAX_VOXELS


class GraphVolume(NamedTuple):
    """A file as tensors.

    Args:
        problem: Why it is refused, or an empty text; the others are then without meaning.
        voxels: float32 (n,) in the order of the file: the first axis is the fastest, channels the slowest.
        shape: int32 (3,).
        affine: float64 (4, 4), voxel indices to RAS+ millimetres.
        head: uint8 (540,), the first bytes of the file.
    """

    problem: tf.Tensor
    voxels: tf.Tensor
    shape: tf.Tensor
    affine: tf.Tensor
    head: tf.Tensor

    def image(self, channels):
        """Return float32 (x, y, z, channels)."""
        sizes = tf.concat([[channels], tf.reverse(self.shape, [0])], axis=0)
        return tf.transpose(tf.reshape(self.voxels, sizes), (3, 2, 1, 0))


class NiftiReader(tf.Module):
    """Reads NIfTI files in a graph.

    Args:
        affine: `"sform"` or `"qform"`, used where a file has both; None: they must agree, as for `read_volume`.
        nonfinite: `"error"` refuses NaN and infinite voxels, `"zero"` reads them as 0.
        max_voxels: Larger files are refused before memory is allocated.
        max_ratio: Largest compression ratio of a file with more than 2²⁹ voxels.

    Call `read(data, channels)`: the bytes of a file, and how many channels it must have; it returns a `GraphVolume`.
    """

    def __init__(self, *, affine=None, nonfinite="error", max_voxels=MAX_VOXELS, max_ratio=MAX_RATIO):
        super().__init__(name="nifti_reader")
        self.affine, self.nonfinite = affine, nonfinite
        self.max_voxels, self.max_ratio = max_voxels, max_ratio
        self.read = tf.function(
            self._read, autograph=False, input_signature=(tf.TensorSpec((), tf.string), tf.TensorSpec((), tf.int64))
        )

    def _read(self, data, channels):
        head, found = head_of(data)
        header = GraphHeader(head, found)
        matrix, geometry = graph_affine(header, which=self.affine)
        sizes = size_problems(data, found, header, max_ratio=self.max_ratio)
        header_problems = header.problems(channels, self.max_voxels)
        problem = first_problem((*stream_problems(data, found), *header_problems, *sizes, *geometry))
        nothing = tf.zeros(0, tf.float32)

        def unpack():
            plain, problem = plain_bytes(data, header)
            refused = problem != ""
            return tf.cond(
                refused, lambda: (nothing, problem), lambda: voxels_of(plain, header, nonfinite=self.nonfinite)
            )

        voxels, problem = tf.cond(problem == "", unpack, lambda: (nothing, problem))
        shape = tf.cast(tf.clip_by_value(header.dims[:3], 0, 2**31 - 1), tf.int32)
        return GraphVolume(problem, tf.ensure_shape(voxels, [None]), shape, matrix, tf.ensure_shape(head, HEAD_BYTES))
