"""Dense V-Net against the layer table of its paper, as NiftyNet builds it."""

import math

import numpy as np
import pytest

from mcc_keras.errors import UsageError
from mcc_keras.models import DenseVNet

# layer: (resolution divisor of its output, output channels, convolution weights, trainable normalization weights)
TABLE = {
    "input_pool": (2, 1, 0, 2),
    "initial": (2, 24, 3_000, 48),
    "block1": (2, 45, 17_820, 40),
    "skip1": (2, 12, 14_580, 24),
    "down1": (4, 24, 29_160, 48),
    "block2": (4, 104, 129_600, 160),
    "skip2": (4, 24, 67_392, 48),
    "down2": (8, 24, 67_392, 48),
    "block3": (8, 184, 414_720, 320),
    "skip3": (8, 24, 119_232, 48),
    "final": (2, 2, 3_296, 0),
}


@pytest.mark.parametrize(
    ("channels", "classes", "trainable", "total"),
    [(1, 1, 865_330, 866_116), (1, 2, 866_978, 867_764), (1, 9, 878_514, 879_300), (4, 2, 880_682, 881_474)],
)
def test_parameters_are_those_of_the_paper(channels, classes, trainable, total):
    model = DenseVNet((64, 64, 64, channels), classes)
    assert sum(math.prod(weight.shape) for weight in model.trainable_weights) == trainable
    assert model.count_params() == total


def test_every_layer_is_that_of_the_table():
    model = DenseVNet((64, 64, 64, 1), 2)
    for name, (divisor, channels, conv_weights, norm_weights) in TABLE.items():
        layers = [layer for layer in model.layers if layer.name == name or layer.name.startswith(f"{name}_")]
        if name == "input_pool":
            layers.append(model.get_layer("input_norm"))
        layers = [layer for layer in layers if not layer.name.endswith(("_up", "_concat"))]
        weights = [weight for layer in layers for weight in layer.trainable_weights]
        norms = [weight for weight in weights if weight.path.endswith(("gamma", "beta"))]
        assert layers[0].output.shape[1:] == (*[64 // divisor] * 3, channels), name
        assert sum(math.prod(weight.shape) for weight in norms) == norm_weights, name
        assert sum(math.prod(weight.shape) for weight in weights) == conv_weights + norm_weights, name


def test_layers_of_the_dense_blocks_see_everything_before_them():
    model = DenseVNet((16, 16, 16, 1), 2)
    seen = {block: [kernel.shape[3] for kernel in model.get_layer(block).kernels] for block in ("block1", "block2")}
    assert seen == {"block1": [25, 29, 33, 37, 41], "block2": list(range(24, 97, 8))}


def test_the_prior_has_one_channel_a_class_and_reaches_every_voxel():
    model, plain = (DenseVNet((16, 16, 16, 1), 2, prior_size=size) for size in (12, None))
    assert model.count_params() - plain.count_params() == 12**3 * 2
    image = np.zeros((1, 16, 16, 16, 1), "float32")
    before = np.asarray(model(image, training=False))
    model.get_layer("prior").prior.assign(np.stack([np.zeros([12] * 3), np.ones([12] * 3)], axis=-1))
    assert (np.asarray(model(image, training=False))[..., 1] > before[..., 1]).all()


def test_dropout_is_on_in_training_and_off_at_inference():
    model = DenseVNet((16, 16, 16, 1), 1, dropout=0.5)
    image = np.random.default_rng(0).normal(size=(1, 16, 16, 16, 1)).astype("float32")
    assert np.ptp([np.asarray(model(image, training=True)).sum() for _ in range(4)]) > 0
    np.testing.assert_array_equal(model(image, training=False), model(image, training=False))


@pytest.mark.parametrize(
    "keywords", [{"prior_size": 0}, {"dropout": 1}, {"depths": (1, 2)}, {"dilation_rates": (0, 1, 1)}]
)
def test_options_out_of_range_are_refused(keywords):
    with pytest.raises(UsageError, match=f"Received: {next(iter(keywords))}="):
        DenseVNet((16, 16, 16, 1), 1, **keywords)
