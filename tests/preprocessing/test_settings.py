import itertools
import json

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from mcc_keras.errors import DataError, GeometryError, UsageError
from mcc_keras.preprocessing import Preprocessing, orientation, resampling_matrix
from mcc_keras.volumes import Volume

TURNS = [(axes, signs) for axes in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)]


def affine_of(axes, signs, spacing=(1.0, 1.0, 1.0), oblique_degrees=0.0):
    """Stored axis `axes[i]` runs along direction i."""
    matrix = np.zeros((3, 3))
    for direction, (stored, sign) in enumerate(zip(axes, signs, strict=True)):
        matrix[direction, stored] = sign * spacing[stored]
    c, s = np.cos(np.radians(oblique_degrees)), np.sin(np.radians(oblique_degrees))
    turned = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ matrix
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turned, (-20, 30, 7)
    return affine


def random_image(shape, seed=0, channels=1):
    return np.random.default_rng(seed).normal(100, 30, (*shape, channels)).astype(np.float32)


def to_box(preprocessing, image, affine):
    return preprocessing.apply(image, preprocessing.grid(image, affine))


def mask_to_box(preprocessing, mask, affine, num_labels):
    return preprocessing.apply_mask(mask, preprocessing.grid(mask, affine), num_labels=num_labels)


def to_scan(preprocessing, box, shape, affine):
    return preprocessing.restore(box, preprocessing.grid(np.empty(shape), affine))


@pytest.mark.parametrize(("axes", "signs"), TURNS)
def test_orientation_is_nibabels_closest_canonical(axes, signs):
    affine = affine_of(axes, signs, spacing=(0.5, 2.0, 4.0), oblique_degrees=17)
    found_axes, found_flips = orientation(affine)
    for stored, (direction, sign) in enumerate(nib.io_orientation(affine)):
        assert found_axes[int(direction)] == stored
        assert found_flips[int(direction)] == (sign < 0)


@settings(max_examples=60)
@given(
    turn=st.sampled_from(TURNS),
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 5)] * 3),
    oblique=st.floats(-20, 20),
)
def test_a_mask_comes_back_bit_for_bit_where_nothing_is_resampled(turn, shape, spacing, oblique):
    affine = affine_of(*turn, spacing, oblique)
    mask = np.random.default_rng(1).integers(0, 3, shape)
    axes, _ = orientation(affine)
    preprocessing = Preprocessing(size=tuple(shape[axis] for axis in axes))
    box = mask_to_box(preprocessing, mask, affine, num_labels=2)
    back = to_scan(preprocessing, np.eye(3, dtype=np.float32)[box], shape, affine)
    assert np.array_equal(back.argmax(-1), mask)


@settings(max_examples=40)
@given(turn=st.sampled_from(TURNS), shape=st.tuples(*[st.integers(2, 9)] * 3), odd=st.integers(0, 3))
def test_cropping_and_padding_move_no_voxel(turn, shape, odd):
    affine = affine_of(*turn, (1.5, 1.5, 1.5), 11)
    image = random_image(shape)
    preprocessing = Preprocessing(size=(9 + odd,) * 3, spacing_mm=1.5, clip_percentiles=None, normalize="none")
    box = to_box(preprocessing, image, affine)
    assert np.isin(box, image).all()
    assert np.array_equal(to_scan(preprocessing, box, shape, affine), image)


def test_the_box_is_in_ras_order():
    image = np.zeros((4, 5, 6, 1), np.float32)
    image[0, 0, 0] = 1
    affine = affine_of((2, 0, 1), (1, -1, 1))
    box = to_box(Preprocessing(size=(6, 4, 5), clip_percentiles=None, normalize="none"), image, affine)
    assert np.argwhere(box[..., 0]).tolist() == [[0, 3, 0]]


def test_a_point_in_millimetres_stays_where_it_is():
    affine = affine_of((1, 2, 0), (-1, 1, -1), (0.7, 1.3, 2.9), 9)
    shape = (40, 30, 21)
    point = np.array([25.0, 12.0, 8.0])
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    blob = np.exp(-(((grid - point) * (0.7, 1.3, 2.9)) ** 2).sum(-1) / 30)[..., None]
    preprocessing = Preprocessing(size=(32, 24, 32), spacing_mm=1.5, clip_percentiles=None, normalize="none")
    box = to_box(preprocessing, blob, affine)[..., 0]
    centroid = (np.stack(np.meshgrid(*map(np.arange, box.shape), indexing="ij"), -1) * box[..., None]).sum((0, 1, 2))
    axes, flips = orientation(affine)
    spacing = np.array([(0.7, 1.3, 2.9)[a] for a in axes])
    canonical = np.array([shape[a] - 1 - point[a] if f else point[a] for a, f in zip(axes, flips, strict=True)])
    expected = (canonical - (np.array([shape[a] for a in axes]) - 1) / 2) * spacing / 1.5 + (
        np.array(box.shape) - 1
    ) / 2
    assert centroid / box.sum() == pytest.approx(expected, abs=0.05)


def test_finer_voxels_are_those_of_simpleitk_linear_interpolation():
    image = random_image((12, 10, 8))
    preprocessing = Preprocessing(size=(20, 18, 16), spacing_mm=0.5, clip_percentiles=None, normalize="none")
    box = to_box(preprocessing, image, np.eye(4))[..., 0]
    source = sitk.GetImageFromArray(image[..., 0].T)
    start = (np.array(image.shape[:3]) - 0.5 * np.array(box.shape)) / 2 - 0.5 + 0.25
    target = sitk.Image(*map(int, box.shape), sitk.sitkFloat32)
    target.SetSpacing((0.5, 0.5, 0.5))
    target.SetOrigin(start.tolist())
    expected = sitk.GetArrayFromImage(sitk.Resample(source, target, sitk.Transform(), sitk.sitkLinear)).T
    assert np.allclose(box, expected, atol=1e-3)


def test_coarser_voxels_are_means_of_what_they_cover():
    image = random_image((8, 6, 4))
    box = to_box(Preprocessing(size=(4, 2, 2), clip_percentiles=None, normalize="none"), image, np.eye(4))
    assert np.allclose(box, image.reshape(4, 2, 2, 3, 2, 2, 1).mean((1, 3, 5)), rtol=1e-5)


@pytest.mark.parametrize("voxel", [(0, 0, 0), (3, 1, 2), (7, 7, 7)])
def test_a_label_that_fills_one_target_voxel_does_not_vanish(voxel):
    x, y, z = (2 * v for v in voxel)
    mask = np.zeros((16, 16, 16), np.uint8)
    mask[x : x + 2, y : y + 2, z : z + 2] = 1
    box = mask_to_box(Preprocessing(size=8), mask, np.eye(4), num_labels=1)
    assert np.argwhere(box).tolist() == [list(voxel)]


def test_a_ball_comes_back_within_half_a_voxel_of_its_surface():
    shape, radius = (41, 37, 29), 9.0
    grid = np.stack(np.meshgrid(*[np.arange(n) - n // 2 for n in shape], indexing="ij"), -1)
    distance = np.linalg.norm(grid, axis=-1)
    mask, affine = distance <= radius, affine_of((1, 0, 2), (-1, 1, 1), oblique_degrees=13)
    preprocessing = Preprocessing(size=(48, 48, 32))
    box = mask_to_box(preprocessing, mask.astype(np.uint8), affine, num_labels=1)
    back = to_scan(preprocessing, box[..., None].astype(np.float32), shape, affine)[..., 0] >= 0.5
    assert np.abs(distance[back != mask] - radius).max() <= 0.5
    assert abs(int(back.sum()) - int(mask.sum())) < 0.02 * mask.sum()


def test_normalized_voxels_have_mean_zero_and_unit_variance_in_every_channel():
    image = np.concatenate([random_image((8, 8, 8)), 1000 * random_image((8, 8, 8), seed=1)], -1)
    box = to_box(Preprocessing(size=8), image, np.eye(4))
    assert box.mean((0, 1, 2)) == pytest.approx([0, 0], abs=1e-5)
    assert box.std((0, 1, 2)) == pytest.approx([1, 1], abs=1e-5)


def test_intensities_are_clipped_at_the_percentiles():
    image = np.arange(1000.0).reshape(10, 10, 10, 1)
    box = to_box(Preprocessing(size=10, clip_percentiles=(10, 90), normalize="none"), image, np.eye(4))
    assert (box.min(), box.max()) == pytest.approx((99.9, 899.1))


def test_minmax_fills_zero_to_one():
    box = to_box(Preprocessing(size=8, normalize="minmax"), random_image((8, 8, 8)), np.eye(4))
    assert (box.min(), box.max()) == (0, 1)


def test_padding_is_the_darkest_voxel_and_does_not_change_the_statistics():
    image = random_image((4, 4, 4))
    box = to_box(Preprocessing(size=8, spacing_mm=1.0), image, np.eye(4))
    assert box[2:6, 2:6, 2:6].mean() == pytest.approx(0, abs=1e-5)
    assert (box[0] == box.min()).all()


@pytest.mark.parametrize("value", [1e6, 0.1])  # means of 0.1 are rounded, which is not contrast
def test_a_constant_image_becomes_zeros_with_a_warning(value):
    with pytest.warns(UserWarning, match="constant"):
        box = to_box(Preprocessing(size=16), np.full((33, 29, 17, 1), value), np.eye(4))
    assert not box.any()


def test_large_intensities_do_not_overflow():
    box = to_box(Preprocessing(size=8), random_image((9, 9, 9)) * 1e30, np.eye(4))
    assert np.isfinite(box).all()


def scan(shape, spacing, value=0.0):
    return Volume(np.full((*shape, 1), value, np.float32), np.diag([*spacing, 1.0]))


def test_fit_takes_the_largest_volume_in_steps_of_eight():
    fitted = Preprocessing(spacing_mm=2.0).fit([scan((10, 20, 30), (1, 1, 1)), scan((9, 9, 9), (3, 3, 3))])
    assert fitted.size == (16, 16, 16)
    assert Preprocessing(size=4).fit([]) == Preprocessing(size=4)


def test_box_spacing_follows_the_field_of_view():
    affine = affine_of((2, 0, 1), (1, 1, 1), (1.0, 2.0, 3.0))
    grid = Preprocessing(size=(10, 10, 20)).grid(np.empty((10, 10, 10)), affine)
    assert grid.spacing_mm == pytest.approx((3.0, 1.0, 1.0))


def test_a_window_takes_the_place_of_percentiles_and_its_ends_are_zero_and_one():
    image = np.array([-1000.0, -160, 40, 240, 3000, 0, 0, 0]).reshape(2, 2, 2, 1)
    box = to_box(Preprocessing(size=2, window=(-160, 240), normalize="minmax"), image, np.eye(4))
    assert box.ravel().tolist() == pytest.approx([0, 0, 0.5, 1, 1, 0.4, 0.4, 0.4])


def skull_stripped(background=-3.25):
    image = np.full((6, 6, 6, 2), background, np.float32)
    image[1:4, 2:5, 1:3] = np.random.default_rng(0).normal(50, 9, (3, 3, 2, 2)) * (1, 100)
    return image


@pytest.mark.parametrize("background", [-3.25, 0, 200])
def test_statistics_leave_a_background_out_that_need_not_be_zero(background):
    image = skull_stripped(background)
    brain = image[1:4, 2:5, 1:3]
    box = to_box(Preprocessing(size=6, ignore_background=True, clip_percentiles=None), image, np.eye(4))
    expected = (brain - brain.mean((0, 1, 2))) / brain.std((0, 1, 2))
    assert np.allclose(box[1:4, 2:5, 1:3], expected, atol=1e-4)
    assert np.allclose(box[0], expected.min((0, 1, 2)), atol=1e-4)


def test_percentiles_are_those_of_what_is_not_background():
    image = skull_stripped()
    box = to_box(
        Preprocessing(size=6, ignore_background=True, clip_percentiles=(10, 90), normalize="none"), image, np.eye(4)
    )
    low, high = np.percentile(image[1:4, 2:5, 1:3, 1].astype(np.float64), (10, 90))
    assert (box[..., 1].min(), box[..., 1].max()) == pytest.approx((low, high))


@pytest.mark.parametrize(("margin", "expected"), [(0, (3, 3, 2)), (1, (5, 5, 4)), (2.5, (6, 6, 6))])
def test_the_crop_is_the_box_of_what_is_not_background_with_a_margin(margin, expected):
    image = skull_stripped()
    preprocessing = Preprocessing(spacing_mm=1.0, size=6, crop_margin_mm=margin)
    grid = preprocessing.grid(image, np.eye(4))
    assert tuple(high - low for low, high in grid.crop) == expected


def test_the_crop_fills_the_box_and_the_way_back_fills_the_scan():
    image = skull_stripped()
    preprocessing = Preprocessing(size=(3, 3, 2), crop_margin_mm=0, clip_percentiles=None, normalize="none")
    grid = preprocessing.grid(image, np.eye(4))
    assert np.array_equal(preprocessing.apply(image, grid), image[1:4, 2:5, 1:3])
    back = preprocessing.restore(np.ones((3, 3, 2, 1)), grid)[..., 0]
    assert np.array_equal(back, image[..., 0] != -3.25)


def test_a_crop_never_looks_at_the_mask():
    image, mask = skull_stripped(), np.zeros((6, 6, 6), np.uint8)
    mask[5, 5, 5] = mask[2, 3, 1] = 1
    preprocessing = Preprocessing(size=(3, 3, 2), crop_margin_mm=0)
    assert preprocessing.apply_mask(mask, preprocessing.grid(image, np.eye(4)), num_labels=1).sum() == 1


def test_the_median_spacing_is_that_of_the_canonical_axes():
    turned = Volume(np.zeros((10, 20, 30, 1), np.float32), affine_of((2, 0, 1), (1, 1, 1), (5.0, 6.0, 7.0)))
    others = [scan((10, 10, 10), (1.0, 2.0, 3.0)), scan((10, 10, 10), (9.0, 5.5, 4.0))]
    fitted = Preprocessing(spacing_mm="median", size=8).fit([turned, *others])
    assert fitted.spacing_mm == (7.0, 5.0, 4.0)
    assert fitted.size == (8, 8, 8)


def test_statistics_of_the_set_are_those_of_all_training_voxels_in_every_channel():
    rng = np.random.default_rng(0)
    images = [rng.normal((0, 100), (1, 5), (8, 8, 8, 2)).astype(np.float32) for _ in range(3)]
    fitted = Preprocessing(size=8, statistics="dataset", clip_percentiles=(5, 95)).fit(
        Volume(image, np.eye(4)) for image in images
    )
    for channel, row in enumerate(fitted.statistics):
        values = np.stack(images)[..., channel].astype(np.float64)
        low, high = np.percentile(values, (5, 95))
        clipped = values.clip(low, high)
        assert row == pytest.approx((low, high, clipped.mean(), clipped.std()), rel=1e-5, abs=1e-6)
    box = to_box(fitted, images[0], np.eye(4))
    assert np.allclose(box[..., 1], (images[0][..., 1].clip(low, high) - row[2]) / row[3], atol=1e-4)


def test_one_scan_does_not_fit_what_another_scan_is_for():
    with pytest.raises(UsageError, match="fit"):
        to_box(Preprocessing(spacing_mm=1.0), np.ones((4, 4, 4, 1)), np.eye(4))
    with pytest.raises(UsageError, match="none"):
        Preprocessing(spacing_mm="median").fit([])
    fitted = Preprocessing(size=4, statistics="dataset").fit([Volume(random_image((4, 4, 4)), np.eye(4))])
    with pytest.raises(UsageError, match="channels"):
        to_box(fitted, random_image((4, 4, 4), channels=2), np.eye(4))


EVERYTHING_OPEN = Preprocessing(spacing_mm="median", statistics="dataset", crop_margin_mm=2, ignore_background=True)


def test_validation_and_test_scans_have_no_influence(tmp_path):
    import nibabel

    from mcc_keras import find_cases, write_tfrecords

    split = {"train": ("case0", "case1"), "validation": ("case2",), "test": ("case3",)}
    found = []
    for turn in range(2):
        (tmp_path / str(turn)).mkdir()
        for index in range(4):
            rng, wild = np.random.default_rng(index), turn and index >= 2
            shape, mm = ((9 + index, 8, 7), 1.0 + index) if not wild else ((20, 31, 5), 0.3)
            image = rng.normal(100, 20, shape) * (1000 if wild else 1)
            name = tmp_path / str(turn) / f"case{index}"
            nibabel.save(nibabel.Nifti1Image(image.astype("f4"), np.diag([mm, 1, 2, 1])), f"{name}.nii.gz")
            mask = (image > image.mean()).astype("u1")
            nibabel.save(nibabel.Nifti1Image(mask, np.diag([mm, 1, 2, 1])), f"{name}_mask.nii.gz")
        cases = find_cases(tmp_path / str(turn))
        work = tmp_path / f"work{turn}"
        write_tfrecords(cases, work, preprocessing=EVERYTHING_OPEN, split=split, workers=1)
        (settings,) = work.rglob("preprocessing.json")
        found.append((settings.read_text(), [path.read_bytes() for path in settings.parent.glob("train-*")]))
    assert found[0] == found[1]
    assert Preprocessing.from_json(found[0][0]).is_fitted


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing(size=8),
        Preprocessing(size=(8, 9, 10), spacing_mm=0.5, clip_percentiles=None, normalize="none"),
        EVERYTHING_OPEN,
        Preprocessing(size=8, window=(-160, 240), crop_margin_mm=3, background_value=-1000),
        Preprocessing(size=8, statistics=((0.1, 2.5, 1.0, 0.3), (None, None, 5.0, 0.0))),
    ],
)
def test_json_brings_back_the_same_value(preprocessing):
    assert Preprocessing.from_json(preprocessing.to_json()) == preprocessing


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 99}', '{"schema": 1, "size": 8, "color": 1}'])
def test_json_of_something_else_is_an_error_that_names_the_file(text):
    with pytest.raises(DataError, match="preprocessing.json"):
        Preprocessing.from_json(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"schema": 4, "size": 8}', "schema 3, found 4. A newer mcc_keras"),
        ('{"schema": true, "size": 8}', "found True"),
        ('{"schema": 3, "size": 8, "color": 1}', "found also color"),
        ('{"schema": 3, "size": -8}', "size=-8"),
        ('{"schema": 3, "size": 8, "statistics": [[1, 2]]}', "statistics"),
    ],
)
def test_json_that_this_version_does_not_understand_is_refused_with_the_reason(text, reason):
    with pytest.raises(DataError, match=reason):
        Preprocessing.from_json(text, path="work/preprocessing.json")


def test_json_holds_plain_values():
    assert json.loads(Preprocessing(size=8).to_json())["size"] == [8, 8, 8]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"size": 0},
        {"size": (8, 8)},
        {"size": 8.5},
        {"size": 8, "spacing_mm": -1},
        {"size": 8, "spacing_mm": float("nan")},
        {"size": 8, "clip_percentiles": (99, 1)},
        {"size": 8, "normalize": "histogram"},
        {"size": 8, "window": (240, -160)},
        {"size": 8, "window": 5},
        {"size": 8, "window": (0, float("inf"))},
        {"size": 8, "spacing_mm": "mean"},
        {"size": 8, "statistics": "patch"},
        {"size": 8, "statistics": ((1, 0, 0, 1),)},
        {"size": 8, "ignore_background": "yes"},
        {"size": 8, "background_value": float("nan")},
        {"size": 8, "crop_margin_mm": -1},
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments):
    with pytest.raises(UsageError, match="must be|needs"):
        Preprocessing(**arguments)


@pytest.mark.parametrize("affine", [np.zeros((4, 4)), np.full((4, 4), np.nan)])
def test_an_affine_without_axes_is_refused(affine):
    with pytest.raises(GeometryError, match="axes"):
        to_box(Preprocessing(size=4), np.ones((4, 4, 4, 1)), affine)


def test_restore_refuses_a_prediction_of_another_size():
    with pytest.raises(GeometryError, match="expected shape"):
        to_scan(Preprocessing(size=4), np.ones((5, 4, 4, 1)), (4, 4, 4), np.eye(4))


@pytest.mark.parametrize(("n_from", "n_to"), [(7, 7), (7, 3), (3, 7), (1, 5), (5, 1), (48, 35)])
def test_rows_of_a_resampling_matrix_sum_to_one(n_from, n_to):
    matrix, inside = resampling_matrix(n_from, n_to, n_from / n_to)
    assert np.allclose(matrix.sum(1), 1)
    assert inside.all()


@pytest.mark.parametrize("turn", [((0, 1, 2), (1, 1, 1)), ((2, 0, 1), (-1, 1, -1))])
def test_a_single_voxel_fills_its_eight_voxels_of_a_finer_box(turn):
    mask = np.zeros((6, 5, 4), np.uint8)
    mask[1, 2, 3] = 1
    box = mask_to_box(Preprocessing(size=12, spacing_mm=1.0), mask, affine_of(*turn, (2.0, 2.0, 2.0)), num_labels=1)
    found = np.argwhere(box)
    assert len(found) == 8 and (np.ptp(found, axis=0) == 1).all()


@pytest.mark.parametrize("seed", range(12))
def test_no_label_vanishes_that_fills_a_voxel_of_the_box(seed):
    rng = np.random.default_rng(seed)
    shape, size, step = rng.integers(4, 12, 3), rng.integers(4, 12, 3), rng.uniform(0.4, 2.5, 3)
    mask = rng.integers(0, 4, shape).astype(np.uint8)
    box = mask_to_box(Preprocessing(size=tuple(size), spacing_mm=tuple(step)), mask, np.eye(4), num_labels=3)
    edges = [(n - m * mm) / 2 + np.arange(m + 1) * mm for n, m, mm in zip(shape, size, step, strict=True)]
    for index in np.ndindex(*size):
        ends = [(e[i], e[i + 1]) for e, i in zip(edges, index, strict=True)]
        if all(low >= 0 and high <= n for (low, high), n in zip(ends, shape, strict=True)):
            covered = np.unique(mask[tuple(slice(int(low + 1e-9), int(np.ceil(high - 1e-9))) for low, high in ends)])
            assert covered.size > 1 or box[index] == covered[0]


@pytest.mark.parametrize(
    ("settings", "size", "spacing_mm"),
    [
        ({}, (12, 10, 7), (2.0, 1.0, 3.0)),
        ({"spacing_mm": (1.0, 1.0, 2.0)}, (24, 10, 11), (1.0, 1.0, 2.0)),
        ({"spacing_mm": 50}, (1, 1, 1), (50.0, 50.0, 50.0)),
        ({"crop_margin_mm": 2.0}, (8, 6, 4), (2.0, 1.0, 3.0)),
    ],
)
def test_a_scan_of_native_size_keeps_its_own_field_of_view(settings, size, spacing_mm):
    affine = np.array([[0, 2.0, 0, 0], [0, 0, -1.0, 0], [3.0, 0, 0, 0], [0, 0, 0, 1]])  # stored as z, x, -y
    image = np.zeros((7, 12, 10, 1), np.float32)
    image[2:4, 3:9, 4:6] = np.arange(1, 25).reshape(2, 6, 2, 1)
    preprocessing = Preprocessing(size="native", normalize="none", clip_percentiles=None, **settings)
    grid = preprocessing.grid(image, affine)
    assert (grid.size, grid.spacing_mm) == (size, spacing_mm)
    box = preprocessing.apply(image, grid)
    assert box.shape == (*size, 1)
    if not settings:  # no voxel is computed
        assert np.array_equal(box[..., 0], image[..., 0].transpose(1, 2, 0)[:, ::-1])
        assert np.array_equal(preprocessing.restore(box, grid), image)
    mask = preprocessing.apply_mask(np.ones(image.shape[:3], np.uint8), grid, num_labels=1)
    assert mask.shape == size and mask.any()


def test_native_size_is_a_word_of_the_settings_and_the_spacing_is_fitted_all_the_same():
    preprocessing = Preprocessing(size="native", spacing_mm="median", statistics="dataset")
    assert not preprocessing.is_fitted
    assert Preprocessing.from_json(preprocessing.to_json()) == preprocessing
    scans = [Volume(np.random.rand(8, 6, 4, 1), np.diag([mm, 1, 1, 1])) for mm in (1.0, 2.0, 4.0)]
    fitted = preprocessing.fit(scans)
    assert (fitted.size, fitted.spacing_mm) == ("native", (2.0, 1.0, 1.0))
    assert [fitted.grid(scan.array, scan.affine).size for scan in scans] == [(4, 6, 4), (8, 6, 4), (16, 6, 4)]
    with pytest.raises(UsageError, match="or \"native\". Received: size='natural'"):
        Preprocessing(size="natural")
