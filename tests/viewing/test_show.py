import io
import sys

import numpy as np
import pytest
from PIL import Image

import mcc_keras as mk
from mcc_keras.errors import GeometryError
from mcc_keras.reporting.thumbnails import COLORS
from mcc_keras.viewing.sliders import slider_box
from mcc_keras.volumes import Volume, write_mask, write_volume

SPACING_MM = (1.0, 2.0, 5.0)
SHAPE = (60, 32, 12)


def ball(center_mm, radius_mm, shape=SHAPE, spacing_mm=SPACING_MM):
    places = np.meshgrid(*(np.arange(n) * mm for n, mm in zip(shape, spacing_mm, strict=True)), indexing="ij")
    return sum((place - middle) ** 2 for place, middle in zip(places, center_mm, strict=True)) <= radius_mm**2


def a_volume(array, spacing_mm=SPACING_MM):
    return Volume(array, np.diag([*spacing_mm, 1.0]))


def pixels(figure):
    return np.asarray(Image.open(io.BytesIO(figure.png())).convert("RGB")).astype(int)


def panels(figure):
    """Return the pixels of each plane, without the letters at its edges."""
    picture = pixels(figure)
    height, width = picture.shape[:2]
    found = []
    for ax in figure.axes:
        box = ax.get_window_extent().transformed(figure.transFigure.inverted())
        rows = slice(round(height * (1 - box.y1)), round(height * (1 - box.y0)))
        found.append(picture[rows, round(width * box.x0) : round(width * box.x1)])
    return found


def extent_of(picture, color):
    """Return width and height in pixels of what has a color."""
    rows, columns = np.nonzero(np.abs(picture - color).max(axis=2) < 60)
    return np.ptp(columns) + 1, np.ptp(rows) + 1


def test_a_ball_is_as_wide_as_it_is_high_and_of_one_size_in_all_planes():
    mask = ball((30, 32, 30), 20)
    figure = mk.show(a_volume(np.zeros(SHAPE)), a_volume(mask.astype(np.uint8)))
    assert figure.positions == {"axial": 6, "coronal": 16, "sagittal": 30}
    sizes = [extent_of(picture, COLORS[0]) for picture in panels(figure)]
    # Voxels of 5 mm make a ball of 40 mm up to 45 mm high.
    pixels_per_mm = sizes[0][0] / 41
    for plane in sizes:
        for size in plane:
            assert size / pixels_per_mm == pytest.approx(42.5, abs=4)


def test_the_slices_are_those_in_which_the_mask_is_largest():
    array = np.zeros(SHAPE, np.float32)
    mask = np.zeros(SHAPE, np.uint8)
    mask[10:31, 5:16, 3:6] = mask[20, 3:18, 2:7] = mask[8:33, 10, 2:7] = mask[8:33, 3:18, 4] = 1
    mask[40:50, 20:25, 9] = 1
    array[:, :, 4], array[:, 10], array[20] = 100, 100, 100
    figure = mk.show(a_volume(array), a_volume(mask))
    assert figure.positions == {"axial": 4, "coronal": 10, "sagittal": 20}
    for ax in figure.axes:
        assert np.asarray(ax.images[0].get_array()).min() == 100


def test_without_a_mask_or_its_voxels_the_middle_is_shown():
    volume = a_volume(np.random.default_rng(0).random(SHAPE))
    for mask in (None, a_volume(np.zeros(SHAPE, np.uint8))):
        figure = mk.show(volume, mask)
        assert figure.positions == {"axial": 6, "coronal": 16, "sagittal": 30}
        assert figure.legends == []


def test_the_right_of_the_patient_is_on_the_left_in_whatever_order_the_voxels_are():
    array = np.zeros(SHAPE, np.float32)
    array[:15] = 100  # the patient's left
    turned = Volume(array.transpose(2, 0, 1)[:, ::-1], np.zeros((4, 4)))
    turned.affine[[2, 0, 1], [0, 1, 2]] = 5, -1, 2
    turned.affine[0, 3], turned.affine[3, 3] = 59, 1
    for volume in (a_volume(array), turned):
        figure = mk.show(volume)
        axial, coronal, _ = panels(figure)
        for picture in (axial, coronal):
            middle = picture[picture.shape[0] // 3]
            width = len(middle)
            assert middle[: width // 2].max() < 30 and middle[round(0.8 * width) : round(0.95 * width)].min() > 220


def test_classes_have_the_colors_of_reports_and_their_names():
    mask = ball((30, 32, 30), 25).astype(np.uint8) * 2
    mask[ball((30, 32, 30), 12)] = 7
    figure = mk.show(a_volume(np.zeros(SHAPE)), a_volume(mask), names={"a $\\frac b": 2})
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a $\\frac b", "label 7"]
    axial = panels(figure)[0]
    outer, inner = (extent_of(axial, color)[0] for color in COLORS[:2])
    assert outer / inner == pytest.approx(51 / 25, rel=0.1)


def test_one_class_of_two_masks_has_two_colors_and_several_keep_theirs():
    one = a_volume(ball((30, 32, 30), 20).astype(np.uint8))
    two = a_volume(one.array + ball((30, 32, 20), 9))
    figure = mk.show(a_volume(np.zeros(SHAPE)), one, a_volume(np.roll(one.array, 3, 0)))
    lines = figure.legends[0].get_lines()
    assert [line.get_color() for line in lines] == ["#19b8e0", "#ff8c1a"]
    assert [line.get_linestyle() for line in lines] == ["-", "--"]
    figure = mk.show(a_volume(np.zeros(SHAPE)), two, one)
    assert [line.get_color() for line in figure.legends[0].get_lines()] == ["#19b8e0", "#ff8c1a"]
    figure.move("axial", 9)  # a slice without the second class
    assert extent_of(panels(figure)[0], COLORS[0])[0] > 50
    assert (np.abs(panels(figure)[0] - COLORS[1]).max(axis=2) < 30).sum() == 0


def test_a_prediction_alone_is_dashed():
    figure = mk.show(a_volume(np.zeros(SHAPE)), None, a_volume(ball((30, 32, 30), 20).astype(np.uint8)))
    (line,) = figure.legends[0].get_lines()
    assert (line.get_color(), line.get_linestyle()) == ("#ff8c1a", "--")
    assert figure.positions["axial"] == 6


def test_files_arrays_and_volumes_give_the_same_figure(tmp_path):
    array, mask = np.random.default_rng(0).random(SHAPE).astype(np.float32), ball((30, 32, 30), 20)
    unit = a_volume(array, (1.0, 1.0, 1.0))
    scan = write_volume(array, tmp_path / "scan.nii.gz", affine=unit.affine)
    path = write_mask(mask, tmp_path / "mask.nrrd", like=unit)
    expected = mk.show(array, mask).png()
    assert mk.show(unit, Volume(mask, unit.affine)).png() == expected
    assert mk.show(scan, str(path)).png() == expected
    assert mk.show(np.stack([array, array * 0], axis=-1), mask).png() == expected


def test_a_mask_on_another_grid_is_refused():
    with pytest.raises(GeometryError, match="mask 1: expected the shape"):
        mk.show(np.zeros((4, 4, 4)), np.zeros((4, 4, 5), int))


def test_a_plane_moves_to_another_slice():
    array = np.broadcast_to(np.arange(12.0), SHAPE)
    figure = mk.show(a_volume(array))
    before = panels(figure)
    figure.move("axial", 11)
    assert figure.axes[0].get_title() == "axial, slice 11 of 12"
    after = panels(figure)
    assert after[0].mean() > before[0].mean() + 50
    assert np.array_equal(after[1], before[1])


def test_a_notebook_without_ipywidgets_shows_the_figure(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    figure = mk.show(a_volume(np.zeros(SHAPE)))
    assert figure._repr_mimebundle_() == {}
    assert figure._repr_png_() == figure.png()


def test_sliders_move_the_planes():
    pytest.importorskip("ipywidgets", reason="needs ipywidgets of the extra `notebooks`")
    figure = mk.show(a_volume(np.broadcast_to(np.arange(12.0), SHAPE)))
    assert "application/vnd.jupyter.widget-view+json" in figure._repr_mimebundle_()
    row, picture = slider_box(figure).children
    sliders = {slider.description: slider for slider in row.children}
    ends = {name: (slider.value, slider.max) for name, slider in sliders.items()}
    assert ends == {"axial": (6, 11), "coronal": (16, 31), "sagittal": (30, 59)}
    before = bytes(picture.value)
    sliders["axial"].value = 0
    assert figure.positions["axial"] == 0
    assert bytes(picture.value) == figure.png() != before
