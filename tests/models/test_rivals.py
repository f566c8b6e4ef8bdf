"""V-Net, VoxResNet and 3D U-Net against the figures of their papers."""

import math

import keras
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
