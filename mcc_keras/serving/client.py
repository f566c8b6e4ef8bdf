"""Segment a scan with a model server: TensorFlow Serving, or anything that speaks its gRPC or REST protocol.

    mask = segment_remote("localhost:8500", "scan.nii.gz", "scan_seg.nii.gz")

The server runs the exported graph, preprocessing included. The request holds the scan's file as it is where the model
takes files and the file is NIfTI; other formats are converted. For older models it holds the voxels and the affine. The
mask is that of `segment`.
"""

from mcc_keras.datasets.scan import files_of, scan_case
from mcc_keras.files import refuse_output_that_is_input
from mcc_keras.segmentation.jobs import Job
from mcc_keras.segmentation.line import write_segmented
from mcc_keras.segmentation.outputs import Outputs
from mcc_keras.serving.address import parse_address
from mcc_keras.serving.remote import connect


def segment_remote(
    server,
    images,
    output,
    *,
    model_name="segmenter",
    affine=None,
    nonfinite=None,
    largest_component=False,
    timeout_seconds=60,
    ca=None,
    certificate=None,
    key=None,
    token_file=None,
    token_header="authorization",
    overwrite=False,
):
    """Send a scan to a model server and write the mask that it returns.

    A request is repeated, a few times and within `timeout_seconds`, while nobody answers or the server's queue is full.
    Nothing that the server answers is trusted: its size is bounded by the scan's, its type, shape and labels are
    checked. Beside the mask stands `<mask>.json`: the fingerprint of the model as the server gives it, the options, and
    the hashes of the scan's files; `explain` reads it. A model that takes voxels only gives no fingerprint, and its
    masks no such file.

    Args:
        server: `HOST:PORT` of the gRPC service (TensorFlow Serving: 8500), `http://HOST:PORT` of the REST interface
            (8501), or either with TLS: `grpcs://HOST:PORT`, `https://HOST:PORT`.
        images: Path of the scan; for several channels a list, one file per channel in the order of the training, or a
            case folder.
        output: Mask to write, on the grid of the scan: `.nii.gz`, `.nii`, `.nrrd`, `.mha` or `.mhd`.
        model_name: The name under which the server knows the model.
        affine: `"sform"` or `"qform"`, where a NIfTI file holds two that disagree; `None`: they must agree.
        nonfinite: `"error"` refuses NaN and infinite voxels, `"zero"` reads them as 0; `None`: as the model's run does.
        largest_component: Keep only the largest connected component of every class.
        timeout_seconds: How long to wait for an answer, all tries together, > 0; the first request to a cold server
            takes longest.
        ca: PEM file with the certificates of the authorities to trust; it implies TLS. By default those of the system.
        certificate: PEM file with the client's certificate, where the server asks for one.
        key: PEM file with its private key.
        token_file: File with a token, sent with each request; it needs TLS, but for this machine.
        token_header: Header of the token. In `authorization` it is a bearer token.
        overwrite: Replace `output` if it exists.

    Returns:
        Path of the mask.

    Raises:
        OutputExistsError: `output`, or a file `<output>.json` of something else, exists and `overwrite` is false.
        UsageError: `output` is one of the images, the model has another number of channels, or the address is invalid.
        VolumeError: A file cannot be read, or has other channels than the model.
        DataError: The server refuses the scan.
        EnvironmentFailure: The extra `serving` is not installed, no server answers in time, it has no such model, or
            its answer is no mask of the scan.

    Example:

    >>> segment_remote("localhost", "scan.nii.gz", "scan_seg.nii.gz")
    Traceback (most recent call last):
    mcc_keras.errors.UsageError: `server` must be HOST:PORT for gRPC, such as localhost:8500, or http://HOST:PORT ...
    """
    address = parse_address(server, encrypted=ca is not None)
    outputs = Outputs.beside(output, probability=False)
    outputs.refuse(overwrite=overwrite)
    for path in outputs.paths:
        refuse_output_that_is_input(path, files_of(images))
    files = {"ca": ca, "certificate": certificate, "key": key, "token_file": token_file}
    how = {"model_name": model_name, "timeout_seconds": timeout_seconds, "token_header": token_header}
    remote = connect(address, **how, **files)
    case = scan_case(images, remote.channel_names, affine=affine)
    made = remote.segment(case, nonfinite=nonfinite, largest_component=largest_component)
    return write_segmented(Job(case, outputs, overwrite), made, largest_component=largest_component)
