"""`segment_many_remote`: many scans, a model server, a few requests at a time."""

from pathlib import Path

from mcc_keras.errors import UsageError
from mcc_keras.segmentation.jobs import find_jobs, refuse_folder
from mcc_keras.segmentation.line import collect, pass_line, write_segmented
from mcc_keras.segmentation.many import finish
from mcc_keras.serving.address import parse_address
from mcc_keras.serving.remote import concerns_all, connect


def segment_many_remote(
    server,
    images,
    output,
    *,
    model_name="segmenter",
    affine=None,
    nonfinite=None,
    largest_component=False,
    shard=None,
    in_flight=2,
    timeout_seconds=60,
    ca=None,
    certificate=None,
    key=None,
    token_file=None,
    token_header="authorization",
    overwrite=False,
    progress=False,
    report=None,
):
    """Segment many scans with a model server and write the masks that it returns into a folder.

    A scan that cannot be read, or that the server refuses, is a problem of the result, and the others go on. What any
    other scan would meet as well ends the call at once: no server, no such model, credentials that are not admitted.

    A mask that exists is skipped if the file beside it names the same scan, the same options and the model that is
    served now. For that the server is asked once for the fingerprint of its model, before the first scan and only if
    there is a mask. Any other is refused or, with `overwrite`, replaced: also one that a run has made on this machine,
    since voxels may differ between builds of TensorFlow, and every one where the model takes voxels only, since such a
    model gives no fingerprint. The file beside a new mask has the fingerprint that came with it, also where the server
    has changed to another version of the model meanwhile.

    Args:
        server: As for `segment_remote`.
        images: As for `segment_many`. The channels of a scan of several files are taken in the order of its data set,
            since a server does not name them.
        output: As for `segment_many`.
        model_name: As for `segment_remote`.
        affine: As for `segment_remote`.
        nonfinite: As for `segment_remote`.
        largest_component: As for `segment_remote`.
        shard: As for `segment_many`.
        in_flight: How many scans are read, sent and waited for at a time, > 0. Each needs memory on both machines.
        timeout_seconds: How long to wait for each answer, all tries together, > 0.
        ca: As for `segment_remote`.
        certificate: As for `segment_remote`.
        key: As for `segment_remote`.
        token_file: As for `segment_remote`.
        token_header: As for `segment_remote`.
        overwrite: Replace masks that exist and are not those of this call.
        progress: Show a bar with scans per minute on a terminal.
        report: `None`, or a callable that gets each problem when it is met.

    Returns:
        `ManyMasks`, as `segment_many`.

    Raises:
        UsageError: As for `segment_many` and `segment_remote`.
        OutputExistsError: `output` is a file.
        CaseError: There is no scan.
        EnvironmentFailure: As for `segment_remote`; the folder cannot be written, or the disk is full.

    Example:

    >>> segment_many_remote("localhost", ["scans"], "masks")
    Traceback (most recent call last):
    mcc_keras.errors.UsageError: `server` must be HOST:PORT for gRPC, such as localhost:8500, or http://HOST:PORT ...
    """
    address = parse_address(server, encrypted=ca is not None)
    if isinstance(in_flight, bool) or not isinstance(in_flight, int) or in_flight < 1:
        raise UsageError(f"`in_flight` must be a whole number above 0. Received: in_flight={in_flight!r}.")
    refuse_folder(output)
    files = {"ca": ca, "certificate": certificate, "key": key, "token_file": token_file}
    how = {"model_name": model_name, "timeout_seconds": timeout_seconds, "token_header": token_header}
    remote = connect(address, **how, **files)
    reading = {"affine": affine, "nonfinite": nonfinite or "error"}
    jobs, problems = find_jobs(images, output, remote.channel_names, reading=reading, shard=shard)
    options = {"affine": affine, "nonfinite": nonfinite, "largest_component": largest_component}
    model = remote.name_model() if any(job.outputs.mask.exists() for job in jobs) else None

    def ask(job):
        return remote.segment(job.case, nonfinite=nonfinite, largest_component=largest_component)

    def write(job, made):
        return write_segmented(job, made, largest_component=largest_component)

    def segment_rest(todo, report):
        functions = {"read": ask, "segment": lambda job, made: made, "write": write}

        def segment(done):
            pass_line(todo, done, **functions, concerns_all=concerns_all, ahead=in_flight)

        return collect(todo, segment, progress=progress, report=report)

    origin = remote.origin(model, options)
    return finish(jobs, problems, origin, segment_rest, output=Path(output), overwrite=overwrite, report=report)
