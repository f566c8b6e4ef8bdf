import json

import numpy as np
import pytest

from mcc_keras.augmentation import PRESETS, Augmentation
from mcc_keras.augmentation.changes import CHANCES
from mcc_keras.augmentation.presets import augmentation_policy
from mcc_keras.errors import UsageError


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_json(name):
    text = PRESETS[name].to_json()
    assert json.loads(text)["schema"] == 1
    assert Augmentation.from_json(text) == PRESETS[name]
    assert hash(Augmentation.from_json(text)) == hash(PRESETS[name])


def test_the_papers_preset_is_niftynets_demo():
    policy = PRESETS["paper"]
    assert (policy.rotation_degrees, policy.scaling, policy.flip) == (10, 0.1, (True, False, False))
    assert {name for name in CHANCES if policy.chance(name)} == {"rotation_degrees", "scaling"}


def test_augment_is_a_truth_value_a_name_or_a_policy():
    own = Augmentation(noise=0.25)
    assert augmentation_policy(True) == Augmentation() == PRESETS["default"]
    assert augmentation_policy(False) is None
    assert augmentation_policy("strong") == PRESETS["strong"]
    assert augmentation_policy(own) is own


@pytest.mark.parametrize("augment", ["heavy", None, 3, 1.0, {"noise": 1}])
def test_anything_else_is_refused_with_the_names_of_the_presets(augment):
    with pytest.raises(UsageError, match="default, light, paper, strong") as caught:
        augmentation_policy(augment)
    assert repr(augment) in str(caught.value)


def test_the_strong_preset_changes_one_scan_in_many_ways():
    image = np.random.default_rng(0).normal(size=(10, 10, 10, 1)).astype(np.float32)
    mask = (image > 1).astype(np.uint8)
    found = [PRESETS["strong"]((1, seed), image, mask, spacing_mm=(1.0, 1.0, 1.0)) for seed in range(40)]
    assert all(np.isfinite(changed).all() for changed, _ in found)
    assert len({changed.numpy().tobytes() for changed, _ in found}) > 30
