import matplotlib
import numpy as np
import pytest

from mcc_keras.datasets.phantom import random_volume
from mcc_keras.reporting import plots
from mcc_keras.reporting.thumbnails import class_color

AFFINE = np.diag([0.5, 1.0, 4.0, 1.0])


def box(shape, low, high):
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = 1
    return mask


def test_slices_go_through_the_middle_of_the_truth():
    image = np.arange(10 * 12 * 6).reshape(10, 12, 6)
    truth = box(image.shape, (6, 1, 4), (9, 4, 5))
    axial, coronal, sagittal = plots.find_slices(image, np.eye(4), truth=truth)
    assert np.array_equal(axial.image, image[:, :, 4])
    assert np.array_equal(coronal.image, image[:, 2, :])
    assert np.array_equal(sagittal.image, image[7, :, :])


def test_an_empty_truth_leaves_the_choice_to_the_prediction_and_two_to_the_middle():
    image = np.zeros((8, 8, 8))
    empty, predicted = box(image.shape, (0, 0, 0), (0, 0, 0)), box(image.shape, (1, 1, 1), (2, 2, 2))
    assert [s.predicted.sum() for s in plots.find_slices(image, np.eye(4), truth=empty, predicted=predicted)] == [1] * 3
    image[:, :, 4] = 1
    assert plots.find_slices(image, np.eye(4), truth=empty)[0].image.all()


def test_flipped_and_permuted_scans_show_the_same_slices():
    scan = random_volume(3, size=(24, 24, 12))
    image, mask = scan.image[..., 0], scan.mask
    turned = scan.affine.copy()
    turned[:3, :3] = scan.affine[:3, [2, 0, 1]]
    turned[:3, 3] += turned[:3, 0] * (image.shape[2] - 1)
    turned[:3, 0] *= -1
    there = plots.find_slices(image.transpose(2, 0, 1)[::-1], turned, truth=mask.transpose(2, 0, 1)[::-1])
    for here, other in zip(plots.find_slices(image, scan.affine, truth=mask), there, strict=True):
        assert np.array_equal(here.image, other.image)
        assert np.array_equal(here.truth, other.truth)
        assert here.spacing_mm == pytest.approx(other.spacing_mm)


def test_pixels_are_drawn_in_their_true_proportions():
    axial, coronal, sagittal = plots.find_slices(np.random.default_rng(0).random((8, 8, 8)), AFFINE)
    for slice_, ratio in ((axial, 2.0), (coronal, 8.0), (sagittal, 4.0)):
        assert plots.plot_slice(slice_).get_aspect() == ratio


def test_the_right_of_the_patient_is_on_the_left_of_axial_and_coronal_slices():
    axes = plots.plot_case(np.random.default_rng(0).random((8, 8, 8)), AFFINE)
    assert [ax.get_xlim()[0] > ax.get_xlim()[1] for ax in axes] == [True, True, False]
    assert [ax.texts[0].get_text() for ax in axes] == ["R", "R", "P"]
    assert [ax.get_title() for ax in axes] == ["axial", "coronal", "sagittal"]


def test_outlines_run_half_a_voxel_outside_the_mask_and_close_at_the_edge_of_the_scan():
    image = np.random.default_rng(0).random((8, 8, 8))
    axial = plots.find_slices(image, np.eye(4), truth=box(image.shape, (0, 2, 0), (3, 5, 8)))[0]
    (outline,) = plots.plot_slice(axial).collections
    (path,) = outline.get_paths()
    assert path.get_extents().bounds == pytest.approx((-0.5, 1.5, 3, 3))
    assert np.array_equal(path.vertices[0], path.vertices[-1])


def test_true_and_predicted_outlines_differ_in_color_and_dash():
    image = np.random.default_rng(0).random((8, 8, 8))
    masks = {"truth": box(image.shape, (1, 1, 1), (4, 4, 4)), "predicted": box(image.shape, (2, 2, 2), (5, 5, 5))}
    true, predicted = plots.plot_case(image, AFFINE, **masks)[0].collections
    assert matplotlib.colors.to_hex(true.get_edgecolor()[0]) == plots.TRUE_COLOR
    assert matplotlib.colors.to_hex(predicted.get_edgecolor()[0]) == plots.PREDICTED_COLOR
    assert true.get_linestyle() != predicted.get_linestyle()


def test_every_label_has_its_own_outline():
    mask = box((8, 8, 8), (1, 1, 1), (4, 4, 4)) + 2 * box((8, 8, 8), (5, 5, 1), (7, 7, 4))
    ax = plots.plot_case(np.random.default_rng(0).random((8, 8, 8)), AFFINE, truth=mask)[0]
    assert len(ax.collections) == 2


def test_a_constant_image_without_masks_is_drawn_without_a_warning():
    axes = plots.plot_case(np.zeros((4, 4, 4)), AFFINE, truth=np.zeros((4, 4, 4), np.uint8))
    axes[0].figure.canvas.draw()
    assert len(axes[0].images) == 1


def test_learning_curves_hold_the_numbers_of_the_history():
    history = [{"epoch": 1, "loss": 0.9, "val_loss": 0.8}, {"epoch": 2, "loss": 0.5, "val_loss": 0.6}]
    ax = plots.plot_history(history, best_epoch=2)
    assert [tuple(line.get_ydata()) for line in ax.lines[:2]] == [(0.9, 0.5), (0.8, 0.6)]
    assert [text.get_text() for text in ax.get_legend().texts] == ["training", "validation", "kept: epoch 2"]
    assert ax.get_xlabel() == "epoch"


@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 300])
def test_the_axis_of_epochs_shows_whole_numbers(epochs):
    ax = plots.plot_history([{"epoch": float(epoch), "loss": 1 / epoch} for epoch in range(1, epochs + 1)])
    low, high = ax.get_xlim()
    shown = [tick for tick in ax.get_xticks() if low <= tick <= high]
    assert shown and all(tick == int(tick) for tick in shown)


def test_the_outlines_of_several_classes_have_the_colors_of_the_thumbnails():
    mask = box((8, 8, 8), (1, 1, 1), (4, 4, 4)) + 2 * box((8, 8, 8), (5, 5, 1), (7, 7, 4))
    ax = plots.plot_case(np.random.default_rng(0).random((8, 8, 8)), AFFINE, truth=mask, predicted=mask)[0]
    colors = [matplotlib.colors.to_hex(line.get_edgecolor()[0]) for line in ax.collections]
    assert colors == [f"#{bytes(class_color(index)).hex()}" for index in (0, 1, 0, 1)]


def test_a_history_without_validation_has_one_curve_and_an_empty_one_none():
    assert len(plots.plot_history([{"epoch": 1, "loss": 0.9}]).lines) == 1
    assert len(plots.plot_history([]).lines) == 0


def test_every_plot_draws_into_the_axes_that_it_is_given_and_returns_them():
    ax = plots.new_figure((2, 2)).subplots()
    assert plots.plot_history([{"epoch": 1, "loss": 0.9}], ax=ax) is ax
    slice_ = plots.find_slices(np.zeros((4, 4, 4)), AFFINE)[0]
    assert plots.plot_slice(slice_, ax=ax) is ax
    axes = plots.new_figure((2, 2)).subplots(1, 3)
    assert plots.plot_case(np.zeros((4, 4, 4)), AFFINE, axes=axes) is axes


def test_drawing_opens_no_pyplot_figure():
    import matplotlib.pyplot

    plots.plot_case(np.zeros((4, 4, 4)), AFFINE)
    assert matplotlib.pyplot.get_fignums() == []
