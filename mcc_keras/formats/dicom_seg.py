"""DICOM SEG: a mask as a segmentation object that refers to the slices of its series, written by highdicom.

Each slice of the mask is the frame of one source file, by its SOPInstanceUID, in the order of `dicom.read_series`.
Nothing is resampled, so that oblique and negated axes stay exact.
"""

import contextlib
import dataclasses
import importlib.util
import logging
import warnings
from importlib import metadata
from pathlib import Path

import numpy as np

from mcc_keras.errors import EnvironmentFailure, UsageError, VolumeError

SUFFIX = ".dcm"
NIFTI_INSTEAD = "Write a .nii.gz mask instead."
_LONGEST = {"value": 16, "scheme": 16, "meaning": 64}  # characters that DICOM allows
_LONGEST_NAME = 64
_UTF8 = "ISO_IR 192"
# Elements that the mask takes over and that may be empty in it, but not absent (type 2).
_COPIED = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID")
_COPIED += ("StudyDate", "StudyTime", "ReferringPhysicianName")
_REQUIRED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_SEXES = ("M", "F", "O", "")


@dataclasses.dataclass(frozen=True)
class Code:
    """A term of a coding scheme.

    Args:
        value: Its code, at most 16 characters.
        scheme: Short name of the scheme, as `"SCT"` for SNOMED CT, at most 16 characters.
        meaning: Its text, at most 64 characters.

    Raises:
        UsageError: A text that is empty, too long or holds a backslash.

    Example:

    >>> Code("85756007", "SCT", "")
    Traceback (most recent call last):
    mcc_keras.errors.UsageError: `meaning` of a code must have 1 to 64 characters and no backslash. Received: ...
    """

    value: str
    scheme: str
    meaning: str

    def __post_init__(self):
        for name, longest in _LONGEST.items():
            text = getattr(self, name)
            if not text.strip() or len(text) > longest or "\\" in text or not text.isprintable():
                rule = f"`{name}` of a code must have 1 to {longest} characters and no backslash."
                raise UsageError(f"{rule} Received: {name}={text!r}.")


TISSUE = Code("85756007", "SCT", "Tissue")


@dataclasses.dataclass(frozen=True)
class Segment:
    """One label of a mask as a segment of DICOM SEG.

    Args:
        label: Its value in the mask, from 1.
        name: Its name, of which DICOM keeps 64 characters.
        category: `Code` of the property's category, as "Anatomical Structure"; by default SNOMED CT's "Tissue".
        type: `Code` of the property's type, as "Liver"; by default "Tissue".

    Example:

    >>> Segment(3, "liver", type=Code("10200004", "SCT", "Liver")).category.meaning
    'Tissue'
    """

    label: int
    name: str
    category: Code = TISSUE
    type: Code = TISSUE


def is_segmentation(path):
    """Whether the name of a mask asks for DICOM SEG.

    >>> is_segmentation("mask.DCM"), is_segmentation("mask.nii.gz")
    (True, False)
    """
    return str(path).lower().endswith(SUFFIX)


def refuse_without_extra():
    """Refuse to write DICOM SEG where highdicom is not installed."""
    if importlib.util.find_spec("highdicom") is None:
        raise EnvironmentFailure(
            "A .dcm mask needs highdicom, which is not installed. Install it with pip install 'mcc_keras[dicom]', "
            "or write a .nii.gz mask."
        )


def refuse_without_series(path, *, like):
    """Refuse a `.dcm` mask of a volume that was not read from a DICOM series, or one among the slices of its series.

    Args:
        path: File of the mask.
        like: `Volume` that the mask belongs to.

    Raises:
        UsageError: There is no series, or the mask would be one of its files.
    """
    if like.slices is None:
        source = "an array" if like.path is None else like.path
        raise UsageError(
            "A .dcm mask refers to the slices of the DICOM series that it was made from. "
            f"Received: path={str(path)!r} for {source}, which is no folder of DICOM files. {NIFTI_INSTEAD}"
        )
    folder = like.slices[0].path.parent
    if Path(path).resolve().parent == folder.resolve():
        rule = "A .dcm mask must not lie among the slices of its series, which would then hold two series."
        raise UsageError(f"{rule} Received: path={str(path)!r}. Choose another folder.")


def default_segments(labels):
    """Return a `Segment` for each label of a mask without names, with a warning; one for an empty mask, as DICOM asks.

    Args:
        labels: Labels of the mask; 0 is background.

    Example:

    >>> with warnings.catch_warnings(action="ignore"):
    ...     [segment.name for segment in default_segments([0, 2, 5])], default_segments([0])[0].name
    (['label 2', 'label 5'], 'label 1')
    """
    labels = sorted(int(label) for label in labels if label) or [1]
    segments = tuple(Segment(label, f"label {label}") for label in labels)
    warn_without_codes([segment.name for segment in segments])
    return segments


def warn_without_codes(names, way_out=""):
    """Warn that segments have no codes, where there are such.

    Args:
        names: Their names.
        way_out: A sentence.
    """
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        text = (
            f"No codes for {', '.join(names[:5])}{more}: written as Tissue ({TISSUE.scheme} {TISSUE.value}). {way_out}"
        )
        warnings.warn(text.rstrip(), stacklevel=4)


def write_segmentation(mask, path, *, slices, segments):
    """Write a label map as a binary DICOM SEG with one frame for each slice and segment, empty ones included.

    Args:
        mask: `(x, y, z)` unsigned integers.
        path: File to write.
        slices: `SliceFile`s of the series, one for each index of the last axis.
        segments: `Segment`s, which become the segments 1, 2, … of the file.

    Raises:
        UsageError: Labels of the mask that are no segment's.
        VolumeError: Slices without the elements that a segmentation refers to or copies.
    """
    numbers = _segment_numbers(mask, segments)
    with _quiet():
        sources = _sources(slices)
        try:
            result = _build(numbers, sources, segments)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            problem = f"expected a series that a segmentation can refer to, found: {error}"
            raise VolumeError(slices[0].path, problem, NIFTI_INSTEAD) from error
        result.save_as(path)


def _segment_numbers(mask, segments):
    """Return the mask as frames (z, rows, columns) of segment numbers from 1."""
    labels = [segment.label for segment in segments]
    largest = max(*labels, int(mask.max()))
    number_of = np.zeros(largest + 1, np.uint8 if len(labels) <= 255 else np.uint16)
    number_of[labels] = np.arange(1, len(labels) + 1)
    frames = number_of[mask.T]
    lost = np.unique(mask.T[(frames == 0) & (mask.T > 0)]).tolist()
    if lost or min(labels) < 1 or len(set(labels)) < len(labels):
        raise UsageError(
            "`segments` must name each label of the mask once, from 1. "
            f"Received: segments for {', '.join(map(str, labels))}, a mask that holds also {lost}."
        )
    return frames


def _sources(slices):
    """Return the data sets of the slices without pixels, complete enough for highdicom."""
    import pydicom  # of an extra, as highdicom

    found = [pydicom.dcmread(one.path, stop_before_pixels=True, force=True) for one in slices]
    first = found[0]
    for one, source in zip(slices, found, strict=True):
        absent = [name for name in _REQUIRED if not source.get(name)]
        if absent:
            problem = f"expected a slice with {', '.join(_REQUIRED)}, found none of {', '.join(absent)}"
            raise VolumeError(one.path, problem, NIFTI_INSTEAD)
        # Directions agree up to rounding, which the reader has checked.
        source.ImageOrientationPatient = first.ImageOrientationPatient
        source.PixelSpacing = first.PixelSpacing
        frame = first.get("FrameOfReferenceUID")
        source.FrameOfReferenceUID = frame or pydicom.uid.generate_uid(entropy_srcs=[first.SeriesInstanceUID])
    for name in _COPIED:
        if name not in first:
            setattr(first, name, None if name.endswith(("Date", "Time")) else "")
    if first.PatientSex not in _SEXES:
        first.PatientSex = ""
    return found


def _build(frames, sources, segments):
    import highdicom
    from pydicom.sr.codedict import codes

    def concept(code):
        return highdicom.sr.CodedConcept(code.value, code.scheme, code.meaning)

    version = metadata.version("mcc_keras")
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name="mcc_keras", version=version, family=codes.DCM.ArtificialIntelligence
    )
    descriptions = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=segment.name.replace("\\", "/")[:_LONGEST_NAME],
            segmented_property_category=concept(segment.category),
            segmented_property_type=concept(segment.type),
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
        )
        for number, segment in enumerate(segments, start=1)
    ]
    return highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=frames,
        segmentation_type="BINARY",
        segment_descriptions=descriptions,
        series_instance_uid=highdicom.UID(),
        series_number=_series_number(sources[0]),
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="mcc_keras",
        manufacturer_model_name="mcc_keras",
        software_versions=version,
        device_serial_number="none",
        content_label="SEGMENTATION",
        series_description="Segmentation by mcc_keras",
        omit_empty_frames=False,
        specific_character_set=_UTF8,
    )


def _series_number(source):
    """Return a number for the new series that stands beside that of its source in lists."""
    try:
        return 100 * min(max(int(source.SeriesNumber), 0), 10**6) + 1
    except (AttributeError, TypeError, ValueError):
        return 1


@contextlib.contextmanager
def _quiet():
    """Keep remarks on unusual values of the source to the two libraries: the mask copies them as they are."""
    loggers = [logging.getLogger(name) for name in ("highdicom", "pydicom")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
