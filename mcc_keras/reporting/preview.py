"""`preview_augmentation`: a picture of a case before and after augmentation, as in training."""

from pathlib import Path

import numpy as np

from mcc_keras.augmentation import Augmentation
from mcc_keras.augmentation.presets import NOTHING, augmentation_policy
from mcc_keras.augmentation.sides import with_class_numbers
from mcc_keras.datasets import find_cases
from mcc_keras.datasets.cases import read_image
from mcc_keras.errors import CaseError, MCCKerasError, OutputExistsError, UsageError
from mcc_keras.files import refuse_output_that_is_input, written_aside
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.records.prepare import prepare_case
from mcc_keras.reporting.plots import find_slices, new_figure, plot_slice
from mcc_keras.seeds import check_seed

MOST_DRAWS = 30
# Each kind of change at a visible strength. The draw that changes most is shown.
STRENGTHS = {
    "flip": (True, True, False),
    **{"rotation_degrees": 30, "scaling": 0.4, "shear_degrees": 25, "translation": 0.15, "elastic": 0.06},
    **{"motion_mm": 6, "bias_field": 0.5, "ghosting": 0.9, "spike": 1.5, "blur": 2, "low_resolution": 4, "noise": 0.5},
    **{"rician_noise": 0.5, "brightness": 1, "contrast": 0.6, "histogram_shift": 0.45, "inverted_gamma": 1},
    **{"gamma": 1, "channel_dropout": 0.7},
}
TRIES, COLUMNS = 6, 7


def preview_augmentation(
    cases,
    path,
    *,
    augment=True,
    each_change=False,
    seed=0,
    draws=4,
    case_id=None,
    preprocessing=None,
    overwrite=False,
):
    """Write a picture of a case before and after augmentation, with the outline of its mask.

    Each row has an axial, a coronal and a sagittal slice through the middle of the mask. All rows share the intensity
    window of the first, so that a change of brightness is visible.

    Args:
        cases: A folder, a `dataset.json` or a CSV file, or the `Case`s of `find_cases`.
        path: The picture to write, in the format of its suffix (.png, .pdf, .svg).
        augment: As in `load_dataset`: `True`, a preset's name or an `Augmentation`.
        each_change: Show one axial slice for each kind of change alone, at a visible strength; `augment` and `draws`
            are not used. This takes half a minute, since each of them is compiled.
        seed: Integer from 0 to 2³² − 1, the seed of the draws.
        draws: Number of augmented rows, 1 to 30.
        case_id: Id of the case; by default the first with a mask.
        preprocessing: `Preprocessing` of the records; by default the scan keeps its voxel size.
        overwrite: Replace an existing picture.

    Returns:
        The path of the picture.

    Raises:
        UsageError: `augment` is invalid or `False`; an unknown suffix; the picture is a file of the case.
        OutputExistsError: The picture exists already.
        CaseError: No such case has a mask.

    Example:

    >>> import tempfile
    >>> from mcc_keras.datasets import write_synthetic
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     source = write_synthetic(f"{folder}/scans", num_cases=3, size=(16, 16, 8), layout="pairs")
    ...     preview_augmentation(source, f"{folder}/page.png", augment="paper", draws=1).name
    'page.png'
    """
    policy, path, seed = augmentation_policy(augment), Path(path), check_seed(seed)
    if policy is None:
        raise UsageError(f"`augment` must be an augmentation, not off. Received: augment={augment!r}.")
    if not (isinstance(draws, int) and 1 <= draws <= MOST_DRAWS):
        raise UsageError(f"`draws` must be an integer from 1 to {MOST_DRAWS}. Received: draws={draws!r}.")
    suffixes = {f".{suffix}" for suffix in new_figure((1, 1)).canvas.get_supported_filetypes()}
    if path.suffix.lower() not in suffixes:
        raise UsageError(f"`path` must end in one of {', '.join(sorted(suffixes))}. Received: path={str(path)!r}.")
    if path.exists() and not overwrite:
        raise OutputExistsError(path, "a file", "Choose another name, or allow overwriting.")
    case = _choose(find_cases(cases) if isinstance(cases, str | Path) else cases, case_id)
    refuse_output_that_is_input(path, [*case.images, case.mask])
    policy = policy if each_change else with_class_numbers(policy, case.task)
    if preprocessing is None:
        preprocessing = Preprocessing(spacing_mm="median").fit([read_image(case)])
    prepared = prepare_case(case, preprocessing)
    if isinstance(prepared, MCCKerasError):
        raise prepared
    if each_change:
        figure = draw_changes(prepared, seed=seed)
    else:
        figure = draw_page(prepared, [prepared_draw(policy, prepared, seed=(seed, draw)) for draw in range(draws)])
    with written_aside(path) as aside:
        figure.savefig(aside, dpi=110, format=path.suffix[1:].lower())
    return path


def prepared_draw(policy, prepared, *, seed):
    """Return image and mask of a `PreparedCase` after augmentation with one seed: arrays (x, y, z, …)."""
    image, mask = policy(seed, prepared.image, prepared.mask[..., None], spacing_mm=prepared.spacing_mm)
    return image.numpy(), mask.numpy()[..., 0]


def draw_page(prepared, changed):
    """Return a figure with a row for a `PreparedCase` and a row for each augmented (image, mask)."""
    rows = [("as it is", prepared.image, prepared.mask)]
    rows += [(f"draw {index}", image, mask) for index, (image, mask) in enumerate(changed, start=1)]
    figure = new_figure((8, 2.7 * len(rows)))
    figure.suptitle(f"{prepared.case_id}: slices through the middle of the mask", fontsize=10)
    affine, window = np.diag([*prepared.spacing_mm, 1.0]), np.percentile(prepared.image[..., 0], (1, 99.5))
    for (title, image, mask), axes in zip(rows, figure.subplots(len(rows), 3, squeeze=False), strict=True):
        for slice_, ax in zip(find_slices(image[..., 0], affine, truth=mask), axes, strict=True):
            plot_slice(slice_, window=window, ax=ax)
            ax.set_title(f"{title}, {slice_.orientation}", fontsize=9)
    return figure


def draw_changes(prepared, *, seed, strengths=STRENGTHS):
    """Return a figure with an axial slice of a `PreparedCase` as it is and after each change alone."""
    image = prepared.image
    pictures = {"as it is": (image, prepared.mask)}
    for name, most in strengths.items():
        if name == "channel_dropout" and image.shape[-1] == 1:
            continue  # the last channel is never dropped
        policy = Augmentation(**{**NOTHING, "flip": (False,) * 3, name: most})
        drawn = [prepared_draw(policy, prepared, seed=(seed, number)) for number in range(TRIES)]
        pictures[name] = max(drawn, key=lambda each: np.abs(each[0][..., 0] - image[..., 0]).mean())
    rows = -(-len(pictures) // COLUMNS)
    figure, affine = new_figure((1.5 * COLUMNS, 1.7 * rows)), np.diag([*prepared.spacing_mm, 1.0])
    window = np.percentile(image[..., 0], (1, 99.5))
    # The middle of the mask as it is, in all pictures.
    level = int(np.median(np.nonzero(prepared.mask)[2])) if prepared.mask.any() else image.shape[2] // 2
    axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for ax, (title, (changed, mask)) in zip(axes, pictures.items(), strict=False):
        (axial, *_) = find_slices(changed[:, :, [level], 0], affine, truth=mask[:, :, [level]])
        plot_slice(axial, window=window, ax=ax)
        ax.set_title(title, fontsize=9)
    for ax in axes[len(pictures) :]:
        ax.set_axis_off()
    return figure


def _choose(cases, case_id):
    with_mask = {case.case_id: case for case in cases if case.mask is not None}
    if case_id is None and with_mask:
        return next(iter(with_mask.values()))
    if case_id not in with_mask:
        names = ", ".join(list(with_mask)[:5]) or "none"
        raise CaseError(case_id or "cases", f"expected a case with a mask, found {names}")
    return with_mask[case_id]
