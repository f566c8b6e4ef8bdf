import inspect
import subprocess
import sys

import pytest

from mcc_keras.errors import UsageError
from mcc_keras.losses import LOSSES, get_loss


@pytest.mark.parametrize("name", LOSSES)
def test_every_name_builds_its_class_with_its_arguments(name):
    path, arguments = LOSSES[name]
    loss = get_loss(name)
    assert f"{type(loss).__module__}:{type(loss).__name__}" == path
    assert all(loss.get_config()[key] == value for key, value in arguments.items() if key != "parts")


@pytest.mark.parametrize("name", LOSSES)
def test_the_signature_lists_every_argument_and_no_others_are_taken(name):
    signature = inspect.signature(type(get_loss(name)))
    common = {
        "from_logits",
        "pool",
        "class_weights",
        "include_background",
        "ignore_class",
        "reduction",
        "name",
        "dtype",
    }
    assert common <= set(signature.parameters)
    assert all(parameter.kind is not parameter.VAR_KEYWORD for parameter in signature.parameters.values())
    with pytest.raises(TypeError, match="class_weight'"):
        get_loss(name, class_weight=[1, 2])


def test_an_unknown_name_is_answered_with_the_names_there_are():
    with pytest.raises(UsageError, match="cross_entropy.*dice.*mcc.*name='mmc'"):
        get_loss("mmc")


def test_the_registry_needs_no_keras():
    code = "import sys, mcc_keras.losses, mcc_keras.metrics; sys.exit('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
