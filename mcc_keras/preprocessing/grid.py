"""Where a scan's voxels lie in the network's box: orientation, crop, and one resampling matrix per axis."""

import dataclasses
import functools
import itertools
import math

import numpy as np

from mcc_keras.errors import GeometryError
from mcc_keras.extent import bounding_box

SAME_SPACING = 1e-5  # relative; smaller differences of voxel sizes are rounding errors of a header
EDGE = 1e-4  # voxels; tolerance at the border for the rounding of an affine
_BLOCK = 1 << 16
WHOLE = 1e-3  # voxels; a length this close above a whole number is that number
# Which axis follows which direction: the closest pair of all decides, then the closest of the others.
FIRST_PICK, PICK_DIGITS = (1e7, 1), 6  # significant digits of a direction cosine
_TURNS = tuple(itertools.permutations(range(3)))


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Grid:
    """Mapping between one scan's grid and the box.

    The box has the center of the (cropped) scan and the canonical directions (RAS+) closest to its axes.

    Args:
        shape: (x, y, z) of the scan, in stored order.
        affine: (4, 4), voxel indices to RAS+ millimetres.
        size: Voxels of the box along the canonical axes.
        target_mm: Voxel size of the box, or `None`: the box covers the scan's whole field of view.
        crop: `(start, stop)` for every stored axis; `None` keeps all voxels.

    Example:

    >>> grid = Grid(shape=(4, 4, 4), affine=np.diag([-2.0, 2, 2, 1]), size=(4, 4, 2))
    >>> grid.spacing_mm
    (2.0, 2.0, 4.0)
    >>> grid.to_box(np.arange(64).reshape(4, 4, 4))[0, 0]
    array([48.5, 50.5], dtype=float32)
    """

    shape: tuple
    affine: np.ndarray
    size: tuple
    target_mm: tuple | None = None
    crop: tuple | None = None

    @functools.cached_property
    def turn(self):
        """Index of the stored axis along each canonical axis, and whether it is reversed."""
        return orientation(self.affine)

    @functools.cached_property
    def steps(self):
        """For every canonical axis: voxels of the scan, voxels of the box, scan voxels per box voxel."""
        (axes, _), (low, high) = self.turn, zip(*self._crop, strict=True)
        counts = [high[axis] - low[axis] for axis in axes]
        if self.target_mm is None:
            return [(n, m, n / m) for n, m in zip(counts, self.size, strict=True)]
        return [
            (n, m, mm / self._stored_mm[axis])
            for n, m, mm, axis in zip(counts, self.size, self.target_mm, axes, strict=True)
        ]

    @property
    def box_affine(self):
        """(4, 4), voxel indices of the box to RAS+ millimetres."""
        to_stored = np.zeros((4, 4))
        to_stored[3, 3] = 1
        for direction, (axis, flip, (n, m, scale)) in enumerate(zip(*self.turn, self.steps, strict=True)):
            start, scale = _start(n, m, scale)
            first = start + scale / 2 - 0.5
            low = self._crop[axis][0]
            to_stored[axis, direction] = -scale if flip else scale
            to_stored[axis, 3] = low + (n - 1 - first if flip else first)
        return np.asarray(self.affine, np.float64) @ to_stored

    @property
    def spacing_mm(self):
        """Voxel size of the box in millimetres."""
        if self.target_mm is not None:
            return self.target_mm
        steps = zip(self.turn[0], self.steps, strict=True)
        return tuple(float(self._stored_mm[axis] * _start(*step)[1]) for axis, step in steps)

    @functools.cached_property
    def inside(self):
        """(*size) bool, True for voxels of the box whose center lies inside the scan."""
        x, y, z = (resampling_matrix(*step)[1] for step in self.steps)
        return x[:, None, None] & y[:, None] & z

    def to_box(self, image):
        """Return an image (x, y, z) on the box, float32; 0 outside. It may share the memory of the image."""
        part = image[tuple(slice(*ends) for ends in self._crop)].astype(np.float32, copy=False)
        return resample(part.transpose(self.turn[0]), self._matrices)

    def share_in_box(self, where):
        """Return the slices of the box that some voxels of a mask (x, y, z) bool reach, and how much of each they fill.

        Only the bounding box of the voxels is resampled: an organ is small in its scan.
        """
        where = where[tuple(slice(*ends) for ends in self._crop)].transpose(self.turn[0])
        return _share(where, self._mask_matrices)

    def share_from_box(self, where):
        """Return the slices of the scan that some voxels of the box, (*size) bool, reach, and their share of each."""
        found = _share(where, self._back_matrices)
        if found is None:
            return None
        order = np.argsort(self.turn[0])
        low = [start for start, _ in self._crop]
        slices = (found[0][axis] for axis in order)
        slices = (slice(s.start + first, s.stop + first) for s, first in zip(slices, low, strict=True))
        return tuple(slices), found[1].transpose(order)

    def from_box(self, box):
        """Return the box (*size) resampled to the scan's grid, (x, y, z) float32; 0 outside the box."""
        part = resample(box, self._back_matrices).transpose(np.argsort(self.turn[0]))
        if self.crop is None:
            return part
        image = np.zeros(self.shape, np.float32)
        image[tuple(slice(*ends) for ends in self.crop)] = part
        return image

    @functools.cached_property
    def _stored_mm(self):
        return np.linalg.norm(np.asarray(self.affine, np.float64)[:3, :3], axis=0)

    @property
    def _crop(self):
        return self.crop or tuple((0, n) for n in self.shape)

    @functools.cached_property
    def _matrices(self):
        return self._turned(resampling_matrix(*step)[0] for step in self.steps)

    @functools.cached_property
    def _back_matrices(self):
        matrices = [resampling_matrix(m, n, 1 / scale)[0] for n, m, scale in self.steps]
        return [matrix[::-1] if flip else matrix for matrix, flip in zip(matrices, self.turn[1], strict=True)]

    @functools.cached_property
    def _mask_matrices(self):
        return self._turned(resampling_matrix(*step, covering=True)[0] for step in self.steps)

    def _turned(self, matrices):
        return [matrix[:, ::-1] if flip else matrix for matrix, flip in zip(matrices, self.turn[1], strict=True)]


def orientation(affine):
    """Return which stored axis runs along each RAS+ axis, and whether it runs backwards.

    Shear and scaling are removed by a polar decomposition, so that oblique scans turn to the closest canonical order.

    Args:
        affine: (4, 4), voxel indices to RAS+ millimetres.

    Returns:
        Two tuples of three: stored axes, flips.

    Example:

    >>> orientation([[0, 0, 3, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    ((2, 0, 1), (False, True, False))
    """
    columns = np.asarray(affine, np.float64)[:3, :3]
    norms = np.linalg.norm(columns, axis=0)
    if not np.isfinite(columns).all() or (norms == 0).any():
        raise GeometryError("affine", f"expected three finite, independent axes, found {columns.tolist()}")
    u, _, vt = np.linalg.svd(columns / norms)
    rotation = u @ vt
    found = rotation[range(3), _TURNS]
    score = np.sort(np.round(np.abs(found) * 10**PICK_DIGITS), axis=1)[:, :0:-1]
    best = int(np.argmax(score @ FIRST_PICK))
    return _TURNS[best], tuple((found[best] < 0).tolist())


def native_size(shape, affine, target_mm=None, crop=None):
    """Return the voxels of a scan's own box along the canonical axes: just those that its field of view takes.

    Args:
        shape: (x, y, z) of the scan, in stored order.
        affine: (4, 4), voxel indices to RAS+ millimetres.
        target_mm: Voxel size of the box along the canonical axes; `None`: that of the scan.
        crop: `(start, stop)` for every stored axis; `None` keeps all voxels.

    Example:

    >>> native_size((10, 20, 30), np.diag([1, 1, 2.5, 1]), target_mm=(1, 2, 2), crop=((0, 9), (0, 20), (10, 30)))
    (9, 10, 25)
    """
    axes, _ = orientation(affine)
    crop = crop or tuple((0, n) for n in shape)
    counts = [crop[axis][1] - crop[axis][0] for axis in axes]
    if target_mm is None:
        return tuple(counts)
    stored_mm = np.linalg.norm(np.asarray(affine, np.float64)[:3, :3], axis=0)[list(axes)]
    return tuple(max(1, int(n)) for n in np.ceil(counts * stored_mm / target_mm - WHOLE))


def with_margin(box, margin_mm, *, shape, spacing_mm):
    """Return a bounding box that is `margin_mm` wider on every side, within `shape`.

    Example:

    >>> with_margin(((4, 6), (1, 3)), 2.5, shape=(10, 4), spacing_mm=(1.0, 1.0))
    ((1, 9), (0, 4))
    """
    steps = [math.ceil(margin_mm / mm - WHOLE) for mm in spacing_mm]
    return tuple((max(0, a - s), min(n, b + s)) for (a, b), s, n in zip(box, steps, shape, strict=True))


@functools.lru_cache(maxsize=64)
def resampling_matrix(n_from, n_to, scale, *, covering=False):
    """Return the matrix that resamples one axis, and which target voxels have their center inside the source.

    Both grids share their center (to the next whole voxel at scale 1, so that cropping and padding move no voxel; to
    half a voxel of the coarser where the finer is thinner than one of it, so that the thin one is not lost). With
    scale > 1 a target voxel is the mean of what it covers (which may lie up to an eighth of a source voxel from its
    center, where it cuts voxels), else it is interpolated linearly between the two nearest voxel centers.

    Args:
        n_from: Voxels of the source axis.
        n_to: Voxels of the target axis.
        scale: Source voxels per target voxel, > 0.
        covering: Average the covered source voxels at any scale, so that a region that fills a target voxel has the
            share 1.

    Returns:
        (n_to, n_from) float32, whose rows sum to 1, or 0 outside; (n_to,) bool. Both are cached and read-only.

    Example:

    >>> resampling_matrix(4, 2, 2.0)[0].tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    """
    start, scale = _start(n_from, n_to, scale)
    center = start + (np.arange(n_to) + 0.5) * scale
    inside = (center > -EDGE) & (center < n_from + EDGE)
    voxel = np.arange(n_from)
    if scale > 1 or covering:
        low, high = center[:, None] - scale / 2, center[:, None] + scale / 2
        weights = np.maximum(np.minimum(high, voxel + 1) - np.maximum(low, voxel), 0)
    else:
        nearest = np.clip(center - 0.5, 0, n_from - 1)
        weights = np.maximum(1 - np.abs(nearest[:, None] - voxel), 0)
    total = weights.sum(axis=1, keepdims=True)
    weights = np.where(inside[:, None], weights / np.where(total > 0, total, 1), 0).astype(np.float32)
    weights.flags.writeable = inside.flags.writeable = False
    return weights, inside


def resample(image, matrices):
    """Multiply every axis of an image (x, y, z) float32 by its matrix, in the order in which they shrink it most.

    Among equals, the axis with the largest stride is first, since it multiplies whole rows.
    """

    def cost(axis):
        return matrices[axis].shape[0] / matrices[axis].shape[1], -abs(image.strides[axis])

    for axis in sorted(range(3), key=cost):
        image = _along(matrices[axis], image, axis)
    return image


def _share(where, matrices):
    """Resample the bounding box of the true voxels; return the slices of the result and its values there."""
    found, parts, slices = bounding_box(where), [], []
    if found is None:
        return None
    for (low, high), matrix in zip(found, matrices, strict=True):
        part = matrix[:, low:high]
        rows = np.flatnonzero(part.any(axis=1))
        if not rows.size:
            return None
        slices.append(slice(int(rows[0]), int(rows[-1]) + 1))
        parts.append(part[slices[-1]])
    return tuple(slices), resample(where[tuple(slice(*ends) for ends in found)].astype(np.float32), parts)


def largest_share(shares, shape, *, half=False):
    """Return the label (x, y, z) uint8 with the largest share in each voxel; label 0 has the remainder to 1.

    Args:
        shares: Dict label → (slices, share), or None for a label without any.
        shape: Shape of the result.
        half: Whether a share of exactly 0.5 of a single label is enough.

    Example:

    >>> voxels = tuple(slice(0, n) for n in (3, 1, 1))
    >>> share = np.array([0.4, 0.5, 0.6]).reshape(3, 1, 1)
    >>> largest_share({1: (voxels, share)}, (3, 1, 1)).ravel()
    array([0, 0, 1], dtype=uint8)
    """
    labels, shares = np.zeros(shape, np.uint8), {label: share for label, share in shares.items() if share}
    if not shares:
        return labels
    reached = zip(*(where for where, _ in shares.values()), strict=True)
    ends = [(min(part.start for part in axis), max(part.stop for part in axis)) for axis in reached]
    region = labels[tuple(slice(*pair) for pair in ends)]
    best, total = np.zeros(region.shape, np.float32), np.zeros(region.shape, np.float32)
    for label, (where, share) in shares.items():
        where = tuple(slice(part.start - low, part.stop - low) for part, (low, _) in zip(where, ends, strict=True))
        total[where] += share
        np.copyto(region[where], label, where=share > best[where])
        np.maximum(best[where], share, out=best[where])
    region[best < 0.5 if half else best <= 1 - total] = 0
    return labels


def _start(n_from, n_to, scale):
    if abs(scale - 1) < SAME_SPACING:
        return float(np.trunc((n_from - n_to) / 2)), 1.0
    start = (n_from - n_to * scale) / 2
    # A scan thinner than one voxel of an even box would fall between two voxels: the grid is moved onto one.
    if n_from < scale and n_to % 2 == 0:
        start -= scale / 2
    if n_to * scale < 1 and n_from % 2 == 0:
        start += 0.5
    return start, scale


def _along(matrix, image, axis):
    known, source = np.nonzero(matrix)
    if not known.size:
        return np.zeros((*image.shape[:axis], len(matrix), *image.shape[axis + 1 :]), image.dtype)
    step = int(source[1] - source[0]) if source.size > 1 else 1
    one_each = abs(step) == 1 and (np.diff(source) == step).all() and (np.diff(known) > 0).all()
    if not one_each or (matrix[known, source] != 1).any():
        return _multiply(matrix, image, axis)
    # Every voxel is a copy of one voxel, or 0.
    moved = image[(slice(None),) * axis + (slice(source.min(), source.max() + 1),)]
    moved = np.flip(moved, axis) if step < 0 else moved
    if known.size == len(matrix):
        return moved
    result = np.zeros((*image.shape[:axis], len(matrix), *image.shape[axis + 1 :]), image.dtype)
    result[(slice(None),) * axis + (known,)] = moved
    return result


def _multiply(matrix, image, axis):
    """`tensordot` by a sparse matrix, in the order in which the axes lie in memory: whole rows, no BLAS."""
    order = sorted(range(3), key=lambda a: (-abs(image.strides[a]), -image.shape[a]))
    place = order.index(axis)
    image = np.ascontiguousarray(image.transpose(order))
    before, behind = image.shape[:place], image.shape[place + 1 :]
    if behind:
        count = math.prod(before)
        result = _sparse(matrix, count) @ image.reshape(count * matrix.shape[1], -1)
    else:
        rows, few = image.reshape(-1, matrix.shape[1]), _sparse(matrix)
        result = np.empty((len(rows), len(matrix)), np.float32)
        step = max(1, _BLOCK // matrix.shape[1])
        for start in range(0, len(rows), step):  # so that the transposed rows stay in the processor's cache
            result[start : start + step] = (few @ np.ascontiguousarray(rows[start : start + step].T)).T
    return result.reshape(*before, len(matrix), *behind).transpose(np.argsort(order))


def _sparse(matrix, count=1):
    """Return a sparse block-diagonal matrix of copies of one matrix, to multiply all slices of an image in one call."""
    from scipy import sparse  # deferred: the import takes a tenth of a second

    row, column = np.nonzero(matrix)
    ends = np.zeros(count * len(matrix) + 1, np.int32)
    np.cumsum(np.tile(np.bincount(row, minlength=len(matrix)), count), out=ends[1:])
    columns = np.arange(count, dtype=np.int32)[:, None] * matrix.shape[1] + column.astype(np.int32)
    values = np.tile(matrix[row, column], count)
    return sparse.csr_array((values, columns.ravel(), ends), shape=(count * len(matrix), count * matrix.shape[1]))
