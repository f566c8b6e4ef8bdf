"""Small pictures of a case, drawn in NumPy: a set of hundreds of cases would wait minutes for a plotting library."""

import io

import numpy as np

HEIGHT = 150
GAP = 4
COLOURS = ((25, 184, 224), (255, 140, 26), (126, 211, 33), (208, 70, 180), (250, 220, 60), (120, 120, 255))


def draw(slices):
    """Return JPEG bytes of slices side by side with the outline of the mask, right on the left as in radiology.

    Args:
        slices: `mcc_keras.plots.Slice`s.
    """
    from PIL import Image

    panels = [_panel(slice_) for slice_ in slices]
    gap = np.full((HEIGHT, GAP, 3), 255, np.uint8)
    row = [piece for panel in panels for piece in (panel, gap)][:-1]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(row, axis=1)).save(buffer, "JPEG", quality=88, subsampling=0)
    return buffer.getvalue()


def _panel(slice_):
    columns, rows = _sampling(slice_)
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


def _sampling(slice_):
    """Indices of the voxels that the pixels of a picture of the right proportions show."""
    sizes, steps = slice_.image.shape, slice_.spacing_mm
    width = HEIGHT * sizes[0] * steps[0] / (sizes[1] * steps[1])
    width = int(np.clip(round(width), 8, 3 * HEIGHT))
    return (np.arange(width) * sizes[0] // width, np.arange(HEIGHT) * sizes[1] // HEIGHT)


def _outline(mask):
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner
