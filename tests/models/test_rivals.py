"""V-Net, VoxResNet and 3D U-Net against the figures of their papers."""

import math

import keras
import numpy as np
import pytest

from mcc_keras.models import UNet3D, VNet, VoxResNet, describe


@pytest.mark.parametrize(
    ("network", "channels", "trainable"),
    [(VNet, 1, 65_175_314), (VNet, 4, 65_181_314), (VoxResNet, 1, 1_788_056), (UNet3D, 1, 19_073_730)],
)
def test_parameters_are_those_of_the_specification(network, channels, trainable):
    model = network((None, None, None, channels), 2)
    assert sum(math.prod(weight.shape) for weight in model.trainable_weights) == trainable
    keras.backend.clear_session()


def test_vnet_sees_551_voxels_as_its_paper_says():
    assert describe(VNet((16, 16, 16, 1), 1, width=0.125)).receptive_field == 551


def test_auxiliary_heads_learn_in_fit_and_keep_out_of_predict_and_evaluate():
    keras.utils.set_random_seed(3)
    model = VoxResNet((16, 16, 16, 1), 1, width=0.125, deep_supervision=True)
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    image = np.random.default_rng(0).normal(size=(1, 16, 16, 16, 1)).astype("float32")
    mask = (image > 0).astype("float32")
    history = model.fit(image, mask, verbose=0, validation_data=(image, mask)).history
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert model.predict(image, verbose=0).shape == mask.shape
    # Five losses of about log 2 in training, one in evaluation.
    assert history["loss"][0] > 2.5 * history["val_loss"][0]
