"""Signatures of a served model beside its voxels: files in and masks out, and the box for those who have it.

`serving_bytes`: `scan_bytes` string (N, F), of N scans the F files of their channels, or one file of all; out come
`mask_bytes` string (N), whole uncompressed `.nii` files, `fingerprint` string (N) and `error` string (N). A scan that
is refused has an error and an empty mask; where it is the only one, the request fails with INVALID_ARGUMENT.

`serving_preprocessed`: `box` float32 (*size, channels), as the network sees it; out comes its `probability`.
"""

import tensorflow as tf

import mcc_keras
from mcc_keras.datasets.cases import NEAR_GRID
from mcc_keras.serving.export import BYTES, PREPROCESSED
from mcc_keras.serving.mask_graph import mask_bytes
from mcc_keras.serving.nifti_graph import NiftiReader
from mcc_keras.serving.nifti_graph_affine import corner_displacement, rounded_text
from mcc_keras.serving.nifti_graph_header import HEAD_BYTES, first_problem


def more_signatures(segmenter, *, reading, fingerprint):
    """Return the functions of these signatures by name, to save with a segmenter.

    An ensemble has no `serving_preprocessed`, since the boxes of its members may differ.

    Args:
        segmenter: `Segmenter` or `Ensemble` whose weights are variables.
        reading: Keywords `affine` and `nonfinite` of `read_volume`: how the runs' cases were read.
        fingerprint: Text that names the model.
    """
    functions = {BYTES: BytesSignature(segmenter, reading=reading, fingerprint=fingerprint).answer}
    if len(segmenter.members) == 1:
        functions[PREPROCESSED] = preprocessed(segmenter.members[0])
    return functions


class BytesSignature(tf.Module):
    """The signature `serving_bytes` of a segmenter: see the module.

    Args:
        segmenter: `Segmenter`.
        reading: Keywords `affine` and `nonfinite` of `read_volume`.
        fingerprint: Text that names the model; it comes back with each mask, with the version of the package.
    """

    def __init__(self, segmenter, *, reading, fingerprint):
        super().__init__(name="bytes_signature")
        self.segmenter, self.channels = segmenter, segmenter.channels
        self.reader = NiftiReader(**reading)
        self.fingerprint = f"mcc_keras {mcc_keras.__version__} {fingerprint}"
        self.description = f"mcc_keras {fingerprint}"  # as `segment` writes it
        spec = tf.TensorSpec((None, None), tf.string, name="scan_bytes")
        self.answer = tf.function(self._answer, autograph=False, input_signature=(spec,))

    def _answer(self, scan_bytes):
        scan_bytes = tf.ensure_shape(scan_bytes, (None, None))
        masks, problems = tf.map_fn(
            self._one, scan_bytes, fn_output_signature=(tf.string, tf.string), parallel_iterations=1
        )
        number = tf.size(problems)
        alone = (number == 1) & tf.reduce_any(problems != "")
        with tf.control_dependencies([tf.debugging.Assert(~alone, [problems])]):
            masks = tf.identity(masks)
        return {"mask_bytes": masks, "fingerprint": tf.fill([number], self.fingerprint), "error": problems}

    def _one(self, files):
        def segmented():
            mask = self.segmenter.segment(image, tf.cast(affine, tf.float32))["mask"]
            return mask_bytes(mask, head, description=self.description)

        image, affine, head, problem = self._read(files)
        return tf.cond(problem == "", segmented, lambda: tf.constant(b"")), problem

    def _read(self, files):
        """Return image, affine, head and problem of the files of a scan; an empty image where there is a problem."""
        number = tf.size(files)

        def whole():
            volume = self.reader.read(files[0], tf.constant(self.channels, tf.int64))
            return self._scan([volume], volume.problem)

        def stacked():
            volumes = [self.reader.read(files[i], tf.constant(1, tf.int64)) for i in range(self.channels)]
            return self._scan(volumes, first_problem(_channel_problems(volumes)))

        def other():
            wanted = f"{self.channels} files, one for each channel, or 1" if self.channels > 1 else "1 file"
            nothing = tf.eye(4, dtype=tf.float64), tf.zeros(HEAD_BYTES, tf.uint8)
            return self._empty(), *nothing, tf.strings.format(f"expected {wanted}, found {{}}", number)

        ways = [(number == 1, whole)] + ([(number == self.channels, stacked)] if self.channels > 1 else [])
        return tf.case(ways, default=other)

    def _scan(self, volumes, problem):
        def image():
            return tf.concat([volume.image(self.channels // len(volumes)) for volume in volumes], axis=-1)

        return self._any_size(tf.cond(problem == "", image, self._empty)), volumes[0].affine, volumes[0].head, problem

    def _empty(self):
        return self._any_size(tf.zeros((0, 0, 0, self.channels), tf.float32))

    def _any_size(self, image):
        return tf.raw_ops.PlaceholderWithDefault(input=image, shape=(None, None, None, self.channels))


def _channel_problems(volumes):
    """Return what is wrong with the files of channels, in their order, and with their grids as `read_scan` has it."""
    first, *others = volumes
    problems = [(each.problem != "", _of_channel(index, each.problem)) for index, each in enumerate(volumes, start=1)]
    for index, each in enumerate(others, start=2):
        other = tf.strings.format("expected the shape {} of channel 1, found {}", (first.shape, each.shape))
        apart = corner_displacement(first.affine, each.affine, tf.cast(first.shape, tf.int64))
        moved = rounded_text("expected the place of channel 1, found corners {} voxels from it", apart)
        problems += [
            (tf.reduce_any(first.shape != each.shape), _of_channel(index, other)),
            (~(apart <= NEAR_GRID), _of_channel(index, moved)),
        ]
    return problems


def _of_channel(index, text):
    return tf.strings.join([f"channel {index}: ", text])


def preprocessed(segmenter):
    """Return a function of the box, float32 (*size, channels), that returns its probabilities as a dict."""
    shape = tuple(segmenter.model.input_shape[1:])

    @tf.function(autograph=False, input_signature=(tf.TensorSpec(shape, tf.float32, name="box"),))
    def predict(box):
        return {"probability": segmenter.predict(tf.ensure_shape(box, shape))}

    return predict
