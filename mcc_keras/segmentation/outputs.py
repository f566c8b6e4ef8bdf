"""The files of one mask: where they stand, whether they may be written, and writing them whole."""

import dataclasses
from pathlib import Path

from mcc_keras.datasets.paths import stem_of
from mcc_keras.errors import OutputExistsError, disk_failure
from mcc_keras.files import CHOOSE_ANOTHER, refuse_impossible_output
from mcc_keras.segmentation.origin import describe_model, is_origin, origin_path, write_origin
from mcc_keras.volumes import refuse_mask_path, write_mask


@dataclasses.dataclass(frozen=True)
class Outputs:
    """The files of one mask.

    Args:
        mask: Path of the mask.
        probability: Path of the probabilities, or `None`.

    Example:

    >>> Outputs.beside("out/a.nii.gz", probability=True).probability.name
    'a_probability.nii.gz'
    """

    mask: Path
    probability: Path | None = None

    @classmethod
    def beside(cls, mask, *, probability):
        """Return the outputs of a mask, with probabilities beside it if they are asked for."""
        mask = Path(mask)
        suffix = ".nii" if mask.name.lower().endswith(".nii") else ".nii.gz"
        return cls(mask, mask.with_name(f"{stem_of(mask)}_probability{suffix}") if probability else None)

    @property
    def origin(self):
        """Path of the file about them."""
        return origin_path(self.mask)

    @property
    def paths(self):
        """Paths of all of them."""
        return (self.mask, self.origin, *([self.probability] if self.probability else []))

    def refuse(self, *, overwrite=False):
        """Refuse what cannot be written: an unknown format, an impossible name, a file that is there.

        Raises:
            UsageError: A format that masks are not written in, or a name that no file can have.
            OutputExistsError: One of the files exists and `overwrite` is false.
        """
        refuse_mask_path(self.mask, overwrite=overwrite)
        for path in self.paths[1:]:
            refuse_impossible_output(path)
            if path.is_dir():
                raise OutputExistsError(path, "a folder", "Choose another name.")
            if path.exists() and not overwrite and not is_origin(path):  # one of a mask that has been removed
                raise OutputExistsError(path, "a file", CHOOSE_ANOTHER)

    def write(self, mask, probability, *, like, origin, segments=None, overwrite=False):
        """Write all files, each of them in one step, the one about them last; return the path of the mask.

        Args:
            mask: (x, y, z) labels.
            probability: `ProbabilityVoxels`, or `None`.
            like: `Volume` of the scan.
            origin: `MaskOrigin` with the hashes of the inputs; `None` where the model is not known, so that there is no
                file about them.
            segments: `Segment`s of a DICOM SEG.
            overwrite: Replace files that are there.
        """
        others, text = [self.probability] if self.probability else [], origin and describe_model(origin)
        try:
            if others:
                probability.write(self.probability, like=like, description=text)
            write_mask(mask, self.mask, like=like, segments=segments, description=text, overwrite=overwrite)
            if origin is None:
                self.origin.unlink(missing_ok=True)
            else:
                write_origin(origin, self.mask, others=others)
        except OSError as error:
            raise disk_failure(self.mask, error) from error
        return self.mask
