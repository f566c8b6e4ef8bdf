"""Small pictures of a case, drawn in NumPy: a set of hundreds of cases would wait minutes for a plotting library."""

import io

import numpy as np

HEIGHT, WIDTH = 230, 480
GAP = 4
PAPER = (16, 18, 22)
COLOURS = ((25, 184, 224), (255, 140, 26), (126, 211, 33), (208, 70, 180), (250, 220, 60), (120, 120, 255))


def draw(slices):
    """Return JPEG bytes of three slices in one scale of mm, with the outline of each class in its colour.

    The slices stand side by side, or the second and the third one above the other where that makes them larger, as it
    does for a stack of few slices.

    Args:
        slices: `mcc_keras.reporting.plots.Slice`s, three. The patient's right is put on the left, as in radiology.
    """
    from PIL import Image

    extents = np.array([np.multiply(slice_.image.shape, slice_.spacing_mm) for slice_ in slices])
    scale, place = max((_row_scale(extents), _row), (_stack_scale(extents), _stack), key=lambda found: found[0])
    sizes = np.maximum(1, np.rint(extents * scale)).astype(int)
    corners = place(sizes)
    right, bottom = np.max(np.add(corners, sizes), axis=0)
    canvas = np.full((bottom, right, 3), PAPER, np.uint8)
    window = np.percentile(np.concatenate([np.ravel(slice_.image) for slice_ in slices]), (1, 99.5))
    for slice_, (left, top), (width, height) in zip(slices, corners, sizes, strict=True):
        canvas[top : top + height, left : left + width] = _panel(slice_, width, height, window)
    buffer = io.BytesIO()
    Image.fromarray(canvas).save(buffer, "JPEG", quality=88, subsampling=0)
    return buffer.getvalue()


def _row_scale(extents):
    return min((WIDTH - 2 * GAP) / extents[:, 0].sum(), HEIGHT / extents[:, 1].max())


def _row(sizes):
    """Left and top of three panels side by side, in the middle of their height."""
    widths, heights = sizes.T
    return [(widths[:index].sum() + GAP * index, (heights.max() - heights[index]) // 2) for index in range(3)]


def _stack_scale(extents):
    widths, heights = extents.T
    below = (HEIGHT - GAP) / (heights[1] + heights[2])
    return min((WIDTH - GAP) / (widths[0] + widths[1:].max()), HEIGHT / heights[0], below)


def _stack(sizes):
    """Left and top of three panels of which the third stands below the second."""
    widths, heights = sizes.T
    right = heights[1] + GAP + heights[2]
    left, top = widths[0] + GAP, max(heights[0] - right, 0) // 2
    return [(0, max(right - heights[0], 0) // 2), (left, top), (left, top + heights[1] + GAP)]


def _panel(slice_, width, height, window):
    columns = np.arange(width) * slice_.image.shape[0] // width
    rows = np.arange(height) * slice_.image.shape[1] // height
    image = np.asarray(slice_.image, np.float32)
    low, high = window
    grey = np.clip((image - low) / max(high - low, 1e-6), 0, 1)[columns][:, rows]
    picture = np.repeat((grey * 255).astype(np.uint8)[..., None], 3, axis=2)
    if slice_.truth is not None:
        truth = np.asarray(slice_.truth)[columns][:, rows]
        for label in np.unique(truth[truth > 0]):
            picture[_outline(truth == label)] = COLOURS[(int(label) - 1) % len(COLOURS)]
    if slice_.orientation != "sagittal":
        picture = picture[::-1]
    return picture.transpose(1, 0, 2)[::-1]


def _outline(mask):
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner
