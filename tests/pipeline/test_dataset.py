import hashlib
import json
import os
import subprocess
import sys

import keras
import nibabel
import numpy as np
import pytest
import tensorflow as tf

from mcc_keras.augmentation import Augmentation
from mcc_keras.augmentation.presets import NOTHING
from mcc_keras.datasets import find_cases
from mcc_keras.errors import UsageError
from mcc_keras.pipeline.dataset import load_dataset
from mcc_keras.pipeline.patches import Patches
from mcc_keras.pipeline.throughput import watch
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.records.manifest import read_manifest
from mcc_keras.records.write import write_tfrecords

PATCHES = {"batch_size": 3, "patches": Patches(size=(6, 6, 4), per_volume=2), "augment": True, "seed": 5}
THREE = 3 * 64**3 * 5  # bytes of three volumes, which are read before the second is asked for only by running ahead
# The pipeline in another process; then, with deterministic kernels, the bytes of six volumes that are read before the
# second of them is asked for, on a system that counts them.
ELSEWHERE = f"""
import hashlib, json, sys, time
from pathlib import Path
import tensorflow as tf
from mcc_keras.pipeline.dataset import Patches
from mcc_keras.pipeline.dataset import load_dataset

def bytes_read():
    counts = Path("/proc/self/io")
    return int(counts.read_text().split()[1]) if counts.is_file() else None

digest = hashlib.sha256()
for image, mask in load_dataset(sys.argv[1], "train", **{PATCHES}):
    digest.update(image.numpy().tobytes() + mask.numpy().tobytes())
tf.config.experimental.enable_op_determinism()
batches = iter(load_dataset(sys.argv[2], "train", augment=True))
before, ahead, end = bytes_read(), None, time.monotonic() + 60
next(batches)
while before is not None and time.monotonic() < end and (ahead or 0) < int(sys.argv[3]):
    time.sleep(0.05)
    ahead = bytes_read() - before
print(json.dumps([digest.hexdigest(), ahead]))
"""
FIT_ON_JAX = """
import sys
import keras
from mcc_keras.pipeline.dataset import load_dataset
model = keras.Sequential([keras.Input((8, 8, 8, 1)), keras.layers.Conv3D(1, 1, activation="sigmoid")])
model.compile("sgd", loss="binary_crossentropy")
data = load_dataset(sys.argv[1], "train", batch_size=2, augment=True)
history = model.fit(data, epochs=2, verbose=0, shuffle=False)
assert int(data.epoch) >= 2  # Keras on JAX begins a pass more, to build the model from its first batch
print(keras.backend.backend(), len(history.history["loss"]))
"""
BOX = Preprocessing(size=8)


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    from mcc_keras.datasets import write_synthetic

    folder = tmp_path_factory.mktemp("several") / "scans"
    return find_cases(write_synthetic(folder, num_cases=4, size=(16, 16, 8), layout="decathlon", num_labels=2))


@pytest.fixture(scope="module")
def work_of_several(several, tmp_path_factory):
    work = tmp_path_factory.mktemp("several") / "work"
    write_tfrecords(several, work, preprocessing=BOX, split=(0.5, 0.5, 0), workers=1, accept_loss=True)
    return work


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


@pytest.fixture(scope="module")
def elsewhere(work, tmp_path_factory):
    from mcc_keras.datasets import write_synthetic

    folder = tmp_path_factory.mktemp("elsewhere")
    source = write_synthetic(folder / "scans", num_cases=6, size=(16, 16, 16), layout="pairs")
    large = folder / "work"
    write_tfrecords(find_cases(source), large, preprocessing=Preprocessing(size=64), split=(1, 0, 0), workers=1)
    command = [sys.executable, "-c", ELSEWHERE, str(work), str(large), str(THREE)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def find(patch, volumes):
    """The (volume, corner) from which a patch was cut."""
    for case, volume in enumerate(volumes):
        windows = np.lib.stride_tricks.sliding_window_view(volume[..., 0], patch.shape[:3])
        places = np.argwhere((windows == patch[..., 0]).all(axis=(3, 4, 5)))
        if len(places):
            return case, tuple(places[0])
    raise AssertionError("the patch comes from no volume")


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


def test_epochs_differ_and_a_rerun_repeats_them(work):
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


def test_another_process_draws_the_same(work, elsewhere):
    digest = hashlib.sha256()
    for image, mask in load_dataset(work, "train", **PATCHES):
        digest.update(image.numpy().tobytes() + mask.numpy().tobytes())
    assert elsewhere[0] == digest.hexdigest()


def test_one_parallel_call_and_eight_draw_the_same(work):
    first, other = (one_pass(load_dataset(work, "train", **PATCHES, num_parallel_calls=calls)) for calls in (1, 8))
    assert all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_no_parallel_map_may_hand_on_what_is_ready_first(work):
    # Which case is ready first depends on the machine, so the graph itself is read.
    dataset = load_dataset(work, "train", **PATCHES)
    graph = tf.raw_ops.DatasetToGraphV2(input_dataset=dataset._variant_tensor, external_state_policy=1)
    library = tf.compat.v1.GraphDef.FromString(graph.numpy()).library
    nodes = [node for function in library.function for node in function.node_def if "Parallel" in node.op]
    cut_and_change = [("ParallelMapDatasetV2", b"true")] * 2
    assert [(node.op, node.attr["deterministic"].s) for node in nodes] == cut_and_change
    assert dataset.options().deterministic is not False


def test_a_resume_in_the_middle_of_an_epoch_goes_on_with_the_same_batches(work):
    dataset = load_dataset(work, "train", **PATCHES)
    one_pass(dataset)
    second = one_pass(dataset)[0]
    resumed = load_dataset(work, "train", **PATCHES)
    resumed.epoch.assign(1)
    assert np.array_equal(one_pass(resumed.skip(2))[0], second[6:])
    assert np.array_equal(one_pass(resumed)[0], one_pass(dataset)[0])


def test_a_global_seed_makes_random_ops_repeat_every_epoch_and_ours_do_not_listen_to_it(work):
    tf.random.set_seed(1)
    trap = tf.data.Dataset.range(3).map(lambda _: tf.random.uniform((), seed=2))
    assert list(trap.as_numpy_iterator()) == list(trap.as_numpy_iterator())  # what would happen
    first = load_dataset(work, "train", augment=True, seed=5, shuffle=False)
    passes = [one_pass(first)[0] for _ in range(2)]
    assert not np.allclose(*passes)
    tf.random.set_seed(2)
    assert np.array_equal(one_pass(load_dataset(work, "train", augment=True, seed=5, shuffle=False))[0], passes[0])


def test_deterministic_kernels_leave_it_running_ahead(elsewhere):
    _, ahead = elsewhere
    if ahead is None:
        pytest.skip("this system does not count the bytes that a process reads")
    assert ahead >= THREE


def test_batches_of_patches_mix_volumes_and_the_patches_of_one_differ(work):
    settings = {"patches": Patches(size=4, per_volume=3, foreground_fraction=0.0), "shuffle": False}
    whole = one_pass(load_dataset(work, "train"))[0]
    dataset = load_dataset(work, "train", batch_size=2, **settings)
    batches = [image.numpy() for image, _ in dataset]
    assert len(dataset) == len(batches) == -(-7 * 3 // 2)
    assert [image.shape for image in batches] == [(2, 4, 4, 4, 1)] * 10 + [(1, 4, 4, 4, 1)]
    sources = [[find(patch, whole) for patch in image] for image in batches[:3]]
    assert all(len({case for case, _ in batch}) == 2 for batch in sources)
    first = sources[0][0][0]
    assert len({corner for batch in sources for case, corner in batch if case == first}) == 3


def test_patches_around_foreground_hold_it_after_augmentation_too(work):
    turned = Augmentation(flip=(True, True, True), rotation_degrees=40, translation=0.1, scaling=0.1)
    settings = {"patches": Patches(size=4, foreground_fraction=1.0, per_volume=4), "augment": turned}
    _, masks = one_pass(load_dataset(work, "train", shuffle=False, **settings))
    _, whole = one_pass(load_dataset(work, "train", shuffle=False))
    held, there = masks.any(axis=(1, 2, 3, 4)), whole.any(axis=(1, 2, 3, 4))
    assert 4 <= there.sum() <= 6
    assert held.reshape(7, 4)[there].mean() > 0.9  # of the smallest structures no voxel may be read


def test_each_patch_of_a_volume_is_augmented_by_itself(work):
    brighter = Augmentation(**{**NOTHING, "flip": (False,) * 3, "brightness": 1.0})
    settings = {"patches": Patches(size=8, per_volume=3), "shuffle": False, "augment": brighter}
    images, _ = one_pass(load_dataset(work, "train", batch_size=7, **settings))
    plain, _ = one_pass(load_dataset(work, "train", batch_size=7, shuffle=False))
    steps = [images[number::7][:3] - plain[number] for number in range(7)]
    assert all(np.ptp(step, axis=(1, 2, 3, 4)).max() < 1e-5 for step in steps)
    assert all(len({round(float(one.mean()), 4) for one in step}) == 3 for step in steps)


def test_a_patch_larger_than_the_volume_is_padded_with_a_warning(work):
    with pytest.warns(UserWarning, match=r"patch of \(8, 8, 12\)"):
        dataset = load_dataset(work, "validation", patches=Patches(size=(8, 8, 12)))
    whole, padded = one_pass(load_dataset(work, "validation"))[0], one_pass(dataset)[0]
    assert np.array_equal(padded[:, :, :, 2:10], whole)
    assert (padded[:, :, :, :2] == whole.min(axis=(1, 2, 3, 4), keepdims=True)).all()


def test_an_epoch_may_have_a_length_of_its_own_and_leave_out_the_rest(work):
    dataset = load_dataset(work, "train", batch_size=3, cases_per_epoch=10, drop_remainder=True)
    assert [image.shape[0] for image, _ in dataset] == [3, 3, 3]
    assert len(dataset) == 3
    assert dataset.element_spec[0].shape[0] == 3


def test_a_case_that_comes_twice_in_an_epoch_is_augmented_differently_each_time(work):
    images, _ = one_pass(load_dataset(work, "train", cases_per_epoch=14, shuffle=False, augment=True))
    assert not np.allclose(images[:7], images[7:])


def test_groups_of_cases_come_equally_often(work):
    ids = [case.case_id for case in read_manifest(work).cases("train")]
    balance = {case_id: case_id == ids[0] for case_id in ids}
    first = one_pass(load_dataset(work, "train", shuffle=False))[0][0]
    images, _ = one_pass(load_dataset(work, "train", balance=balance, cases_per_epoch=100))
    share = np.mean([np.array_equal(image, first) for image in images])
    assert share == pytest.approx(0.5, abs=0.175)  # 100 draws: 3.5 standard errors


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_copy_in_memory_or_on_disk_gives_the_same_batches(tmp_path, several, compression):
    work = tmp_path / "work"
    write_tfrecords(several, work, preprocessing=BOX, workers=1, accept_loss=True, compression=compression)
    plain = one_pass(load_dataset(work, "train", augment=True))
    for cache in ("memory", "disk", "auto"):
        cached = load_dataset(work, "train", augment=True, cache=cache)
        assert all(np.array_equal(a, b) for a, b in zip(plain, one_pass(cached), strict=True))
    kept = load_dataset(work, "train", cache="memory")
    for path in work.rglob("*.tfrecord"):
        path.unlink()
    assert one_pass(kept)[0].shape == plain[0].shape


def test_masks_are_integer_classes_for_several(several, work_of_several):
    _, mask = one_pass(load_dataset(work_of_several, "train"))
    assert (read_manifest(work_of_several).task.num_classes, mask.dtype) == (3, np.int32)


def test_voxels_of_the_class_to_ignore_weigh_nothing(work_of_several):
    plain = one_pass(load_dataset(work_of_several, "validation"))[1]
    _, masks, weights = next(iter(load_dataset(work_of_several, "validation", batch_size=2, ignore_class=2)))
    assert (plain == 2).any()
    assert np.array_equal(weights, np.where(plain == 2, 0, 1).astype(np.float32))
    assert np.array_equal(masks, np.where(plain == 2, 0, plain).astype(np.float32))
    assert masks.dtype == tf.float32  # one class is left


def test_class_balance_draws_each_class_and_empty_cases_equally_often(tmp_path):
    image = np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32)
    for number, label in enumerate((1, 1, 1, 1, 2, 0)):
        mask = np.zeros((8, 8, 8), np.uint8)
        mask[2:6, 2:6, 2:6] = label
        for array, name in ((image + number, f"c{number}"), (mask, f"c{number}_mask")):
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / f"{name}.nii")
    cases = find_cases(tmp_path, labels=(1, 2))
    write_tfrecords(cases, tmp_path / "work", preprocessing=BOX, split=(1, 0, 0), workers=1)
    _, masks = one_pass(load_dataset(tmp_path / "work", "train", balance="class", cases_per_epoch=150))
    shares = np.bincount(masks.max(axis=(1, 2, 3, 4)), minlength=3) / 150
    assert shares == pytest.approx([1 / 3] * 3, abs=0.135)  # 3.5 standard errors


def test_the_jax_backend_trains_on_it(work):
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    if subprocess.run([sys.executable, "-c", "import jax"], capture_output=True, check=False).returncode:
        pytest.skip(f"no jax beside TensorFlow in {sys.executable}")
    command = [sys.executable, "-c", FIT_ON_JAX, str(work)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.split() == ["jax", "2"], done.stderr[-2000:]


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


BAD = [
    {"part": "dev"},
    {"batch_size": 0},
    {"batch_size": 1.5},
    {"augment": "heavy"},
    {"cases_per_epoch": 0},
    {"num_parallel_calls": -1},
    {"patches": 8},
    {"patches": {"size": 8}},
    {"balance": "site"},
    {"ignore_class": 1},
    {"cache": "ram"},
]


@pytest.mark.parametrize("arguments", BAD)
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


def test_no_thread_tunes_what_is_fixed(work):
    dataset = load_dataset(work, "train", batch_size=2, augment=True)
    assert dataset.options().autotune.enabled is False
    assert watch(dataset)[0].options().autotune.enabled is False


RESUMED = [{}, {"drop_remainder": True}, {"patches": Patches(size=(6, 6, 4), per_volume=2)}]


@pytest.mark.parametrize("settings", RESUMED, ids=["whole", "dropped", "patches"])
def test_the_rest_of_a_pass_is_what_an_undisturbed_one_would_have_given(work, settings):
    dataset = load_dataset(work, "train", batch_size=2, augment="paper", seed=3, **settings)
    passes = [[batch[0].numpy() for batch in dataset] for _ in range(2)]
    for first in range(1, len(passes[1])):
        dataset.epoch.assign(1)
        rest = [batch[0].numpy() for batch in watch(dataset)[0].rest(first)]
        assert len(rest) == len(passes[1]) - first
        assert all(np.array_equal(one, other) for one, other in zip(rest, passes[1][first:], strict=True))


@pytest.mark.parametrize("settings", RESUMED, ids=["whole", "dropped", "patches"])
def test_all_passes_in_one_and_resumed_ones_are_the_passes_one_by_one(work, settings):
    dataset = load_dataset(work, "train", batch_size=2, augment="paper", seed=3, **settings)
    passes = [[batch[0].numpy() for batch in dataset] for _ in range(4)]
    expected = [batch for each in passes[1:] for batch in each][1:]
    dataset.epoch.assign(1)
    endless = watch(dataset)[0].endless(1)
    assert endless.cardinality() < 0
    found = [batch[0].numpy() for batch in endless.take(len(expected))]
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))
    assert dataset.epoch.numpy() == 1
    resumed = dataset.resumed(1)
    found = [batch[0].numpy() for _ in range(3) for batch in resumed]
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("settings", RESUMED, ids=["whole", "dropped", "patches"])
def test_the_cases_in_a_batch_are_known_by_name(work, settings):
    dataset = load_dataset(work, "train", batch_size=2, seed=3, **settings)
    cases = [case.case_id for case in read_manifest(work).cases("train")]
    volumes = [image[0].numpy() for image, _ in load_dataset(work, "train", shuffle=False)]
    for step, (image, _) in enumerate(dataset):
        found = {cases[find(patch, volumes)[0]] for patch in image.numpy()}
        assert set(dataset.cases_of(1, step)) == found
