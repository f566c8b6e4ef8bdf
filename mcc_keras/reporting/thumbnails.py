"""Thumbnails of a case, drawn with NumPy, since matplotlib would take minutes for hundreds of cases."""

import colorsys
import io

import numpy as np

HEIGHT, WIDTH = 230, 480
GAP = 4
PAPER = (16, 18, 22)
COLORS = ((25, 184, 224), (255, 140, 26), (126, 211, 33), (208, 70, 180), (250, 220, 60), (120, 120, 255))
DASH = 4  # pixels
_GOLDEN = 0.618034  # of the circle of hues: no two of the first dozens of classes come close


def class_color(index):
    """Return the color of class 0, 1, … as (red, green, blue) from 0 to 255; no two classes share one.

    Example:

    >>> class_color(0), class_color(6)
    ((25, 184, 224), (230, 48, 48))
    """
    if index < len(COLORS):
        return COLORS[index]
    hue = (index - len(COLORS)) * _GOLDEN % 1
    return tuple(round(255 * value) for value in colorsys.hsv_to_rgb(hue, 0.79, 0.9))


def predicted_color(index, *, num_classes):
    """Return the color of a predicted outline: of its class, or where there is one class another than the truth's."""
    return COLORS[1] if num_classes == 1 else class_color(index)


def draw(slices, *, size=(WIDTH, HEIGHT), num_classes=2):
    """Return JPEG bytes of three slices in one scale of mm, with the outline of each class in its color.

    The slices are placed side by side. Where it makes them larger, as for a stack of few slices, the second one is
    above the third.

    Args:
        slices: `mcc_keras.reporting.plots.Slice`s, three. The patient's right is on the left.
            Outlines of the truth are solid, those of the prediction dashed.
        size: Largest width and height in pixels.
        num_classes: Foreground classes; with one, truth and prediction have two colors.
    """
    from PIL import Image

    extents = np.array([np.multiply(slice_.image.shape, slice_.spacing_mm) for slice_ in slices])
    layouts = (_row_scale(extents, *size), _row), (_stack_scale(extents, *size), _stack)
    scale, place = max(layouts, key=lambda found: found[0])
    sizes = np.maximum(1, np.rint(extents * scale)).astype(int)
    corners = place(sizes)
    right, bottom = np.max(np.add(corners, sizes), axis=0)
    canvas = np.full((bottom, right, 3), PAPER, np.uint8)
    window = np.percentile(np.concatenate([np.ravel(slice_.image) for slice_ in slices]), (1, 99.5))
    for slice_, (left, top), (width, height) in zip(slices, corners, sizes, strict=True):
        canvas[top : top + height, left : left + width] = _panel(slice_, width, height, window, num_classes)
    buffer = io.BytesIO()
    Image.fromarray(canvas).save(buffer, "JPEG", quality=88, subsampling=0)
    return buffer.getvalue()


def _row_scale(extents, width, height):
    return min((width - 2 * GAP) / extents[:, 0].sum(), height / extents[:, 1].max())


def _row(sizes):
    """Return left and top of three panels side by side, centered vertically."""
    widths, heights = sizes.T
    return [(widths[:index].sum() + GAP * index, (heights.max() - heights[index]) // 2) for index in range(3)]


def _stack_scale(extents, width, height):
    widths, heights = extents.T
    below = (height - GAP) / (heights[1] + heights[2])
    return min((width - GAP) / (widths[0] + widths[1:].max()), height / heights[0], below)


def _stack(sizes):
    """Return left and top of three panels, the third below the second."""
    widths, heights = sizes.T
    right = heights[1] + GAP + heights[2]
    left, top = widths[0] + GAP, max(heights[0] - right, 0) // 2
    return [(0, max(right - heights[0], 0) // 2), (left, top), (left, top + heights[1] + GAP)]


def _panel(slice_, width, height, window, num_classes):
    columns = np.arange(width) * slice_.image.shape[0] // width
    rows = np.arange(height) * slice_.image.shape[1] // height
    image = np.asarray(slice_.image, np.float32)
    low, high = window
    grey = np.clip((image - low) / max(high - low, 1e-6), 0, 1)[columns][:, rows]
    picture = np.repeat((grey * 255).astype(np.uint8)[..., None], 3, axis=2)
    dash = np.add.outer(np.arange(width), np.arange(height)) // DASH % 2 == 0
    for mask, predicted in ((slice_.truth, False), (slice_.predicted, True)):
        mask = np.zeros((1, 1), int) if mask is None else np.asarray(mask)[columns][:, rows]
        for label in np.unique(mask[mask > 0]).tolist():
            line = _outline(mask == label)
            if predicted:
                picture[line & dash] = predicted_color(label - 1, num_classes=num_classes)
            else:
                picture[line] = class_color(label - 1)
    if slice_.orientation != "sagittal":
        picture = picture[::-1]
    return picture.transpose(1, 0, 2)[::-1]


def _outline(mask):
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner
