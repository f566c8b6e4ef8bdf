"""Seeded synthetic scans written as real files, in any of the layouts that `find_cases` reads.

The scans are drawn by `phantom.random_volume`. The same seed and settings give the same bytes.
"""

import csv
import io
import json
from pathlib import Path

import numpy as np

from mcc_keras import volumes
from mcc_keras.datasets.dicom_slices import write_slices
from mcc_keras.datasets.phantom import check_settings, random_volume
from mcc_keras.errors import OutputExistsError, UsageError
from mcc_keras.files import refuse_impossible_output
from mcc_keras.seeds import check_seed


def write_synthetic(
    folder,
    *,
    num_cases=48,
    seed=7,
    size=(72, 72, 28),
    foreground_fraction=0.01,
    empty_fraction=0.15,
    layout="table",
    num_labels=1,
    num_channels=1,
    progress=None,
):
    """Write a seeded set of synthetic scans with their masks.

    Args:
        folder: Folder to write, which must be empty or not exist.
        num_cases: Number of scans.
        seed: Whole number from 0 to 2³² − 1; the same seed and settings give the same bytes.
        size: Voxels in plane, in plane, and slices of a typical scan; see `phantom.random_volume`.
        foreground_fraction: Mean share of the voxels that the organ takes, in (0, 0.1].
        empty_fraction: Share of the scans without the organ, in [0, 1), rounded to whole scans.
        layout: "table" (cases.csv with a part column: about 60 % training, 15 % validation, 25 % test, scans with and
            without the organ in equal shares), "pairs" (X.nii.gz and X_mask.nii.gz), "decathlon" (dataset.json of the
            Medical Segmentation Decathlon, channels in a fourth dimension), "nnunet" and "nnunet_v1" (dataset.json of
            nnU-Net version 2 or 1, one file per channel), "promise12" (CaseNN.mhd), "dicom" (a folder X with one DICOM
            file per slice, and X_mask.nii.gz) or "brats15"
            ({HGG,LGG}/<case>/…/….mha; the first patient has two scans, each third scan is an LGG). The last one
            always has labels 1 to 4 and the channels Flair, T1, T1c and T2.
        num_labels: 1 to 9 nested labels that divide the organ.
        num_channels: 1 to 4 contrasts; layouts "pairs", "promise12" and "dicom" hold one.
        progress: None, or a callable that gets (cases done, num_cases) after each case.

    Returns:
        The path to pass to `find_cases`: the cases.csv or the folder.

    Raises:
        UsageError: An unknown layout or an argument out of range.
        OutputExistsError: The folder is not empty.

    Example:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_synthetic(folder, num_cases=2, size=(16, 16, 8), layout="pairs")
    ...     sorted(file.name for file in path.iterdir())
    ['case_000.nii.gz', 'case_000_mask.nii.gz', 'case_001.nii.gz', 'case_001_mask.nii.gz']
    """
    folder = Path(folder)
    if layout not in WRITERS:
        raise UsageError(f"`layout` must be one of {', '.join(WRITERS)}. Received: layout={layout!r}.")
    if layout == "brats15":
        num_labels, num_channels = 4, 4
    if layout in ("pairs", "promise12", "dicom") and num_channels != 1:
        raise UsageError(f"`num_channels` must be 1 for layout {layout!r}. Received: num_channels={num_channels}.")
    if num_cases < 1 or not 0 <= empty_fraction < 1:
        raise UsageError(
            "`num_cases` must be at least 1 and `empty_fraction` in [0, 1). "
            f"Received: num_cases={num_cases}, empty_fraction={empty_fraction}."
        )
    seed = check_seed(seed)
    refuse_impossible_output(folder / "x")
    size = check_settings(size, foreground_fraction, num_labels, num_channels)
    if folder.exists() and any(folder.iterdir()):
        raise OutputExistsError(folder, "a folder that is not empty", "Choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)

    rng = np.random.default_rng([seed, num_cases])
    empty = np.zeros(num_cases, bool)
    empty[rng.permutation(num_cases)[: round(empty_fraction * num_cases)]] = True
    parts = _parts(rng, empty)
    rows = []
    for index in range(num_cases):
        scan = random_volume(
            [seed, index],
            size=size,
            foreground_fraction=foreground_fraction,
            with_organ=not empty[index],
            num_labels=num_labels,
            num_channels=num_channels,
        )
        rows.append(WRITERS[layout](folder, index, scan) | {"part": parts[index]})
        if progress is not None:
            progress(index + 1, num_cases)
    return _write_index(folder, layout, rows, num_labels, num_channels)


def _parts(rng, empty):
    parts = np.full(len(empty), "train", dtype=object)
    for stratum in (np.flatnonzero(~empty), np.flatnonzero(empty)):
        order = rng.permutation(stratum)
        # A scan or two goes to training first, so that the smallest sets can still be trained on.
        num_test = min(max(round(0.25 * len(order)), 1), max(len(order) - 1, 0))
        num_validation = min(max(round(0.15 * len(order)), 1), max(len(order) - num_test - 1, 0))
        parts[order[:num_test]] = "test"
        parts[order[num_test : num_test + num_validation]] = "validation"
    return parts


def _squeezed(image):
    return image[..., 0] if image.shape[-1] == 1 else image


def _write_table_case(folder, index, scan):
    name = f"case_{index:03d}"
    row = {"case": name}
    for channel in range(scan.image.shape[-1]):
        suffix = f"_{channel}" if scan.image.shape[-1] > 1 else ""
        row[f"image{suffix}"] = f"images/{name}{suffix}.nii.gz"
        volumes.write_volume(scan.image[..., channel], folder / row[f"image{suffix}"], affine=scan.affine)
    row["label"] = f"masks/{name}.nii.gz"
    volumes.write_volume(scan.mask, folder / row["label"], affine=scan.affine)
    return row | {"group": f"patient_{index:03d}"}


def _write_pair(folder, index, scan):
    name = f"case_{index:03d}"
    volumes.write_volume(_squeezed(scan.image), folder / f"{name}.nii.gz", affine=scan.affine)
    volumes.write_volume(scan.mask, folder / f"{name}_mask.nii.gz", affine=scan.affine)
    return {"case": name}


def _write_decathlon_case(folder, index, scan):
    name = f"organ_{index:03d}.nii.gz"
    row = {"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"}
    volumes.write_volume(_squeezed(scan.image), folder / row["image"], affine=scan.affine)
    volumes.write_volume(scan.mask, folder / row["label"], affine=scan.affine)
    return row


def _write_nnunet_case(folder, index, scan):
    name = f"organ_{index:03d}"
    for channel in range(scan.image.shape[-1]):
        path = folder / "imagesTr" / f"{name}_{channel:04d}.nii.gz"
        volumes.write_volume(scan.image[..., channel], path, affine=scan.affine)
    volumes.write_volume(scan.mask, folder / "labelsTr" / f"{name}.nii.gz", affine=scan.affine)
    return {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}


def _write_promise12_case(folder, index, scan):
    _write_metaimage(scan.image[..., 0], folder / f"Case{index:02d}.mhd", scan.affine)
    _write_metaimage(scan.mask, folder / f"Case{index:02d}_segmentation.mhd", scan.affine)
    return {}


def _write_brats15_case(folder, index, scan):
    patient, visit = (1, index + 1) if index < 2 else (index, 1)
    grade = "LGG" if index % 3 == 2 else "HGG"
    case = folder / grade / f"brats_tcia_pat{patient:03d}_{visit:04d}"
    for channel, name in enumerate(("Flair", "T1", "T1c", "T2")):
        stem = f"VSD.Brain.XX.O.MR_{name}.{54000 + 10 * index + channel}"
        _write_metaimage(scan.image[..., channel], case / stem / f"{stem}.mha", scan.affine)
    stem = f"VSD.Brain_3more.XX.O.OT.{54000 + 10 * index + 4}"
    _write_metaimage(scan.mask, case / stem / f"{stem}.mha", scan.affine)
    return {}


def _write_dicom_case(folder, index, scan):
    name = f"case_{index:03d}"
    image, mask, affine = _right_handed(scan)
    write_slices(image[..., 0], folder / name, affine=affine, number=index + 1)
    volumes.write_volume(mask, folder / f"{name}_mask.nii.gz", affine=affine)
    return {"case": name}


def _right_handed(scan):
    """Image, mask and affine with the slices in DICOM's order: along the normal of rows and columns in LPS."""
    # A mirror in two axes leads from RAS to LPS, so the sign of the determinant is the same in both.
    if np.linalg.det(scan.affine[:3, :3]) > 0:
        return scan.image, scan.mask, scan.affine
    affine = scan.affine.copy()
    affine[:3, 3] += affine[:3, 2] * (scan.mask.shape[2] - 1)
    affine[:3, 2] *= -1
    return scan.image[:, :, ::-1], scan.mask[:, :, ::-1], affine


def _write_metaimage(array, path, affine):
    import SimpleITK

    path.parent.mkdir(parents=True, exist_ok=True)
    lps = np.diag([-1.0, -1.0, 1.0]) @ affine[:3]
    spacing_mm = np.linalg.norm(lps[:, :3], axis=0)
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.SetSpacing(spacing_mm.tolist())
    image.SetDirection((lps[:, :3] / spacing_mm).ravel().tolist())
    image.SetOrigin(lps[:, 3].tolist())
    SimpleITK.WriteImage(image, str(path), useCompression=True)


def _write_index(folder, layout, rows, num_labels, num_channels):
    labels = {"background": 0} | {f"organ_{label}": label for label in range(1, num_labels + 1)}
    if layout == "table":
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        (folder / "cases.csv").write_text(text.getvalue(), encoding="utf-8")
        return folder / "cases.csv"
    if layout in ("decathlon", "nnunet_v1"):
        index = {
            "name": "Synthetic",
            "tensorImageSize": "3D" if num_channels == 1 else "4D",
            "modality": {str(channel): f"MRI{channel}" for channel in range(num_channels)},
            "labels": {str(value): name for name, value in labels.items()},
            "numTraining": len(rows),
            "numTest": 0,
            "training": [{"image": row["image"], "label": row["label"]} for row in rows],
            "test": [],
        }
    elif layout == "nnunet":
        index = {
            "channel_names": {str(channel): f"MRI{channel}" for channel in range(num_channels)},
            "labels": labels,
            "numTraining": len(rows),
            "file_ending": ".nii.gz",
        }
    else:
        return folder
    (folder / "dataset.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return folder


WRITERS = {
    "table": _write_table_case,
    "pairs": _write_pair,
    "decathlon": _write_decathlon_case,
    "nnunet": _write_nnunet_case,
    "nnunet_v1": _write_nnunet_case,
    "promise12": _write_promise12_case,
    "dicom": _write_dicom_case,
    "brats15": _write_brats15_case,
}
