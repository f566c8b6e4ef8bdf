"""What a call for many scans has to do: the scans, the masks that are there already, and those that are in the way."""

import dataclasses
import os
from pathlib import Path

from mcc_keras.datasets.cases import Case
from mcc_keras.errors import CaseError, MCCKerasError, OutputExistsError, UsageError
from mcc_keras.files import CHOOSE_ANOTHER, refuse_impossible_output, refuse_output_that_is_input
from mcc_keras.segmentation import bids
from mcc_keras.segmentation.origin import find_difference, hash_inputs
from mcc_keras.segmentation.outputs import Outputs
from mcc_keras.segmentation.scans import find_scans, take_shard


@dataclasses.dataclass(frozen=True)
class Job:
    """A scan to segment.

    Args:
        case: `Case`.
        outputs: `Outputs`.
        overwrite: Whether its mask is to be replaced.
    """

    case: Case
    outputs: Outputs
    overwrite: bool = False


def refuse_folder(output, *, bids_names=False):
    """Refuse an output folder that is a file, or holds another data set.

    Raises:
        OutputExistsError: It does.
    """
    output = Path(output)
    refuse_impossible_output(output / "name")
    if os.path.lexists(output) and not output.is_dir():
        raise OutputExistsError(output, "a file", "Choose another name.")
    if bids_names:
        bids.refuse_other_folder(output)


def find_jobs(images, output, channel_names, *, reading, shard=None, probability=False, bids_names=False):
    """Return the `Job`s of all sources in their order, and what is wrong with others.

    Args:
        images: As for `segment_many`.
        output: Folder of the masks.
        channel_names: Names of the model's channels.
        reading: Keywords `affine` and `nonfinite` of `find_scans`.
        shard: As for `segment_many`.
        probability: Whether probabilities are written.
        bids_names: Whether the masks have names of BIDS.

    Raises:
        UsageError: `output` is a folder of the images or holds one, two scans have one name, or an invalid shard.
        CaseError: There is no scan.
    """
    sources, output = (images,) if isinstance(images, str | Path) else tuple(images), Path(output)
    cases, problems = find_scans(sources, channel_names, **reading)
    refuse_output_that_is_input(output, [*sources, *(path for case in cases for path in case.images)])
    jobs = [Job(case, _outputs(case, output, bids_names=bids_names, probability=probability)) for case in cases]
    if not jobs and not problems:
        raise CaseError(", ".join(map(str, sources)), "expected scans, found none", "Name files or folders.")
    _refuse_collisions(jobs)
    return take_shard(jobs, shard), take_shard(problems, shard)


def plan_jobs(jobs, origin, *, overwrite):
    """Return the jobs to do, the masks that are there already, and the refusals of others.

    Args:
        jobs: `Job`s.
        origin: `MaskOrigin` of the call; `None` where the model is not known, so that no mask is known to be its.
        overwrite: Whether other masks are replaced.
    """
    todo, skipped, refused = [], [], []
    for job in jobs:
        try:
            if not job.outputs.mask.exists():
                job.outputs.refuse(overwrite=overwrite)
                todo.append(dataclasses.replace(job, overwrite=overwrite))
                continue
            found = _difference(job, origin)
            if found is None:
                skipped.append(job.outputs.mask)
            elif overwrite:
                job.outputs.refuse(overwrite=True)
                todo.append(dataclasses.replace(job, overwrite=True))
            else:
                raise OutputExistsError(job.outputs.mask, found, CHOOSE_ANOTHER)
        except MCCKerasError as problem:
            refused.append(problem)
    return todo, skipped, refused


def _difference(job, origin):
    if origin is None:
        return "a mask, and a model without a fingerprint"
    return find_difference(job.outputs.mask, dataclasses.replace(origin, inputs=hash_inputs(job.case)))


def _outputs(case, folder, *, bids_names, probability):
    if bids_names:
        return bids.bids_outputs(case, folder, probability=probability)
    return Outputs.beside(folder / f"{case.case_id}.nii.gz", probability=probability)


def _refuse_collisions(jobs):
    known = {}
    for job in jobs:
        other = known.setdefault(job.outputs.mask, job)
        if other is not job:
            raise UsageError(
                f"Each scan needs a mask of its own. Received two for {job.outputs.mask}: {other.case.images[0]} and"
                f" {job.case.images[0]}. Name them in a table, or segment them into two folders."
            )
