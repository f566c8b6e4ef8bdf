import numpy as np
import pytest
import tensorflow as tf

from mcc_keras.augmentation import Augmentation
from mcc_keras.augmentation.kernel import compiled
from mcc_keras.augmentation.presets import NOTHING
from mcc_keras.errors import DataError, UsageError

SPACING = (1.0, 1.5, 2.0)
STILL = {**NOTHING, "flip": (False,) * 3}
SHAPE = (12, 10, 8)
FLIP = {"flip": (True,) * 3}
SPATIAL = [
    FLIP,
    {"rotation_degrees": 40.0},
    {"scaling": 0.5, "scaling_per_axis": False},
    {"shear_degrees": 20.0, "scaling": 0.3},
    {"translation": 0.2, "translation_mm": 1.0},
    {"elastic": 0.1},
    {**FLIP, "rotation_degrees": 40.0, "elastic": 0.05, "mask_interpolation": "linear"},
    {**FLIP, "rotation_degrees": 40.0, "shear_degrees": 10.0, "elastic": 0.03, "interpolation": "cubic"},
]


def volume(shape=(12, 10, 8), channels=1, seed=0):
    return np.random.default_rng(seed).normal(0, 1, (*shape, channels)).astype(np.float32)


def coordinates(shape=SHAPE):
    """An image whose channels say where a voxel was, and a mask whose labels do."""
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return grid.astype(np.float32), np.arange(np.prod(shape), dtype=np.int32).reshape(*shape, 1)


def places(image, mask, shape=SHAPE):
    return image.numpy(), np.stack(np.unravel_index(mask.numpy()[..., 0], shape), -1)


@pytest.mark.parametrize("settings", SPATIAL)
def test_image_and_mask_move_together_within_half_a_voxel(settings):
    policy, moved = Augmentation(**{**STILL, **settings}), False
    for seed in range(4):
        of_image, of_mask = places(*policy((5, seed), *coordinates(), spacing_mm=SPACING))
        if policy.interpolation == "cubic":  # a ramp that ends at the edge overshoots there
            within = ((of_image > 1) & (of_image < np.array(SHAPE) - 2)).all(-1)
            of_image, of_mask = of_image[within], of_mask[within]
        assert np.abs(of_image - of_mask).max() <= 0.5 + 1e-3
        moved |= not np.array_equal(of_mask, np.moveaxis(np.indices(SHAPE), 0, -1))
    assert moved


@pytest.mark.parametrize("settings", [{}, *SPATIAL[-2:]])
def test_a_patch_is_the_patch_of_the_whole_changed_volume(settings):
    policy, (image, mask), size = Augmentation(**{**STILL, **settings}), coordinates(), (4, 5, 6)
    for seed in range(3):
        whole, whole_mask = policy((5, seed), image, mask, spacing_mm=SPACING)
        center = np.random.default_rng(seed).uniform(0, SHAPE)
        patch, patch_mask = policy((5, seed), image, mask, spacing_mm=SPACING, patch_size=size, center=center)
        windows = np.lib.stride_tricks.sliding_window_view(whole_mask.numpy()[..., 0], size)
        corners = np.argwhere((windows == patch_mask.numpy()[..., 0]).all((3, 4, 5)))
        assert len(corners) >= 1
        x, y, z = corners[0]
        assert np.allclose(patch, whole[x : x + 4, y : y + 5, z : z + 6], atol=1e-4)


@pytest.mark.parametrize("settings", [{}, FLIP, SPATIAL[-2]])
def test_a_patch_follows_its_center_to_where_the_changes_move_it(settings):
    policy, shape, size = Augmentation(**{**STILL, **settings}), (24, 24, 24), (5, 5, 5)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    labels, off = np.arange(24**3, dtype=np.int32).reshape(*shape, 1), []
    for seed in range(8):
        voxel = np.random.default_rng(seed).integers(8, 16, 3)
        moved = policy((6, seed), grid.astype(np.float32), labels, spacing_mm=SPACING, patch_size=size, center=voxel)
        middle = np.array(np.unravel_index(moved[1].numpy()[2, 2, 2, 0], shape))
        off.append(np.abs(middle - voxel).max())
    assert max(off) <= (0 if settings in ({}, FLIP) else 2)


def test_a_patch_sees_what_turns_into_it():
    policy = Augmentation(**{**STILL, "rotation_degrees": 180.0})
    image, mask = coordinates((16, 16, 16))
    size = (4, 5, 6)
    moved = policy((1, 2), image, mask, spacing_mm=(1.0, 1.0, 1.0), patch_size=size)
    of_image, of_mask = places(*moved, shape=(16, 16, 16))
    assert of_image.shape == (*size, 3)
    assert np.abs(of_image - of_mask).max() <= 0.5 + 1e-3
    corner = np.array([6, 5, 5])  # of the box in the middle
    from_middle = np.linalg.norm(np.moveaxis(np.indices(size), 0, -1) + corner - 7.5, axis=-1)
    assert np.allclose(np.linalg.norm(of_image - 7.5, axis=-1), from_middle, atol=1e-3)
    assert ((of_image < corner - 0.5) | (of_image > corner + size)).any()


def test_a_patch_without_changes_is_cut_out_bit_for_bit():
    image, mask = volume(channels=2), coordinates()[1]
    found = Augmentation(**STILL)((1, 2), image, mask, spacing_mm=SPACING, patch_size=(4, 3, 2), center=(7, 7, 4))
    assert np.array_equal(found[0], image[5:9, 6:9, 3:5])
    assert np.array_equal(found[1], mask[5:9, 6:9, 3:5])


def test_a_patch_of_what_lies_at_the_edge_stays_in_the_volume():
    image, mask = coordinates()
    found = Augmentation(**STILL)((1, 2), image, mask, spacing_mm=SPACING, patch_size=(4, 3, 2), center=(0, 9, 8))
    assert np.array_equal(found[0], image[:4, 7:, 6:])


@pytest.mark.parametrize("size", [(13, 3, 2), (4, 3), (0, 3, 2)])
def test_a_patch_beyond_the_volume_is_refused(size):
    with pytest.raises(UsageError, match="patch_size"):
        Augmentation(**STILL)((1, 2), *coordinates(), spacing_mm=SPACING, patch_size=size)


def test_a_policy_that_allows_nothing_is_the_identity_bit_for_bit_and_costs_nothing():
    image, mask = coordinates()
    never = {"noise": 0.3, "rotation_degrees": 20.0, "elastic": 0.02}
    policy = Augmentation(**{**STILL, **never}, probability=dict.fromkeys(never, 0))
    same, same_mask = policy((1, 2), image, mask, spacing_mm=SPACING)
    assert np.array_equal(same, image)
    assert np.array_equal(same_mask, mask)
    arguments = map(tf.convert_to_tensor, ([1, 2], image, mask, SPACING, (0.0, 0.0, 0.0)))
    graph = compiled(policy, SHAPE).get_concrete_function(*arguments).graph
    dear = {"GatherV2", "Einsum", "StatelessRandomNormalV2", "StatelessRandomUniformV2"}
    assert dear.isdisjoint(operation.type for operation in graph.get_operations())


def test_a_policy_is_compiled_once_a_shape_whatever_the_seed():
    image, mask = coordinates((4, 4, 4))
    for seed in range(3):
        Augmentation(**{**STILL, "brightness": 0.1234})((1, seed), image, mask, spacing_mm=SPACING)
    kernel = compiled(Augmentation(**{**STILL, "brightness": 0.1234}), (4, 4, 4))
    assert kernel.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("settings", [{"brightness": 0.1}, {**FLIP, "rotation_degrees": 10.0, "elastic": 0.02}])
def test_a_patch_elsewhere_needs_no_other_kernel(settings):
    arguments = map(tf.convert_to_tensor, ([1, 2], *coordinates(), SPACING, (5.0, 5.0, 5.0)))
    kernel = compiled(Augmentation(**{**STILL, **settings}), (3, 3, 3))
    graph = kernel.get_concrete_function(*arguments).graph.as_graph_def()
    nodes = [graph.node, *(function.node_def for function in graph.library.function)]
    assert "Slice" not in {node.op for each in nodes for node in each}  # XLA would compile one for every place


def test_the_same_seed_draws_the_same_and_another_seed_something_else():
    (image, mask), policy = coordinates(), Augmentation()
    first, again, other = (policy(seed, image, mask, spacing_mm=SPACING)[0] for seed in [(1, 2), (1, 2), (1, 3)])
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


def test_a_change_happens_as_often_as_its_probability_says():
    image, mask = coordinates((4, 4, 4))
    chances = {"brightness": 0.25, "translation": 0.5}
    policy = Augmentation(**{**STILL, "brightness": 0.5, "translation": 0.3}, probability=chances)
    shifted, changed = 0, 0
    for seed in range(200):
        found, labels = (tensor.numpy() for tensor in policy((3, seed), image, mask, spacing_mm=SPACING))
        shifted += not np.array_equal(labels, mask)
        changed += not np.array_equal(found, image)
    assert 70 < shifted < 125  # a shift of less than half a voxel leaves the mask
    assert 100 < changed < 150  # 1 - 0.75 · 0.5 of 200 is 125


def test_flipping_left_and_right_swaps_the_labels_of_a_pair():
    mask = np.zeros((6, 4, 4, 1), np.uint8)
    mask[0], mask[1], mask[5] = 1, 3, 2
    policy, seen = Augmentation(**{**NOTHING, "flip": (True, True, False), "swap_labels": ((1, 2),)}), set()
    for seed in range(12):
        image, found = policy((2, seed), mask.astype(np.float32), mask, spacing_mm=SPACING)
        flipped = image.numpy()[1, 0, 0, 0] != 3
        expected = np.array([1, 0, 0, 0, 3, 2] if flipped else [1, 3, 0, 0, 0, 2])
        assert np.array_equal(found.numpy()[:, 0, 0, 0], expected)
        seen.add(flipped)
    assert seen == {True, False}
    assert policy.flip_axes == (1,)


def test_what_comes_from_outside_is_the_background_and_no_label():
    image = volume((8, 8, 8)) + 10
    image[[0, -1]] = image[:, [0, -1]] = image[:, :, [0, -1]] = 4.25
    policy = Augmentation(**{**STILL, "translation": 0.9, "padding": "background"})
    found, mask = policy((1, 4), image, np.ones((8, 8, 8, 1), np.uint8), spacing_mm=SPACING)
    assert (found.numpy()[mask.numpy() == 0] == 4.25).all()
    assert 0 < np.mean(mask == 0) < 1


@pytest.mark.parametrize(
    "settings",
    [
        {"flip": (True,)},
        {"flip": (2, 0, 0)},
        {"rotation_degrees": -1},
        {"rotation_degrees": 181},
        {"rotation_degrees": "10"},
        {"scaling": 5},
        {"scaling": float("nan")},
        {"scaling_per_axis": 1},
        {"shear_degrees": 60},
        {"elastic": 0.5},
        {"noise": True},
        {"histogram_shift": 0.6},
        {"low_resolution_axis": 3},
        {"interpolation": "nearest"},
        {"mask_interpolation": "cubic"},
        {"padding": "reflect"},
        {"padding": None},
        {"swap_labels": (1, 2)},
        {"swap_labels": ((1, 1),)},
        {"swap_labels": ((0, 2),)},
        {"probability": {"noise": 1.5}},
        {"probability": {"flips": 0.5}},
        {"probability": 0.5},
    ],
)
def test_settings_out_of_range_are_refused_with_what_is_allowed(settings):
    with pytest.raises(UsageError, match=next(iter(settings))) as caught:
        Augmentation(**settings)
    assert "must" in str(caught.value)
    assert "Received" in str(caught.value)


@pytest.mark.parametrize("shape", [(12, 10, 7, 1), (12, 10, 8), (1, 12, 10, 8, 1)])
def test_a_mask_of_another_shape_is_refused_with_both_shapes(shape):
    with pytest.raises(UsageError, match=r"\(12, 10, 8, 1\).*mask.shape") as caught:
        Augmentation()((1, 2), volume(), np.zeros(shape, np.uint8), spacing_mm=SPACING)
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "JSON"),
        ("[]", "schema"),
        ('{"noise": 0.1}', "schema"),
        ('{"schema": 2}', "schema 1, found 2"),
        ('{"schema": 1, "nois": 0.1}', "nois"),
        ('{"schema": 1, "noise": -1}', "noise=-1"),
    ],
)
def test_other_settings_are_refused_and_the_file_is_named(text, problem):
    with pytest.raises(DataError, match=problem) as caught:
        Augmentation.from_json(text, path="policy.json")
    assert str(caught.value).startswith("policy.json")
