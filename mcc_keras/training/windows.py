"""A prepared case segmented window by window: what a network that was trained on patches says of a whole box."""

import tensorflow as tf

from mcc_keras.segmentation.windows import Windows, pad_to_window


class WindowedNetwork:
    """A network as a function of a whole image, with the windows of `segment`.

    Args:
        model: Keras model that takes images of the window's size.
        window: `Window`.
    """

    def __init__(self, model, window):
        def predict(part):
            return tf.cast(model(part[None], training=False)[0], tf.float32)

        @tf.function(autograph=False, input_signature=[tf.TensorSpec((None, None, None, model.input_shape[-1]))])
        def probabilities(image):
            box, widths = pad_to_window(image, window)
            windows = Windows(box, window, predict, model.output_shape[-1])
            rows = tf.shape(box)[0]
            state = windows.advance(windows.start(rows), rows)
            first, size = tf.pad(widths[:, 0], [[0, 1]]), tf.concat([tf.shape(image)[:3], [-1]], 0)
            return tf.slice(windows.rows(state, 0, rows), first, size)

        self._probabilities = probabilities

    def __call__(self, image):
        """Return the probabilities float32 (x, y, z, classes) of an image float32 (x, y, z, channels), both NumPy."""
        return self._probabilities(image).numpy()
