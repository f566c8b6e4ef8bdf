"""Plots: learning curves, and slices with outlines. Each function takes `ax=None` and returns the axes.

Slices are drawn in RAS+ order and true proportions, in radiological convention: the patient's right is on the left of
axial and coronal slices.
"""

from typing import NamedTuple

import nibabel
import numpy as np

from mcc_keras.reporting.thumbnails import COLORS, class_color, predicted_color

TRUE_COLOR, PREDICTED_COLOR = (f"#{bytes(rgb).hex()}" for rgb in COLORS[:2])
# Orientation of the slice, canonical axis perpendicular to it, and the letters at its left, right, bottom and top edge.
ORIENTATIONS = (("axial", 2, "RLPA"), ("coronal", 1, "RLIS"), ("sagittal", 0, "PAIS"))


class Slice(NamedTuple):
    """One slice of a scan, first axis to the right and second axis up, in canonical order.

    Args:
        orientation: "axial", "coronal" or "sagittal".
        image: 2-D array.
        truth: 2-D integer array or None.
        predicted: 2-D integer array or None.
        spacing_mm: Two floats, the size of a pixel along both axes.
    """

    orientation: str
    image: np.ndarray
    truth: np.ndarray | None
    predicted: np.ndarray | None
    spacing_mm: tuple


def find_slices(image, affine, *, truth=None, predicted=None):
    """Take one slice of each orientation through the middle of the foreground.

    The foreground is that of the truth, else that of the prediction; without either, the middle of the scan is taken.

    Args:
        image: Array of shape (x, y, z), voxels in stored order.
        affine: Array of shape (4, 4), from voxels to RAS+ millimetres.
        truth: Integer array of the image's shape, or None.
        predicted: Integer array of the image's shape, or None.

    Returns:
        A list of three `Slice`s: axial, coronal, sagittal.

    Example:

    >>> slices = find_slices(np.zeros((4, 6, 8)), np.diag([1.0, 1.0, 3.0, 1.0]))
    >>> [(slice_.orientation, slice_.image.shape) for slice_ in slices]
    [('axial', (4, 6)), ('coronal', (4, 8)), ('sagittal', (6, 8))]
    >>> slices[1].spacing_mm
    (1.0, 3.0)
    """
    (image, truth, predicted), spacing_mm = to_canonical(affine, image, truth, predicted)
    marked = next((mask for mask in (truth, predicted) if mask is not None and mask.any()), None)
    slices = []
    for orientation, axis, _ in ORIENTATIONS:
        index = image.shape[axis] // 2
        if marked is not None:
            area = np.count_nonzero(marked, axis=tuple(a for a in range(3) if a != axis))
            index = int(np.flatnonzero(area.cumsum() >= area.sum() / 2)[0])
        slices.append(cut_slice(orientation, index, (image, truth, predicted), spacing_mm))
    return slices


def to_canonical(affine, *arrays):
    """Return arrays (x, y, z) turned to RAS+ order, where None stays None, and the spacing in mm along their axes.

    Example:

    >>> (turned, _), spacing_mm = to_canonical(np.diag([-1.0, 2.0, 3.0, 1.0]), np.arange(2).reshape(2, 1, 1), None)
    >>> turned.ravel().tolist(), spacing_mm
    ([1, 0], (1.0, 2.0, 3.0))
    """
    turn = nibabel.orientations.io_orientation(affine)
    spacing_mm = np.empty(3)
    spacing_mm[turn[:, 0].astype(int)] = np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)
    turned = [None if array is None else nibabel.orientations.apply_orientation(array, turn) for array in arrays]
    return turned, tuple(spacing_mm.tolist())


def cut_slice(orientation, index, arrays, spacing_mm):
    """Return slice `index` of an orientation as a `Slice`.

    Args:
        orientation: "axial", "coronal" or "sagittal".
        index: Position along the axis perpendicular to it, from 0.
        arrays: Image, truth and prediction of `to_canonical`; the last two may be None.
        spacing_mm: Its three spacings.
    """
    axis = next(axis for name, axis, _ in ORIENTATIONS if name == orientation)
    picks = (None if array is None else np.take(array, index, axis=axis) for array in arrays)
    return Slice(orientation, *picks, tuple(float(mm) for mm in np.delete(spacing_mm, axis)))


def plot_slice(slice_, *, window=None, num_classes=None, ax=None):
    """Draw one slice with the true outlines solid and the predicted ones dashed, each class in its color.

    Args:
        slice_: A `Slice`.
        window: Intensities of black and white; by default the 1st and 99.5th percentile of the slice.
        num_classes: Foreground classes; with one, truth and prediction have two colors. By default the highest label.
        ax: Matplotlib axes, or None for new ones.

    Returns:
        The axes.
    """
    ax = _axes(ax, (3, 3))
    letters = next(letters for name, _, letters in ORIENTATIONS if name == slice_.orientation)
    aspect = slice_.spacing_mm[1] / slice_.spacing_mm[0]
    low, high = np.percentile(slice_.image, (1, 99.5)) if window is None else window
    ax.imshow(
        slice_.image.T, origin="lower", cmap="gray", vmin=low, vmax=max(high, low + 1e-6), aspect=aspect,
        interpolation="nearest",
    )  # fmt: skip
    masks = [(mask, kind) for mask, kind in ((slice_.truth, 0), (slice_.predicted, 1)) if mask is not None]
    if num_classes is None:
        num_classes = max((int(mask.max()) for mask, _ in masks), default=0)
    for mask, predicted in masks:
        for label in np.unique(mask[mask > 0]).tolist():
            rgb = predicted_color(label - 1, num_classes=num_classes) if predicted else class_color(label - 1)
            color, style = f"#{bytes(rgb).hex()}", ("solid", "dashed")[predicted]
            # One pixel of background around closes an outline that touches the edge of the scan.
            padded = np.pad(mask == label, 1).astype(float)
            where = (np.arange(-1, n + 1) for n in mask.shape)
            ax.contour(*where, padded.T, levels=[0.5], colors=color, linewidths=1.4, linestyles=style)
    width, height = slice_.image.shape
    sides = (-0.5, width - 0.5)
    ax.set_xlim(sides[::-1] if letters[0] == "R" else sides)
    ax.set_ylim(-0.5, height - 0.5)
    ax.set_axis_off()
    places = ((0.02, 0.5, "left", "center"), (0.98, 0.5, "right", "center"), (0.5, 0.02, "center", "bottom"))
    places += ((0.5, 0.98, "center", "top"),)
    for letter, (x, y, horizontal, vertical) in zip(letters, places, strict=True):
        ax.text(
            x, y, letter, transform=ax.transAxes, ha=horizontal, va=vertical, color="white", fontsize=7, alpha=0.8
        )  # fmt: skip
    return ax


def plot_case(image, affine, *, truth=None, predicted=None, axes=None):
    """Draw an axial, a coronal and a sagittal slice through the middle of the foreground, with outlines.

    Args:
        image: Array of shape (x, y, z), voxels in stored order.
        affine: Array of shape (4, 4), from voxels to RAS+ millimetres.
        truth: Integer array of the image's shape, or None; its outline is solid.
        predicted: Integer array of the image's shape, or None; its outline is dashed.
        axes: Three matplotlib axes, or None for new ones.

    Returns:
        The three axes.
    """
    return plot_slices(find_slices(image, affine, truth=truth, predicted=predicted), axes=axes)


def plot_slices(slices, *, axes=None):
    """Draw the three slices of `find_slices` side by side in one intensity window; return the axes."""
    if axes is None:
        axes = new_figure((7.5, 2.7)).subplots(1, 3)
    window = np.percentile(np.concatenate([slice_.image.ravel() for slice_ in slices]), (1, 99.5))
    for ax, slice_ in zip(axes, slices, strict=True):
        plot_slice(slice_, window=window, ax=ax)
        ax.set_title(slice_.orientation, fontsize=9)
    return axes


def plot_history(history, *, names=("loss", "val_loss"), ylabel=None, best_epoch=None, ax=None):
    """Draw learning curves.

    Args:
        history: List of dicts, one per epoch, each with `epoch` and the numbers below (missing ones are skipped).
        names: Numbers to draw; those that begin with `val_` are drawn in the second color and labeled validation.
        ylabel: Label of the vertical axis; by default the first name.
        best_epoch: Epoch to mark, or None.
        ax: Matplotlib axes, or None for new ones.

    Returns:
        The axes.
    """
    ax = _axes(ax, (4.5, 3))
    for name in names:
        points = [(row["epoch"], row[name]) for row in history if row.get(name) is not None]
        if not points:
            continue
        validation = name.startswith("val_")
        color = PREDICTED_COLOR if validation else "#33658a"
        marker = "o" if len(points) < 3 else ""
        ax.plot(
            *zip(*points, strict=True), color=color, marker=marker, label="validation" if validation else "training"
        )
    if best_epoch is not None:
        ax.axvline(best_epoch, color="#888888", linewidth=1, linestyle="dotted", label=f"kept: epoch {best_epoch:g}")
    epochs = [row["epoch"] for row in history] or [1]
    margin = max(0.5, 0.03 * (epochs[-1] - epochs[0]))  # so that one epoch is not spread over the whole axis
    ax.set_xlim(epochs[0] - margin, epochs[-1] + margin)
    ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    ax.set_xlabel("epoch")
    ax.set_ylabel(names[0] if ylabel is None else ylabel)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", alpha=0.25)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize=8)
    return ax


def new_figure(size_inches):
    """Return a figure that needs no window and no global state of pyplot, with any backend."""
    from matplotlib.figure import Figure

    return Figure(figsize=size_inches, layout="constrained")


def _axes(ax, size_inches):
    return new_figure(size_inches).subplots() if ax is None else ax
