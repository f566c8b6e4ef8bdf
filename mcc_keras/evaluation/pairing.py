"""Pairs of masks to compare: which prediction belongs to which truth, by the names of their cases or by a table."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mcc_keras.datasets import bids, brats15, decathlon
from mcc_keras.datasets.cases import Case, find_cases
from mcc_keras.datasets.mask_names import masked_image
from mcc_keras.datasets.paths import possible_file, safe_id, stem_of, volumes_in
from mcc_keras.errors import CaseError, UsageError, raise_all
from mcc_keras.volumes import refuse_remote

WAY_OUT = "The columns are truth and prediction, and if wanted case, image, group and others."
_TABLES = (".csv", ".tsv")
_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class MaskPair:
    """The masks of one case.

    Args:
        case_id: Safe as a file name.
        truth: File of the true mask.
        prediction: File of the predicted mask, or `None` where there is none.
        image: File of the scan for pictures, a `Case` whose image is one, or `None`.
        group: The patient.
        columns: Whatever else a table says about the case.
    """

    case_id: str
    truth: Path
    prediction: Path | None
    image: Path | Case | None = None
    group: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """All pairs, the predictions that no truth belongs to, and the labels that the data set names.

    Args:
        pairs: `MaskPair`s in the order of their case ids.
        extra: Predictions without a truth.
        declared: Name → labels.
    """

    pairs: tuple[MaskPair, ...]
    extra: tuple[Path, ...] = ()
    declared: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def find_pairs(truth, prediction=None, *, images=None):
    """Pair true and predicted masks.

    Two files are one case. In folders a case is named by its file without suffix and without `_mask`, `_seg` and the
    like; a truth that is no plain folder of masks is read as `find_cases` reads it.

    Args:
        truth: File, folder or data set of true masks, or a table with the columns `truth` and `prediction`.
        prediction: File or folder of predicted masks; `None` with such a table.
        images: Folder of scans, for pictures.

    Returns:
        `Pairs`.

    Raises:
        CaseError: Nothing there, two masks of one case, or no case that both sides have.
        UsageError: No prediction, or one beside a table of pairs.
    """
    for path in (truth, prediction, images):
        refuse_remote("" if path is None else path)
    truth = Path(truth)
    rows = _rows(truth) if truth.suffix.lower() in _TABLES and truth.is_file() else None
    is_table = rows is not None and "truth" in rows[0]
    if is_table == (prediction is not None):
        raise UsageError(
            "`prediction` must be the predicted masks, or be left out where `truth` is a table of both. "
            f"Received: truth={str(truth)!r}, prediction={prediction!r}."
        )
    if is_table:
        return Pairs(pairs=_pairs_of_table(truth, rows))
    prediction = Path(prediction)
    cases, declared = _true_cases(truth)
    both_files = truth.is_file() and prediction.is_file() and len(cases) == 1
    found = {next(iter(cases)): prediction} if both_files else _masks(prediction)[0]
    scans = {} if images is None else _scans(Path(images))
    if not cases.keys() & found.keys():
        problem = f"expected a mask for {_listed(cases)}, found {_listed(found)}"
        raise CaseError(prediction, problem, "Name the masks of a case alike, or pair them in a table.")
    pairs = tuple(
        MaskPair(
            case_id=case_id,
            truth=case.mask,
            prediction=found.get(case_id),
            image=scans.get(case_id, case if case.images else None),
            group=case.group,
            columns=case.columns,
        )
        for case_id, case in sorted(cases.items())
    )
    return Pairs(pairs=pairs, extra=tuple(found[name] for name in sorted(found.keys() - cases)), declared=declared)


def _true_cases(truth):
    """Return case id → `Case`, and the labels that the data set names."""
    if not truth.exists():
        raise CaseError(truth, "expected a mask or a folder of masks, found nothing", "Check the path.")
    indexed = truth.is_dir() and any((truth / name).is_file() for name in ("dataset.json", "dataset_description.json"))
    if truth.suffix.lower() in (".json", *_TABLES) or indexed or (truth.is_dir() and not volumes_in(truth)):
        try:
            found = find_cases(truth)
        except UsageError:  # regions that overlap
            found = find_cases(truth, labels=(1,))
        cases = {case.case_id: case for case in found if case.mask is not None}
        if not cases:
            raise CaseError(truth, "expected cases with masks, found none", "Scores need the true masks.")
        layout = next((layout for layout in (decathlon, brats15, bids) if layout.matches(truth)), None)
        return cases, layout.find(truth)[2] if layout else {}
    masks, scans = _masks(truth)
    return {name: Case(name, (scans[name],) if name in scans else (), path) for name, path in masks.items()}, {}


def _masks(source):
    """Return case id → mask, and case id → image for the images that lie beside their masks."""
    if not source.exists():
        raise CaseError(source, "expected a mask or a folder of masks, found nothing", "Check the path.")
    if source.is_file():
        return {safe_id(_case_name(source)): source}, {}
    marked, bare = {}, {}
    for path in volumes_in(source):
        kind = marked if masked_image(stem_of(path)) else bare
        kind.setdefault(safe_id(_case_name(path)), []).append(path)
    masks = {**{name: paths for name, paths in bare.items() if name not in marked}, **marked}
    if not masks:
        raise CaseError(source, "expected masks, found none", "Name a folder of masks, or a table of pairs.")
    raise_all(
        CaseError(source, f"expected one mask of {name}, found {', '.join(path.name for path in paths)}", "Keep one.")
        for name, paths in masks.items()
        if len(paths) > 1
    )
    images = {name: paths[0] for name, paths in bare.items() if name in marked}
    return {name: paths[0] for name, paths in masks.items()}, images


def _case_name(path):
    stem = stem_of(path)
    return masked_image(stem) or stem


def _scans(folder):
    if not folder.is_dir():
        raise CaseError(folder, "expected a folder of scans, found none", "Check the path.")
    # nnU-Net numbers the channels of a scan; the first one is drawn.
    return {safe_id(stem_of(path).removesuffix("_0000")): path for path in reversed(volumes_in(folder))}


def _rows(path):
    try:
        text = path.read_text("utf-8-sig")
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        rows = list(csv.DictReader(text.splitlines(), delimiter=delimiter, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CaseError(path, f"expected a table in UTF-8, found: {error}", WAY_OUT) from None
    if not rows:
        raise CaseError(path, "expected rows, found none", WAY_OUT)
    return rows


def _pairs_of_table(path, rows):
    pairs = {}
    for line, row in enumerate(rows, start=2):
        where = f"{path}, line {line}"
        if None in row or None in row.values() or not row["truth"] or "prediction" not in row:
            raise CaseError(where, "expected a truth and a prediction, found another number of cells", WAY_OUT)
        row = {name.strip(): value.strip() for name, value in row.items()}
        truth, prediction, image = (_file(path, row.pop(name, ""), where) for name in ("truth", "prediction", "image"))
        case_id = safe_id(row.pop("case", "") or _case_name(truth))
        if case_id in pairs:
            raise CaseError(where, f"expected each case once, found {case_id} again", "Give every row a case.")
        group = row.pop("group", "") or case_id
        pairs[case_id] = MaskPair(
            case_id=case_id, truth=truth, prediction=prediction, image=image, group=group, columns=row
        )
    return tuple(pairs.values())


def _file(table, name, where):
    if not name:
        return None
    file = table.parent / possible_file(name, where)
    if not file.exists():
        raise CaseError(where, f"expected the file {name!r}, found none", "Paths are relative to the table.")
    return file


def _listed(names):
    names = sorted(names)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
