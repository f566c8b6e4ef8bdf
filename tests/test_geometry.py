"""Where things are: all 48 turns × spacings × oblique angles × odd sizes, against geometry worked out here.

Nothing below asks the package where its box lies; nibabel says which way the axes run, SimpleITK resamples.
"""

import itertools

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mcc_keras.preprocessing import Preprocessing

TURNS = [(axes, signs) for axes in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)]
SPACING = st.tuples(*[st.floats(0.4, 4)] * 3)
DEGREES = st.floats(-18, 18).map(lambda degrees: round(degrees, 2))  # SimpleITK's inverse fails at 1e-295
AFFINES = st.builds(
    lambda turn, spacing, degrees: affine_of(*turn, spacing, degrees),
    st.sampled_from(TURNS),
    SPACING,
    st.tuples(DEGREES, DEGREES),
)
PLAIN = {"clip_percentiles": None, "normalize": "none"}


def affine_of(axes, signs, spacing, degrees):
    matrix = np.eye(3)[list(axes)] * signs * spacing
    (c, d), (s, t) = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    affine = np.eye(4)
    affine[:3, :3] = [[c, -s, 0], [s, c, 0], [0, 0, 1]] @ np.array([[1, 0, 0], [0, d, -t], [0, t, d]]) @ matrix
    affine[:3, 3] = -20, 30, 7
    return affine


def box_geometry(shape, affine, size, spacing_mm):
    """The affine of a box with the scan's center and its closest canonical directions."""
    columns, kinds = affine[:3, :3], nib.io_orientation(affine)
    directions = np.zeros((3, 3))
    for stored, (canonical, sign) in enumerate(kinds):
        directions[:, int(canonical)] = sign * columns[:, stored] / np.linalg.norm(columns[:, stored])
    box = np.eye(4)
    box[:3, :3] = directions * spacing_mm
    center = affine[:3, :3] @ ((np.array(shape) - 1) / 2) + affine[:3, 3]
    box[:3, 3] = center - box[:3, :3] @ ((np.array(size) - 1) / 2)
    return box


def millimetres(shape, affine):
    return np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]


def well_inside(points_mm, affine, shape, wide_mm):
    """Voxels that reach, with the width of the coarser grid, over no border of `shape`."""
    index = (points_mm - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    half = np.maximum(1, wide_mm / np.linalg.norm(affine[:3, :3], axis=0)) / 2
    return ((index - half >= -0.5 + 1e-9) & (index + half <= np.array(shape) - 0.5 - 1e-9)).all(-1)


def in_stored_order(values, affine):
    return np.array([values[int(canonical)] for canonical, _ in nib.io_orientation(affine)])


@pytest.mark.parametrize("slices", [1, 2])
def test_a_scan_thinner_than_a_voxel_of_the_box_is_not_lost(slices):
    image = np.random.default_rng(0).uniform(1, 2, (4, 4, slices, 1))
    preprocessing = Preprocessing(size=(4, 4, 4), spacing_mm=(1, 1, 5), **PLAIN)
    grid = preprocessing.grid(image, np.eye(4))
    box = preprocessing.apply(image, grid)
    assert np.allclose(box[:, :, grid.inside[0, 0]][..., 0], image.mean(2), atol=1e-6)
    assert (preprocessing.restore(np.where(box > 1, 1, 0), grid) == 1).all()


def moved_mm(from_mm, to_mm):
    """Interpolation is exact; the mean of what is covered counts a voxel cut by the border at its own center.

    A fraction a of it counts a (1 - a) / 2 <= 1 / 8 of a voxel off, divided by the voxels that are covered.
    """
    return np.linalg.norm(np.where(to_mm > from_mm, from_mm / 8, 0))


@settings(max_examples=150)
@given(
    affine=AFFINES,
    shape=st.tuples(*[st.integers(3, 13)] * 3),
    size=st.tuples(*[st.integers(3, 13)] * 3),
    spacing=SPACING,
)
def test_every_point_in_millimetres_stays_where_it_is_there_and_back(affine, shape, size, spacing):
    preprocessing = Preprocessing(size=size, spacing_mm=spacing, **PLAIN)
    box_mm, scan_mm = in_stored_order(spacing, affine), np.linalg.norm(affine[:3, :3], axis=0)
    assume(
        (shape * scan_mm > 1.001 * box_mm).all() and (in_stored_order(size, affine) * box_mm > 1.001 * scan_mm).all()
    )
    assume(np.abs(box_mm / scan_mm - 1).min() > 1e-3)
    here, box_affine = millimetres(shape, affine), box_geometry(shape, affine, size, spacing)
    there = millimetres(size, box_affine)
    grid = preprocessing.grid(here, affine)
    assert np.allclose(grid.box_affine, box_affine, atol=1e-6)
    box, back = preprocessing.apply(here, grid), preprocessing.restore(there, grid)
    sure = well_inside(there, affine, shape, box_mm)
    assert np.linalg.norm(box - there, axis=-1)[sure].max(initial=0) < 2e-4 + moved_mm(scan_mm, box_mm)
    sure = well_inside(here, box_affine, size, scan_mm[np.argsort(nib.io_orientation(affine)[:, 0])])
    assert np.linalg.norm(back - here, axis=-1)[sure].max(initial=0) < 2e-4 + moved_mm(box_mm, scan_mm)


def as_sitk(array, affine):
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    to_lps = np.diag([-1.0, -1, 1])
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((to_lps @ affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin((to_lps @ affine[:3, 3]).tolist())
    return image


@settings(max_examples=60)
@given(affine=AFFINES, shape=st.tuples(*[st.integers(2, 11)] * 3), finer=st.tuples(*[st.floats(0.3, 0.95)] * 3))
def test_finer_voxels_are_those_of_simpleitk_whatever_the_orientation(affine, shape, finer):
    size = (9, 12, 7)
    stored_mm = np.linalg.norm(affine[:3, :3], axis=0)
    spacing = np.multiply(finer, stored_mm[np.argsort(nib.io_orientation(affine)[:, 0])])
    image = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    preprocessing = Preprocessing(size=size, spacing_mm=tuple(spacing), **PLAIN)
    box = preprocessing.apply(image[..., None], preprocessing.grid(image, affine))[..., 0]
    target = as_sitk(np.zeros(size, np.float32), box_geometry(shape, affine, size, spacing))
    resampled = sitk.Resample(as_sitk(image, affine), target, sitk.Transform(), sitk.sitkLinear, -99.0)
    expected = sitk.GetArrayFromImage(resampled).T
    known = well_inside(millimetres(size, box_geometry(shape, affine, size, spacing)), affine, shape, 0)
    assert np.abs(box - expected)[known].max(initial=0) < 1e-4


@settings(max_examples=60)
@given(
    turn=st.sampled_from(TURNS),
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    extra=st.tuples(*[st.integers(-2, 4)] * 3),
    margin=st.none() | st.floats(0, 5),
)
def test_hard_masks_come_back_bit_for_bit_through_turns_crops_and_paddings(turn, shape, extra, margin):
    rng = np.random.default_rng(2)
    affine = affine_of(*turn, (1.5, 1.5, 1.5), (9, -6))
    mask = rng.integers(0, 3, shape).astype(np.uint8)
    image = np.where(mask, rng.normal(5, 1, shape), -2.5).astype(np.float32)[..., None]
    preprocessing = Preprocessing(
        size=tuple(max(1, n + e) for n, e in zip(np.array(shape)[list(turn[0])], extra, strict=True)),
        spacing_mm=1.5,
        crop_margin_mm=margin,
        background_value=-2.5,
        **PLAIN,
    )
    grid = preprocessing.grid(image, affine)
    box = preprocessing.apply_mask(mask, grid, num_labels=2)
    back = preprocessing.restore(np.eye(3, dtype=np.float32)[box][..., 1:], grid)
    found = np.where(back.any(-1), back.argmax(-1) + 1, 0)
    reached = preprocessing.restore(np.ones((*grid.size, 1), np.float32), grid)[..., 0] == 1
    assert np.array_equal(found[reached], mask[reached])
    assert not found[~reached].any()
    if min(extra) >= 0:
        assert np.array_equal(found, mask)


@settings(max_examples=100)
@given(
    affine=AFFINES,
    shape=st.tuples(*[st.integers(3, 14)] * 3),
    size=st.tuples(*[st.integers(2, 9)] * 3),
    spacing=SPACING,
    pick=st.integers(0, 10**6),
)
def test_no_label_vanishes_that_fills_one_target_voxel(affine, shape, size, spacing, pick):
    box_affine = box_geometry(shape, affine, size, spacing)
    stored_mm, wide_mm = np.linalg.norm(affine[:3, :3], axis=0), in_stored_order(spacing, affine)
    assume(np.abs(wide_mm / stored_mm - 1).min() > 1e-3)
    candidates = np.argwhere(well_inside(millimetres(size, box_affine), affine, shape, wide_mm))
    assume(len(candidates))
    voxel = tuple(candidates[pick % len(candidates)])
    center = box_affine[:3, :3] @ voxel + box_affine[:3, 3]
    index = np.linalg.inv(affine[:3, :3]) @ (center - affine[:3, 3])
    reach = np.maximum(1, wide_mm / stored_mm) / 2 + 0.5
    apart = np.abs(np.moveaxis(np.indices(shape), 0, -1) - index)
    mask = np.where((apart < reach).all(-1), 2, np.random.default_rng(0).choice([0, 1, 3], shape)).astype(np.uint8)
    preprocessing = Preprocessing(size=size, spacing_mm=spacing)
    assert preprocessing.apply_mask(mask, preprocessing.grid(mask, affine), num_labels=3)[voxel] == 2


@settings(max_examples=60)
@given(
    affine=AFFINES,
    coarser=st.tuples(*[st.floats(0.5, 2)] * 3),
    shift=st.tuples(*[st.floats(-0.5, 0.5)] * 3),
)
def test_a_ball_comes_back_within_half_a_voxel_of_its_surface(affine, coarser, shift):
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    wide_mm = spacing * coarser
    coarse_mm = np.maximum(spacing, wide_mm)
    radius = 4 * coarse_mm.max()
    shape = tuple(int(2 * np.ceil(radius / mm)) + 5 for mm in spacing)
    assume(np.prod(shape) < 60_000 and np.abs(np.array(coarser) - 1).min() > 1e-3)  # else halves tie at 0.5
    away = (np.moveaxis(np.indices(shape), 0, -1) - (np.array(shape) - 1) / 2 - shift) * spacing
    distance = np.linalg.norm(away, axis=-1)
    mask = distance <= radius
    order = np.argsort(nib.io_orientation(affine)[:, 0])
    size = tuple(int(np.ceil(n)) for n in (np.array(shape) * spacing / wide_mm)[order])
    preprocessing = Preprocessing(size=size, spacing_mm=tuple(wide_mm[order]))
    grid = preprocessing.grid(mask, affine)
    box = preprocessing.apply_mask(mask.astype(np.uint8), grid, num_labels=1)
    back = preprocessing.restore(box[..., None].astype(np.float32), grid)[..., 0] >= 0.5
    normal = np.abs(away) / np.maximum(distance, 1e-9)[..., None]
    # Half a voxel of the coarser grid, seen along the normal, and what the scan's own mask misses its ball by.
    allowed = (normal @ coarse_mm + normal @ spacing) / 2
    wrong = back != mask
    assert (np.abs(distance - radius)[wrong] <= allowed[wrong]).all()
