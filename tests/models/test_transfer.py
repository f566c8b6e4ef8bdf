"""Weights of one network in another: what fits is copied, the rest is listed."""

import keras
import numpy as np
import pytest

from mcc_keras.errors import DataError, UsageError
from mcc_keras.models import DenseVNet, ResidualUNet, UNet3D, VNet, VoxResNet, transfer_weights

# The pooled image is a part of what the first block hands on, and of what the classifier sees.
DENSE_VNET = {"input_norm", "initial_conv", "block1", "skip1_conv", "down1_conv", "final_conv"}
# (builder, keywords that make it thin, side, layers whose weights see the image itself)
NETWORKS = {
    "dense_vnet": (DenseVNet, {"depths": (1, 1, 1)}, 8, DENSE_VNET),
    "vnet": (VNet, {"width": 0.0625}, 16, {"left1_layer1_conv"}),
    "voxresnet": (VoxResNet, {"width": 0.125}, 8, {"conv1"}),
    "unet3d": (UNet3D, {"width": 0.03}, 8, {"left1_layer1_conv"}),
    "residual_unet": (ResidualUNet, {"width": 0.125}, 8, {"left1_layer1_conv", "left1_shortcut"}),
}
CLASSIFIERS = {
    "voxresnet": {f"head{number}_conv" for number in range(1, 5)},
    "residual_unet": {"up1_conv", "up1_norm", "final_conv"},
}


@pytest.fixture(params=NETWORKS)
def network(request):
    keras.utils.set_random_seed(7)
    return NETWORKS[request.param]


def build(network, *, channels=1, classes=1):
    builder, thin, side, _ = network
    return builder((side, side, side, channels), classes, **thin)


def layers(paths):
    return {path.split("/")[0] for path in paths}


def check(transfer, source, target):
    """Check that every weight of the target is listed once, and that the copied ones are equal."""
    assert sorted([*transfer.copied, *transfer.left]) == sorted(weight.path for weight in target.weights)
    values = {weight.path: np.asarray(weight.value) for weight in source.weights}
    for weight in target.weights:
        if weight.path in transfer.copied:
            np.testing.assert_array_equal(weight.value, values[weight.path])


def test_another_number_of_classes_leaves_the_classifier_alone(network):
    source, target = build(network), build(network, classes=3)
    transfer = transfer_weights(source, target)
    check(transfer, source, target)
    assert layers(transfer.left) == CLASSIFIERS.get(target.name, {"final_conv"})


def test_another_number_of_channels_leaves_what_sees_the_image(network):
    source, target = build(network), build(network, channels=4)
    transfer = transfer_weights(source, target)
    check(transfer, source, target)
    assert layers(transfer.left) == network[3]
    assert f"left {len(transfer.left)}" in str(transfer)
    assert all(f"  {path}: shape" in str(transfer) for path in transfer.left)


def test_a_file_gives_the_same_as_its_model(tmp_path):
    network = NETWORKS["unet3d"]
    source, target = build(network), build(network, classes=2)
    source.save(tmp_path / "source.keras")
    transfer = transfer_weights(tmp_path / "source.keras", target)
    check(transfer, source, target)
    assert transfer == transfer_weights(source, build(network, classes=2))


def test_a_file_that_is_missing_or_no_model_is_named(tmp_path):
    target = build(NETWORKS["unet3d"])
    with pytest.raises(DataError, match=r"missing\.keras: expected a `\.keras` file, found none"):
        transfer_weights(tmp_path / "missing.keras", target)
    (tmp_path / "other.keras").write_text("no model")
    with pytest.raises(DataError, match=r"other\.keras: expected a Keras model, found"):
        transfer_weights(str(tmp_path / "other.keras"), target)


def test_a_network_of_which_nothing_fits_is_refused_and_changes_nothing():
    source, target = build(NETWORKS["vnet"]), build(NETWORKS["dense_vnet"])
    before = target.get_weights()
    with pytest.raises(UsageError, match="Received: source='vnet', model='dense_vnet'"):
        transfer_weights(source, target)
    for weight, value in zip(target.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_a_file_that_brings_code_is_refused(tmp_path):
    code = keras.layers.Lambda(lambda x: x, output_shape=(2,))
    keras.Sequential([keras.Input((2,)), code]).save(tmp_path / "model.keras")
    target = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with pytest.raises(DataError, match=r"model\.keras"):
        transfer_weights(tmp_path / "model.keras", target)
