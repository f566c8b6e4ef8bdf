"""`show`: a scan with the outlines of its mask in three planes, for notebooks; drawn by matplotlib."""

import io

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mcc_keras.errors import printable
from mcc_keras.reporting.plots import ORIENTATIONS, cut_slice, plot_slice, to_canonical
from mcc_keras.reporting.thumbnails import class_color, predicted_color
from mcc_keras.viewing.scene import largest_slices, read_scene
from mcc_keras.viewing.sliders import find_ipywidgets, slider_box

WIDTH_INCHES = 9.0
_TEXT_INCHES = 0.35  # of a title, and of a legend


def show(volume, mask=None, predicted=None, *, names=None, affine=None, nonfinite="error"):
    """Show a scan in an axial, a coronal and a sagittal slice, with the outlines of its mask.

    The slices are those in which the mask is largest, or the middle ones without a mask. They have true proportions and
    one scale; the patient's right is on the left of axial and coronal slices. A notebook shows a slider for each plane
    where ipywidgets is installed, and the figure alone where it is not.

    Args:
        volume: `Volume`, file, folder of DICOM files, or array (x, y, z) with voxels of 1 mm in RAS+ order. Of several
            channels of a `Volume` or an array, the first is drawn.
        mask: Mask on its grid, each label outlined in the color that its class has in reports; as `volume`, or `None`.
        predicted: A second mask, with dashed outlines.
        names: Name → label or labels of a class, as `{"liver": 1, "tumor": (2, 3)}`; other labels have their numbers.
        affine: `"sform"` or `"qform"`, used where the two of a NIfTI file disagree.
        nonfinite: `"error"` refuses NaN and infinite voxels of a file, `"zero"` reads them as 0.

    Returns:
        A matplotlib figure. In a script, `show(…).savefig("case.png")`.

    Raises:
        GeometryError: A mask on another grid.
        LabelError: A mask whose values are no labels.
        UsageError: An array that is not of shape (x, y, z) or (x, y, z, channels), or names that are not of labels.
        VolumeError: A file that cannot be read.

    Example:

    >>> mask = np.zeros((8, 8, 8), int)
    >>> mask[2:6, 2:6, 3] = 1
    >>> figure = show(np.random.default_rng(0).random((8, 8, 8)), mask, names={"disk": 1})
    >>> [ax.get_title() for ax in figure.axes]
    ['axial, slice 3 of 8', 'coronal, slice 4 of 8', 'sagittal, slice 4 of 8']
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['disk']
    """
    masks = [each for each in (mask, predicted) if each is not None]
    scene = read_scene(volume, masks, names=names, affine=affine, nonfinite=nonfinite)
    classes = [each.classes for each in scene.masks]
    truth = None if mask is None else classes[0]
    return PlanesFigure(scene, truth, None if predicted is None else classes[-1])


class PlanesFigure(Figure):
    """Three planes of a `Scene`; `positions` says which, and `move` changes one.

    Args:
        scene: `Scene`.
        truth: Array of its classes with solid outlines, or None.
        predicted: Array of its classes with dashed outlines, or None.
    """

    def __init__(self, scene, truth, predicted):
        self._arrays, self._spacing_mm = to_canonical(scene.scan.affine, scene.scan.array, truth, predicted)
        drawn = [array for array in self._arrays[1:] if array is not None and array.any()]
        self._style = {"num_classes": len(scene.names), "window": scene.window}
        extents = np.multiply(self._arrays[0].shape, self._spacing_mm)
        widths, heights = extents[[0, 0, 1]], extents[[1, 2, 2]]
        lines = _legend(scene, solid=truth is not None)
        height = WIDTH_INCHES * heights.max() / widths.sum() + _TEXT_INCHES * (1 + bool(lines))
        super().__init__(figsize=(WIDTH_INCHES, height), layout="constrained")
        self.subplots(1, 3, width_ratios=widths)
        starts = largest_slices(drawn[0] if drawn else np.zeros(self._arrays[0].shape, bool))
        self.positions = {}
        for orientation, axis, _ in ORIENTATIONS:
            self.move(orientation, starts[axis])
        if lines:
            legend = self.legend(handles=lines, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
            for text in legend.get_texts():
                text.set_parse_math(False)
        self.get_layout_engine().execute(self)
        self.set_layout_engine("none")  # each run of it would move the axes a little

    @property
    def sizes(self):
        """Orientation → number of slices."""
        return {orientation: self._arrays[0].shape[axis] for orientation, axis, _ in ORIENTATIONS}

    def move(self, orientation, index):
        """Draw slice `index`, from 0, of an orientation."""
        ax = self.axes[[name for name, *_ in ORIENTATIONS].index(orientation)]
        ax.clear()
        plot_slice(cut_slice(orientation, index, self._arrays, self._spacing_mm), **self._style, ax=ax)
        ax.set_title(f"{orientation}, slice {index} of {self.sizes[orientation]}", fontsize=9)
        self.positions[orientation] = index

    def png(self):
        """Return the figure as the bytes of a PNG file."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()

    _repr_png_ = png

    def _repr_mimebundle_(self, include=None, exclude=None):
        """Return the sliders for a notebook, which shows them in place of the picture where it can."""
        return slider_box(self)._repr_mimebundle_(include=include, exclude=exclude) if find_ipywidgets() else {}


def _legend(scene, *, solid):
    """Return a line for each class that has voxels; with one class and a prediction, one for each mask."""
    styles = ["solid", "dashed"][not solid :][: len(scene.masks)]
    if len(scene.names) == 1 and "dashed" in styles:
        colors = {"solid": class_color(0), "dashed": predicted_color(0, num_classes=1)}
        entries = [(colors[style], style, mask.name) for style, mask in zip(styles, scene.masks, strict=True)]
    else:
        present = sorted({index for mask in scene.masks for index in mask.present})
        entries = [(class_color(index - 1), styles[0], scene.names[index - 1]) for index in present]
    return [
        Line2D([], [], color=f"#{bytes(color).hex()}", linestyle=style, label=printable(name))
        for color, style, name in entries
    ]
