import subprocess
import sys

import keras
import numpy as np
import pytest

from mcc_keras.augmentation import Augmentation
from mcc_keras.datasets import find_cases
from mcc_keras.errors import UsageError
from mcc_keras.pipeline import load_dataset
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.tfrecords import write_tfrecords

PRINT_DIGEST = """
import hashlib, sys
from mcc_keras.pipeline import load_dataset
digest = hashlib.sha256()
for image, mask in load_dataset(sys.argv[1], "train", batch_size=2, augment=True, seed=5):
    digest.update(image.numpy().tobytes() + mask.numpy().tobytes())
print(digest.hexdigest())
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    from mcc_keras.datasets import write_synthetic

    folder = tmp_path_factory.mktemp("pipeline")
    source = write_synthetic(folder / "scans", num_cases=10, size=(16, 16, 8), layout="pairs", foreground_fraction=0.05)
    write_tfrecords(find_cases(source), folder / "work", preprocessing=Preprocessing(size=8), workers=1)
    return folder / "work"


def one_pass(dataset):
    images, masks = zip(*[(image.numpy(), mask.numpy()) for image, mask in dataset], strict=True)
    return np.concatenate(images), np.concatenate(masks)


def test_batches_have_fixed_shapes_and_the_last_may_be_smaller(work):
    dataset = load_dataset(work, "train", batch_size=2)
    shapes = [(tuple(image.shape), tuple(mask.shape)) for image, mask in dataset]
    assert shapes == [((2, 8, 8, 8, 1),) * 2] * 3 + [((1, 8, 8, 8, 1),) * 2]
    assert len(dataset) == 4
    assert dataset.element_spec[0].shape.as_list() == [None, 8, 8, 8, 1]


def test_every_case_is_seen_once_an_epoch_in_another_order(work):
    dataset = load_dataset(work, "train")
    first, second = one_pass(dataset)[0], one_pass(dataset)[0]
    assert not np.array_equal(first, second)
    assert sorted(first.sum((1, 2, 3, 4))) == pytest.approx(sorted(second.sum((1, 2, 3, 4))))


def test_validation_keeps_its_order(work):
    dataset = load_dataset(work, "validation")
    assert np.array_equal(one_pass(dataset)[0], one_pass(dataset)[0])


def test_epochs_draw_anew_and_a_rerun_draws_the_same(work):
    dataset = load_dataset(work, "train", augment=True, seed=5, shuffle=False)
    first, second = one_pass(dataset), one_pass(dataset)
    assert not np.allclose(first[0][0], second[0][0])
    again = load_dataset(work, "train", augment=True, seed=5, shuffle=False)
    assert all(np.array_equal(a, b) for a, b in zip(first, one_pass(again), strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(second, one_pass(again), strict=True))


def test_setting_the_epoch_goes_on_from_there(work):
    dataset = load_dataset(work, "train", augment=True, seed=5)
    passes = [one_pass(dataset)[0] for _ in range(3)]
    resumed = load_dataset(work, "train", augment=True, seed=5)
    resumed.epoch.assign(2)
    assert np.array_equal(one_pass(resumed)[0], passes[2])


def test_another_seed_draws_something_else(work):
    first, other = (one_pass(load_dataset(work, "train", augment=True, seed=s, shuffle=False))[0] for s in (1, 2))
    assert not np.allclose(first, other)


def test_another_process_draws_the_same(work):
    command = [sys.executable, "-c", PRINT_DIGEST, str(work)]
    first, second = (subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2))
    assert len(first.strip()) == 64
    assert first == second


def test_fit_sees_a_new_epoch_each_time(work):
    seen = []

    class Remember(keras.layers.Layer):
        def call(self, x):
            return keras.ops.mean(x, axis=(1, 2, 3))

    class Spy(keras.Model):
        def __init__(self):
            super().__init__()
            self.mean = Remember()

        def call(self, x):
            return self.mean(x)

        def train_step(self, data):
            seen.append(float(keras.ops.sum(data[0])))
            return {"loss": 0.0}

    dataset = load_dataset(work, "train", batch_size=7, augment=True)
    model = Spy()
    model.compile(run_eagerly=True)
    model.fit(dataset, epochs=3, verbose=0, shuffle=False)
    assert len(seen) == 3
    assert len({round(s, 2) for s in seen}) == 3


def test_masks_are_binary_floats_for_one_class(work):
    _, mask = one_pass(load_dataset(work, "train", augment=True))
    assert mask.dtype == np.float32
    assert set(np.unique(mask)) == {0, 1}


def test_masks_are_integer_classes_for_several(tmp_path):
    from mcc_keras.datasets import write_synthetic

    source = write_synthetic(tmp_path / "scans", num_cases=3, size=(16, 16, 8), layout="decathlon", num_labels=2)
    manifest = write_tfrecords(find_cases(source), tmp_path / "work", preprocessing=Preprocessing(size=8), workers=1)
    _, mask = one_pass(load_dataset(tmp_path / "work", "train"))
    assert (manifest.num_classes, mask.dtype) == (3, np.int32)


@pytest.mark.parametrize("arguments", [{"part": "dev"}, {"batch_size": 0}, {"batch_size": 1.5}, {"augment": "heavy"}])
def test_arguments_that_make_no_sense_are_refused(work, arguments):
    with pytest.raises(UsageError, match=next(iter(arguments))):
        load_dataset(work, **{"part": "train"} | arguments)


def test_an_augmentation_of_ones_own_is_used(work):
    still = Augmentation(
        flip=(False,) * 3, rotation_degrees=0, scaling=0, translation=0, elastic=0, gamma=0, contrast=0, brightness=0,
        bias_field=0, noise=0,
    )  # fmt: skip
    plain = one_pass(load_dataset(work, "validation"))[0]
    assert np.allclose(one_pass(load_dataset(work, "validation", augment=still))[0], plain, atol=1e-4)
