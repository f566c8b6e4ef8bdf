"""Segment a scan with a model server: TensorFlow Serving, or anything that speaks its gRPC or REST protocol.

    mask = segment_remote("localhost:8500", "scan.nii.gz", "scan_seg.nii.gz")

The server runs the exported graph, preprocessing included. The request holds the scan's file as it is where the model
takes files and the file is NIfTI; other formats are converted. For older models it holds the voxels and the affine. The
mask is that of `segment`.
"""

import math

from mcc_keras.datasets.scan import files_of, read_scan
from mcc_keras.errors import EnvironmentFailure, UsageError
from mcc_keras.files import refuse_output_that_is_input
from mcc_keras.segmentation.cleaning import clean
from mcc_keras.serving.address import parse_address, read_credentials
from mcc_keras.serving.answers import LABEL_BYTES, LARGEST_CHANNELS, OTHER, ROOM, checked_labels, mask_of_file
from mcc_keras.serving.export import BYTES, SIGNATURE
from mcc_keras.serving.over_grpc import GrpcServer
from mcc_keras.serving.over_rest import RestServer
from mcc_keras.serving.refusals import Refusal, ask_patiently, explain
from mcc_keras.serving.scan_bytes import paths_of, refuse_large, scan_bytes, served_as_stored
from mcc_keras.volumes import refuse_mask_path, write_mask


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
    checked.

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
        OutputExistsError: `output` exists and `overwrite` is false.
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
    if not timeout_seconds > 0:
        raise UsageError(f"`timeout_seconds` must be positive. Received: timeout_seconds={timeout_seconds}.")
    refuse_mask_path(output, overwrite=overwrite)
    refuse_output_that_is_input(output, files_of(images))
    files = {"ca": ca, "certificate": certificate, "key": key, "token_file": token_file}
    credentials = read_credentials(address, **files, token_header=token_header)
    kind = RestServer if address.is_rest else GrpcServer
    remote = Remote(kind(address, credentials, model_name=model_name), timeout_seconds=timeout_seconds)
    mask, volume, description = remote.segment(images, affine=affine, nonfinite=nonfinite)
    mask = clean(mask, largest_component=largest_component)
    return write_mask(mask, output, like=volume, description=description, overwrite=overwrite)


class Remote:
    """A served model that segments one scan a call.

    Args:
        server: `GrpcServer` or `RestServer`.
        timeout_seconds: For each answer, all tries together.
    """

    def __init__(self, server, *, timeout_seconds):
        self.server, self.timeout_seconds = server, timeout_seconds
        self._known = None

    def segment(self, images, *, affine=None, nonfinite=None):
        """Return (mask, `Volume`, text that names the model or None) of a scan; see `segment_remote`."""
        channels, takes_bytes = self._model(images)
        stored = takes_bytes and affine is None and nonfinite != "zero" and served_as_stored(images)
        names = tuple(f"image {number}" for number in range(1, channels + 1))
        # What is sent as stored the server reads by its own choice.
        nonfinite = nonfinite or ("zero" if stored else "error")
        volume = read_scan(images, names, affine=affine, nonfinite=nonfinite)
        voxels = math.prod(volume.shape)
        if not takes_bytes:
            refuse_large(volume)
            mask = self._ask(images, "segment_voxels", volume, largest_mask=LABEL_BYTES * voxels)
            return checked_labels(mask, address=self.server.address), volume, None
        data = scan_bytes(images, volume, as_stored=stored)
        found = self._ask(images, "segment_bytes", data, largest_mask=2 * voxels + ROOM)
        mask, description = mask_of_file(found, shape=volume.shape, address=self.server.address)
        return mask, volume, description

    def _model(self, images):
        """Return how many channels the model takes, and whether it takes files."""
        if self._known is None:
            self._known = served_model(self._ask(images, "signatures"), self.server.address)
        return self._known

    def _ask(self, images, method, *content, **limits):
        def ask(seconds):
            return getattr(self.server, method)(*content, seconds, **limits)

        try:
            return ask_patiently(ask, timeout_seconds=self.timeout_seconds)
        except Refusal as refusal:
            asked = {"model_name": self.server.model_name, "timeout_seconds": self.timeout_seconds}
            scan = ", ".join(map(str, paths_of(images)))
            raise explain(refusal, self.server.address, scan=scan, **asked) from refusal


def served_model(signatures, address):
    """Return how many channels a served model takes, and whether it takes files, by its signatures.

    Example:

    >>> voxels = {"inputs": {"image": [-1, -1, -1, 2], "affine": [4, 4]}, "outputs": ["mask"]}
    >>> served_model({"serving_default": voxels}, "localhost:8500")
    (2, False)
    """
    default = signatures.get(SIGNATURE, {"inputs": {}, "outputs": []})
    sizes = default["inputs"].get("image", [])
    known = len(sizes) == 4 and 1 <= sizes[-1] <= LARGEST_CHANNELS
    if not known or "affine" not in default["inputs"] or "mask" not in default["outputs"]:
        raise EnvironmentFailure(
            f"{address}: expected a model with inputs image (x, y, z, channels) and affine and output mask, found"
            f" another signature. {OTHER}"
        )
    files = signatures.get(BYTES, {"inputs": {}, "outputs": []})
    return sizes[-1], "scan_bytes" in files["inputs"] and "mask_bytes" in files["outputs"]
