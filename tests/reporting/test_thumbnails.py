import io

import numpy as np
from PIL import Image

from mcc_keras.reporting import plots
from mcc_keras.reporting.thumbnails import COLORS, GAP, HEIGHT, PAPER, WIDTH, draw


def picture(array, affine, mask=None):
    return np.asarray(Image.open(io.BytesIO(draw(plots.find_slices(array, affine, truth=mask)))))


def test_slices_keep_the_proportions_of_the_patient():
    drawn = picture(np.random.default_rng(0).normal(size=(20, 10, 5)), np.diag([1.0, 2.0, 4.0, 1.0]))
    # Axial and coronal are 20 mm wide, sagittal 20 mm, all 20 mm high: three equal squares.
    assert drawn.shape[0] <= HEIGHT and drawn.shape[1] <= WIDTH + 2
    assert drawn.shape[1] == 3 * drawn.shape[0] + 2 * GAP


def test_a_stack_of_few_slices_is_shown_with_two_slices_one_above_the_other():
    # Axial 40 x 40 mm, the two others 40 x 8 mm: side by side they would be a third of the width, like this the half.
    drawn = picture(np.random.default_rng(0).normal(size=(40, 40, 4)), np.diag([1.0, 1.0, 2.0, 1.0]))
    side = drawn.shape[0]
    assert (side, drawn.shape[1]) == (HEIGHT, 2 * HEIGHT + GAP)
    assert WIDTH - drawn.shape[1] < 20
    dark = (np.abs(drawn.astype(int) - PAPER).sum(axis=2) < 40)[:, side + GAP :].all(axis=1)
    panels = np.flatnonzero(np.diff(np.concatenate([[True], dark, [True]]).astype(int)))
    # Two panels of 8 / 40 of the side, a gap between them, the pair in the middle.
    assert np.allclose(panels, np.cumsum([side * 0.3 - 2, side / 5, GAP, side / 5]), atol=3)


def test_the_right_side_of_the_patient_is_on_the_left_whatever_the_order_of_the_file():
    array = np.zeros((16, 16, 16))
    array[12:] = 1
    for affine, stored in ((np.eye(4), array), (np.diag([-1.0, 1, 1, 1]), array[::-1])):
        drawn = picture(stored, affine)
        side = drawn.shape[0]
        axial = drawn[:, :side, 0].astype(int)
        assert axial[:, : side // 8].mean() > 200 > 50 > axial[:, side // 2 :].mean()


def test_each_class_has_an_outline_of_its_color():
    mask = np.zeros((16, 16, 16), np.uint8)
    mask[3:8, 4:12, 4:12], mask[8:13, 4:12, 4:12] = 1, 2
    drawn = picture(np.full((16, 16, 16), 7.0), np.eye(4), mask).astype(int)
    for color in COLORS[:2]:
        assert (np.abs(drawn - color).sum(axis=-1) < 60).sum() > 50
