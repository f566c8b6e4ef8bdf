import numpy as np
import pytest
import tensorflow as tf

from mcc_keras.augmentation import PRESETS, Augmentation
from mcc_keras.augmentation.boxed import _aim, _change, change_box, read_around
from mcc_keras.augmentation.draws import split
from mcc_keras.augmentation.kernel import draw_deformation
from mcc_keras.augmentation.presets import NOTHING
from mcc_keras.augmentation.reach import reading_box

PATCH, SPACING = (6, 5, 4), (1.0, 1.5, 2.0)
STILL = {**NOTHING, "flip": (False,) * 3}
MILD = {"rotation_degrees": 12.0, "scaling": 0.1, "translation": 0.2, "flip": (True,) * 3}


@pytest.fixture
def uncompiled():
    """Run functions operation by operation: compiling takes a hundred times as long as these volumes."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def volume(shape, channels=2):
    rng = np.random.default_rng(sum(shape))
    image = tf.constant(rng.normal(size=(*shape, channels)).astype(np.float32))
    return image, tf.constant(rng.integers(0, 4, (*shape, 1)).astype(np.uint8))


def from_box(policy, seed, image, mask, *, center, box_size):
    where = {"spacing_mm": tf.constant(SPACING), "patch_size": PATCH}
    seed = tf.constant(seed)
    box = read_around(policy, seed, image, mask, center=tf.constant(center), box_size=box_size, **where)
    return change_box(policy, seed, box, **where)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"flip": (True,) * 3},
        MILD,
        {**MILD, "elastic": 0.02, "mask_interpolation": "linear"},
        {**MILD, "shear_degrees": 8.0, "interpolation": "cubic", "padding": "background"},
        {**MILD, "padding": -2.5, "noise": 0.2, "bias_field": 0.2},
    ],
)
def test_a_patch_from_its_box_is_the_patch_of_the_whole_volume(settings, uncompiled):
    policy, shape = Augmentation(**{**STILL, **settings}), (40, 36, 32)
    image, mask = volume(shape)
    box_size = reading_box(policy, PATCH, [(shape, SPACING)])
    assert all(n < most for n, most in zip(box_size, shape, strict=True))
    for number in range(6):
        center = np.random.default_rng(number).uniform(0, shape).astype(np.float32)
        whole = policy((3, number), image, mask, spacing_mm=SPACING, patch_size=PATCH, center=center)
        boxed = from_box(policy, (3, number), image, mask, center=center, box_size=box_size)
        assert np.allclose(boxed[0], whole[0], atol=2e-4)
        assert np.mean(boxed[1] == whole[1]) > 0.99  # a point on the border of two voxels may round to either


def test_volumes_of_many_shapes_share_one_kernel():
    policy = Augmentation(**{**STILL, **MILD, "elastic": 0.011})
    shapes = [(40, 36, 32), (24, 20, 16), (6, 5, 4), (13, 60, 9)]
    box_size = reading_box(policy, PATCH, [(shape, SPACING) for shape in shapes])
    for shape in shapes:
        image, mask = volume(shape)
        center = np.array(shape, np.float32) / 2
        whole = policy((3, 1), image, mask, spacing_mm=SPACING, patch_size=PATCH, center=center)
        boxed = from_box(policy, (3, 1), image, mask, center=center, box_size=box_size)
        assert np.allclose(boxed[0], whole[0], atol=2e-4)
    assert _change(policy, PATCH).experimental_get_tracing_count() == 1


def test_without_changes_of_place_a_patch_is_cut_out_bit_for_bit():
    policy, (image, mask) = Augmentation(**STILL), volume((12, 10, 8))
    assert reading_box(policy, PATCH, [((12, 10, 8), SPACING)]) == reading_box(None, PATCH, []) == PATCH
    found = from_box(policy, (1, 2), image, mask, center=(7.0, 7.0, 4.0), box_size=PATCH)
    assert np.array_equal(found[0], image[4:10, 5:10, 2:6])
    assert np.array_equal(found[1], mask[4:10, 5:10, 2:6])


@pytest.mark.parametrize(
    ("policy", "spacing_mm"),
    [
        (PRESETS["default"], (0.8, 0.8, 2.3)),
        (PRESETS["strong"], (0.7, 0.7, 5.0)),
        (Augmentation(**{**STILL, "rotation_degrees": 180.0, "scaling": 1.0, "shear_degrees": 20.0}), (1.0, 1.0, 1.0)),
        (Augmentation(**{**STILL, "elastic": 0.1}), (1.0, 1.0, 1.0)),
    ],
)
def test_the_box_holds_what_any_draw_reads(policy, spacing_mm, uncompiled):
    shape, patch, beyond = (300, 260, 60), (32, 32, 16), 0
    box_size = reading_box(policy, patch, [(shape, spacing_mm)])
    spacing_mm = tf.constant(spacing_mm)

    def corners(seed, center):
        corner, start = _aim(policy, patch, box_size)(seed, tf.constant(shape), spacing_mm, center)
        deformation = draw_deformation(policy, split(seed, 2)[0], shape, spacing_mm)
        points = deformation.points(patch, corner)
        points = tf.clip_by_value(tf.reshape(points, (3, -1)), 0.0, tf.constant(shape, tf.float32)[:, None] - 1)
        points -= tf.cast(start, tf.float32)[:, None]
        return tf.reduce_min(points, 1), tf.reduce_max(points, 1)

    for number in range(40):
        center = np.random.default_rng(number).uniform(0, shape).astype(np.float32)
        low, high = corners(tf.constant((5, number)), tf.constant(center))
        beyond += bool(np.any(low < -1e-3) or np.any(high > np.array(box_size) - 1 + 1e-3))
    assert beyond == 0
