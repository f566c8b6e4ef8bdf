"""Small pictures of a case, drawn in NumPy: a set of hundreds of cases would wait minutes for a plotting library."""

import io

import numpy as np

HEIGHT, WIDTH = 170, 460
GAP = 4
COLOURS = ((25, 184, 224), (255, 140, 26), (126, 211, 33), (208, 70, 180), (250, 220, 60), (120, 120, 255))


def draw(slices):
    """Return JPEG bytes of slices side by side, in one scale of mm, with the outline of each class in its colour.

    Args:
        slices: `mcc_keras.plots.Slice`s. The patient's right is put on the left, as in radiology.
    """
    from PIL import Image

    extents = np.array([np.multiply(slice_.image.shape, slice_.spacing_mm) for slice_ in slices])
    scale = min((WIDTH - GAP * (len(slices) - 1)) / extents[:, 0].sum(), HEIGHT / extents[:, 1].max())
    sizes = np.maximum(1, np.rint(extents * scale)).astype(int)
    canvas = np.full((sizes[:, 1].max(), sizes[:, 0].sum() + GAP * (len(slices) - 1), 3), 255, np.uint8)
    left = 0
    for slice_, (width, height) in zip(slices, sizes, strict=True):
        canvas[:height, left : left + width] = _panel(slice_, width, height)
        left += width + GAP
    buffer = io.BytesIO()
    Image.fromarray(canvas).save(buffer, "JPEG", quality=88, subsampling=0)
    return buffer.getvalue()


def _panel(slice_, width, height):
    columns = np.arange(width) * slice_.image.shape[0] // width
    rows = np.arange(height) * slice_.image.shape[1] // height
    image = np.asarray(slice_.image, np.float32)
    low, high = np.percentile(image, (1, 99.5))
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
