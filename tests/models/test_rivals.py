"""The parameter counts of all networks, against their papers and against the widths in the README."""

import math
import re
from pathlib import Path

import keras
import pytest

from mcc_keras.models import DenseVNet, ResidualUNet, UNet3D, VNet, VoxResNet

README = Path(__file__).parents[2] / "README.md"


def trainable(network, *arguments, **keywords):
    """Count the weights of a network whose weights are never made: a wide V-Net has a gibibyte of them."""
    with keras.StatelessScope(initialize_variables=False):
        count = sum(math.prod(weight.shape) for weight in network(*arguments, **keywords).trainable_weights)
    keras.backend.clear_session()
    return count


@pytest.mark.parametrize(
    ("network", "channels", "classes", "count"),
    [
        (VNet, 1, 2, 65_175_314),
        (VNet, 1, 9, 65_175_545),
        (VNet, 4, 2, 65_181_314),
        (VoxResNet, 1, 2, 1_788_056),
        (UNet3D, 1, 2, 19_073_730),
        (ResidualUNet, 1, 2, 1_187_921),  # as MONAI counts them; test_residual_unet.py compares every weight
    ],
)
def test_parameters_are_those_of_the_specification(network, channels, classes, count):
    assert trainable(network, (None, None, None, channels), classes) == count


@pytest.mark.parametrize("network", [DenseVNet, VNet, VoxResNet, UNet3D, ResidualUNet])
def test_the_readme_lists_the_parameters_of_every_width(network):
    (row,) = re.findall(rf"^\| `{network.__name__}` \|(.*) \|$", README.read_text("utf-8"), re.MULTILINE)
    listed = [int(count.replace(",", "")) for count in row.split("|")[-3:]]
    assert listed == [trainable(network, (None, None, None, 1), 2, width=width) for width in (0.5, 1, 2)]
