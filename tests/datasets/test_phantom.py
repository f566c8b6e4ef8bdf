import numpy as np
import pytest
from skimage.measure import label

from mcc_keras.datasets.phantom import EDGE_MM, FIELD_OF_VIEW_MM, _coverage, _scan, random_volume
from mcc_keras.errors import UsageError

SIZE = (32, 32, 16)


def draw(count, **settings):
    return [random_volume([11, index], **({"size": SIZE} | settings)) for index in range(count)]


def test_the_same_seed_gives_the_same_scan_and_another_seed_another():
    first, again, other = (random_volume(seed, size=SIZE) for seed in (3, 3, 4))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.mask, again.mask)
    assert np.array_equal(first.affine, again.affine)
    assert first.image.shape != other.image.shape or not np.array_equal(first.image, other.image)


def test_image_is_int16_with_a_channel_axis_and_the_mask_shares_its_grid():
    scan = random_volume(0, size=SIZE, num_channels=2)
    assert scan.image.dtype == np.int16
    assert scan.mask.dtype == np.uint8
    assert scan.image.shape == (*scan.mask.shape, 2)
    assert scan.image.min() >= 0
    assert scan.image.max() > 100


def test_the_organ_takes_the_chosen_share_of_the_voxels_on_average():
    shares = [scan.mask.mean() for scan in draw(60, foreground_fraction=0.01)]
    assert np.mean(shares) == pytest.approx(0.01, rel=0.12)
    assert 0.0055 < min(shares) < 0.009
    assert 0.011 < max(shares) < 0.0165


@pytest.mark.parametrize(("fraction", "size"), [(1e-4, (72, 72, 28)), (1e-3, (48, 48, 24)), (0.1, SIZE)])
def test_the_share_is_reached_from_one_voxel_in_ten_thousand_to_one_in_ten(fraction, size):
    # The factor of a scan is lognormal(0, 0.2) cut to 0.65 ... 1.5: of mean 1.02 and spread 0.2, so the mean of 16 has
    # a standard error of 5 %. Whole voxels add half a voxel at most to each scan.
    scans = draw(16, foreground_fraction=fraction, size=size)
    counts, voxels = ([count(scan.mask) for scan in scans] for count in (np.count_nonzero, np.size))
    expected = fraction * np.array(voxels)
    assert sum(counts) == pytest.approx(1.02 * expected.sum(), rel=0.15)
    assert (counts >= 0.65 * expected - 0.5).all() and (counts <= 1.5 * expected + 0.5).all()


def test_the_organ_is_one_connected_piece():
    assert [label(scan.mask).max() for scan in draw(10)] == [1] * 10


def test_without_the_organ_the_mask_is_empty_and_the_body_stays_the_same():
    scan, empty = (random_volume(9, size=SIZE, with_organ=with_organ) for with_organ in (True, False))
    assert not empty.mask.any()
    changed = (scan.image != empty.image)[..., 0]
    assert changed.any()
    assert changed.mean() < 0.1


def test_labels_are_nested_and_take_equal_shares():
    scan = random_volume(2, size=(48, 48, 24), foreground_fraction=0.05, num_labels=3)
    counts = np.bincount(scan.mask.ravel(), minlength=4)[1:]
    assert counts.max() - counts.min() <= 1
    center = np.argwhere(scan.mask == 3).mean(axis=0)
    spacing_mm = np.linalg.norm(scan.affine[:3, :3], axis=0)
    reach = [np.linalg.norm((np.argwhere(scan.mask == k) - center) * spacing_mm, axis=1).mean() for k in (1, 2, 3)]
    assert reach[0] > reach[1] > reach[2]


def test_a_distractor_as_bright_as_the_organ_is_there():
    # In scans without the organ a coherent region is brighter than the tissue around it.
    for scan in draw(5, with_organ=False, size=(48, 48, 24)):
        image = scan.image[..., 0]
        inside = image > 0.3 * np.percentile(image, 99)
        bright = inside & (image > 0.6 * np.percentile(image[inside], 99))
        assert np.bincount(label(bright).ravel())[1:].max() > 0.003 * image.size


def test_sizes_spacings_and_orientations_vary_and_scans_are_anisotropic():
    scans = draw(40)
    spacings_mm = np.array([np.linalg.norm(scan.affine[:3, :3], axis=0) for scan in scans])
    assert (spacings_mm[:, 2] > 1.2 * spacings_mm[:, 0]).all()
    assert len({scan.mask.shape for scan in scans}) > 20
    rotations = [scan.affine[:3, :3] / mm for scan, mm in zip(scans, spacings_mm, strict=True)]
    assert all(np.allclose(rotation.T @ rotation, np.eye(3), atol=1e-5) for rotation in rotations)
    oblique = [np.abs(rotation).max(axis=0).min() < 0.9999 for rotation in rotations]
    assert 10 < sum(oblique) < 30
    signs = {tuple(np.sign(rotation[np.abs(rotation).argmax(axis=0), range(3)])) for rotation in rotations}
    assert len(signs) == 8
    slice_axes = [np.abs(rotation[:, 2]).argmax() for rotation in rotations]
    assert set(slice_axes) == {0, 1, 2}


def test_the_field_of_view_stays_whatever_the_size():
    for size in ((16, 16, 8), (72, 72, 28)):
        scan = random_volume(1, size=size)
        extent_mm = np.sort(np.linalg.norm(scan.affine[:3, :3], axis=0) * scan.mask.shape)
        assert np.allclose(extent_mm, np.sort(FIELD_OF_VIEW_MM), rtol=0.2)


def test_the_affine_survives_the_float32_of_a_nifti_header():
    affine = random_volume(8, size=SIZE).affine
    assert np.array_equal(affine, affine.astype(np.float32))


def test_a_voxel_that_the_surface_cuts_is_covered_in_part():
    distance = np.array([10 - EDGE_MM, 10, 10 + EDGE_MM / 4, 10 + EDGE_MM])
    assert _coverage(distance, 10).tolist() == [1.0, 0.5, 0.25, 0.0]


def test_the_bias_field_is_smooth_and_changes_the_brightness_by_some_ten_percent():
    flat = np.ones((2, 1, 24, 24, 24), np.float32)
    where = np.stack([grid.ravel() for grid in np.meshgrid(*[np.linspace(-1, 1, 24)] * 3, indexing="ij")], axis=1)
    terms = np.hstack([np.ones((len(where), 1)), where, where**2])
    spreads = []
    for seed in range(10):
        image = _scan(np.random.default_rng(seed), flat, 1)[..., 0].ravel().astype(float)
        logs = np.log(image / image.mean())
        field = terms @ np.linalg.lstsq(terms, logs, rcond=None)[0]
        # What the polynomial does not explain is the noise, 3 to 5 % of the tissue's brightness.
        assert 0.02 < (logs - field).std() < 0.07
        spreads.append(field.std())
    assert 0.05 < np.mean(spreads) < 0.3


def test_air_has_rician_noise():
    # Of a Rayleigh distribution, which Rician noise is where there is no signal: mean / standard deviation = 1.913.
    scan = random_volume(6, with_organ=False)
    corners = np.concatenate([scan.image[:4, :4].ravel(), scan.image[-4:, -4:].ravel()]).astype(float)
    assert corners.mean() / corners.std() == pytest.approx(np.sqrt(np.pi / (4 - np.pi)), rel=0.1)


@pytest.mark.parametrize(
    "settings",
    [
        {"size": (7, 16, 16)},
        {"size": (16, 16)},
        {"foreground_fraction": 0},
        {"foreground_fraction": 0.2},
        {"num_labels": 0},
        {"num_channels": 5},
    ],
)
def test_settings_out_of_range_are_refused_with_what_was_received(settings):
    with pytest.raises(UsageError, match="Received"):
        random_volume(0, **settings)
