"""Invalid arguments are refused by every network in the same words: the rule, and what was received."""

import pytest

from mcc_keras.errors import UsageError
from mcc_keras.models import DenseVNet, ResidualUNet, UNet3D, VNet, VoxResNet

NAN = float("nan")
SHAPES = [(16, 16, 1), (16, 16, 16, 0), (16, 16, 16, 1.5), (16, 16, 16, None), (0, 16, 16, 1), (True, 16, 16, 1), 16]
# What all networks take.
SHARED = {
    "input_shape": [*SHAPES, (1, 16, 16, 16, 1), None, "16"],
    "num_classes": [0, -1, 1.5, None, True, "2"],
    "activation": ["no such", 7],
    "normalization": ["no such", 1],
    "width": [0, -1, NAN, float("inf"), None, "2"],
    "foreground_fraction": [0, 1, NAN, "0.5"],
}
RATES = [1, -0.1, NAN, None, "0.5"]
COUNTS = [(0, 1, 1), (1, 1.5, 1), (1,), (1, 2, 3, 4, 5, 6), 3, None]
OWN = {
    DenseVNet: {
        "initial_channels": [0, 1.5],
        "depths": COUNTS,
        "growth_rates": COUNTS,
        "skip_channels": COUNTS,
        "dilation_rates": COUNTS,
        "dropout": RATES,
        "prior_size": [0, -1, 1.5],
    },
    VNet: {"channels": COUNTS, "dropout": RATES},
    VoxResNet: {
        "channels": COUNTS,
        "head_channels": [0, 1.5],
        "auxiliary_weights": [(1, 1, 1), (1, 1, 1, -1), (1, 1, 1, NAN), 1, None],
    },
    UNet3D: {"channels": COUNTS},
    ResidualUNet: {"channels": COUNTS},
}
BAD = [
    pytest.param(network, name, value, id=f"{network.__name__}-{name}-{value}")
    for network, own in OWN.items()
    for name, values in {**SHARED, **own}.items()
    for value in values
]


@pytest.mark.parametrize(("network", "name", "value"), BAD)
def test_values_out_of_range_are_refused_with_the_rule_and_what_was_received(network, name, value):
    with pytest.raises(UsageError) as caught:
        network(**{"input_shape": (16, 16, 16, 1), "num_classes": 1, name: value})
    message = str(caught.value)
    assert message.startswith(f"`{name}` must ")
    assert message.endswith(f"Received: {name}={value!r}")


def test_vnet_alone_takes_no_normalization_at_all():
    assert VNet((16, 16, 16, 1), width=0.0625, normalization=None).output is not None
    for network in (DenseVNet, VoxResNet, UNet3D, ResidualUNet):
        with pytest.raises(UsageError, match="Received: normalization=None"):
            network((16, 16, 16, 1), normalization=None)
