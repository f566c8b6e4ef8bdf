import subprocess
import sys

import pytest

from mcc_keras import models
from mcc_keras.errors import UsageError
from mcc_keras.models import MODELS, get_model

FUNCTIONS = {
    "dense_vnet": "DenseVNet",
    "vnet": "VNet",
    "voxresnet": "VoxResNet",
    "unet3d": "UNet3D",
    "residual_unet": "ResidualUNet",
}


def test_the_names_are_those_of_the_networks():
    assert {name: path.rpartition(":")[2] for name, (path, _) in MODELS.items()} == FUNCTIONS


@pytest.mark.parametrize("name", MODELS)
def test_every_name_builds_its_network_with_the_arguments_given(name):
    model = get_model(name, (16, 16, 16, 2), 3, width=0.0625, activation=None)
    same = getattr(models, FUNCTIONS[name])((16, 16, 16, 2), 3, width=0.0625, activation=None)
    assert model.name == name
    assert model.get_config() == same.get_config()


def test_an_unknown_name_is_answered_with_the_names_there_are():
    with pytest.raises(UsageError, match="dense_vnet, residual_unet, unet3d, vnet, voxresnet.*name='resnet'"):
        get_model("resnet", (16, 16, 16, 1))


def test_an_argument_that_no_network_takes_is_refused():
    with pytest.raises(TypeError, match="widht"):
        get_model("vnet", (16, 16, 16, 1), widht=2)


def test_the_registry_needs_no_keras():
    code = "import sys, mcc_keras.models; sys.exit('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
