"""What `describe` says, against the specification and against what a network really does."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mcc_keras.errors import UsageError
from mcc_keras.models import DenseVNet, ResidualUNet, UNet3D, VNet, VoxResNet, describe

# The coarsest grid of these networks has one voxel for 8 of the input.
COARSEST = 8
SMALL = {"depths": (1, 1, 1), "width": 0.25}


@pytest.mark.parametrize(
    ("side", "giga", "gibibytes"), [(64, 2.5, 0.09), (96, 8.4, 0.29), (128, 20.0, 0.68), (144, 28.5, 0.98)]
)
def test_cost_and_memory_are_those_of_the_specification(side, giga, gibibytes):
    found = describe(DenseVNet((side, side, side, 1), 2), batch_size=3)
    assert found.multiply_adds / 1e9 == pytest.approx(giga, abs=0.05)
    assert found.activation_bytes / 3 / 2**30 == pytest.approx(gibibytes, abs=0.01)


def test_figures_of_one_convolution_are_those_by_hand():
    image = keras.Input((8, 8, 8, 2))
    found = describe(keras.Model(image, keras.layers.Conv3D(3, 5, strides=2, padding="same")(image)))
    assert found.parameters == found.trainable_parameters == 5**3 * 2 * 3 + 3
    assert found.multiply_adds == 4**3 * 5**3 * 2 * 3
    assert found.activation_bytes == 4 * (8**3 * 2 + 4**3 * 3)
    assert found.receptive_field == 5


def test_vnet_sees_551_voxels_as_in_its_paper():
    assert describe(VNet((16, 16, 16, 1), 1, width=0.125)).receptive_field == 551


@pytest.mark.parametrize(
    ("builder", "keywords", "side"),
    [
        (DenseVNet, SMALL, 128),
        (DenseVNet, {**SMALL, "dilation_rates": (2, 1, 3)}, 192),
        (UNet3D, {"width": 0.03}, 144),
        (VoxResNet, {"width": 0.06}, 192),
        (ResidualUNet, {"width": 0.06}, 192),
    ],
)
def test_the_receptive_field_is_what_gradients_reach(builder, keywords, side):
    model = builder((side, 8, 8, 1), 1, activation=None, **keywords)
    reached = reach(model, side)
    assert max(reached) < side, "the volume is long enough to see both ends"
    assert abs(describe(model).receptive_field - max(reached)) < COARSEST


def reach(model, side):
    """Return how far along x the gradient of a voxel extends, for one voxel at each place of the coarsest grid."""
    # Positive weights and no offsets: no ReLU cuts a way off, and no two ways cancel.
    for weight in model.weights:
        weight.assign(0 * weight if weight.path.endswith(("beta", "bias", "mean")) else abs(weight.value) + 1e-3)
    x = tf.ones((1, side, 8, 8, 1))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        output = model(x, training=False)
        sums = [tf.reduce_sum(output[0, side // 2 + place]) for place in range(COARSEST)]
    lines = [np.flatnonzero(np.abs(tape.gradient(total, x)).sum((0, 2, 3, 4))) for total in sums]
    return [line[-1] - line[0] + 1 for line in lines]


def test_dilation_widens_the_receptive_field_at_the_same_parameters_and_memory():
    near, far = (describe(DenseVNet((64, 64, 64, 1), 1, dilation_rates=rates)) for rates in ((1, 1, 1), (2, 1, 3)))
    # Five layers at 1/2 gain 2 voxels of 2 each, ten at 1/8 gain 4 voxels of 8 each.
    assert far.receptive_field == near.receptive_field + 5 * 2 * 2 + 10 * 4 * 8
    assert (far.parameters, far.multiply_adds, far.activation_bytes) == (
        near.parameters,
        near.multiply_adds,
        near.activation_bytes,
    )
    assert f"receptive field    {far.receptive_field} voxels per side" in str(far)


def test_open_sides_are_asked_for():
    model = DenseVNet((None, 16, 16, 1), 1, **SMALL)
    with pytest.raises(UsageError, match=r"Received: input_shape=None, model.input_shape=\(None, None, 16, 16, 1\)"):
        describe(model)
    assert describe(model, (24, 16, 16)).input_shape == (24, 16, 16, 1)


@pytest.mark.parametrize("sides", [(16, 16), (16, 16, 0), (16, 16, 1.5), 16, (16, 16, 16, 2)])
def test_sides_out_of_range_are_refused_with_what_was_received(sides):
    with pytest.raises(UsageError) as caught:
        describe(DenseVNet((16, 16, 16, 1), 1, **SMALL), sides)
    assert f"input_shape={sides}" in str(caught.value)


@pytest.mark.parametrize("batch_size", [0, 1.5, None])
def test_a_batch_of_nothing_is_refused(batch_size):
    with pytest.raises(UsageError, match=f"Received: batch_size={batch_size}"):
        describe(DenseVNet((16, 16, 16, 1), 1, **SMALL), batch_size=batch_size)
