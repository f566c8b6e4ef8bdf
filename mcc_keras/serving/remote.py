"""A served model: what it takes, which one it is, and the masks that it gives."""

import dataclasses
import functools
import math

from mcc_keras.datasets.cases import read_image
from mcc_keras.errors import EnvironmentFailure, UsageError
from mcc_keras.segmentation.line import Segmented, without_voxels
from mcc_keras.segmentation.origin import MaskOrigin, hash_inputs
from mcc_keras.serving.address import read_credentials
from mcc_keras.serving.answers import (
    LABEL_BYTES,
    LARGEST_CHANNELS,
    OTHER,
    ROOM,
    checked_labels,
    mask_of_file,
    named_model,
)
from mcc_keras.serving.export import BYTES, SIGNATURE
from mcc_keras.serving.over_grpc import GrpcServer
from mcc_keras.serving.over_rest import RestServer
from mcc_keras.serving.refusals import Refusal, ask_patiently, explain
from mcc_keras.serving.scan_bytes import refuse_large, scan_bytes, served_as_stored


def connect(address, *, model_name, timeout_seconds, **shown):
    """Return the `Remote` of an address; nothing is asked yet.

    Args:
        address: `Address`.
        model_name: As for `segment_remote`.
        timeout_seconds: As for `segment_remote`.
        shown: Keywords of `read_credentials`.

    Raises:
        UsageError: A time that is not positive, or credentials that do not belong together.
        EnvironmentFailure: The extra `serving` is not installed, or a file of credentials cannot be read.
    """
    if not timeout_seconds > 0:
        raise UsageError(f"`timeout_seconds` must be positive. Received: timeout_seconds={timeout_seconds}.")
    credentials = read_credentials(address, **shown)
    kind = RestServer if address.is_rest else GrpcServer
    return Remote(kind(address, credentials, model_name=model_name), timeout_seconds=timeout_seconds)


class Remote:
    """A served model, which several threads may ask at once.

    Args:
        server: `GrpcServer` or `RestServer`.
        timeout_seconds: For each answer, all tries together.
    """

    def __init__(self, server, *, timeout_seconds):
        self.server, self.timeout_seconds = server, timeout_seconds

    @functools.cached_property
    def channel_names(self):
        """A name for each channel that the model takes, which the server does not name."""
        return tuple(f"image {number}" for number in range(1, self._takes[0] + 1))

    def name_model(self):
        """Return version and fingerprint of the model that is served now; see `named_model`."""
        return named_model(self._ask("name_model")) if self._takes[1] else None

    def origin(self, model, options):
        """Return the `MaskOrigin` of a mask of this server, without inputs; `None` where the model is not known.

        Args:
            model: As `named_model` returns it.
            options: Options of the call that change voxels, by name.
        """
        if model is None:
            return None
        version, fingerprint = model
        server = f"{self.server.address}, model {self.server.model_name}"
        return MaskOrigin(
            fingerprint=fingerprint, runs={}, version=version, options=dict(options), inputs={}, server=server
        )

    def segment(self, case, *, nonfinite=None, **options):
        """Return `Segmented` of a scan.

        Args:
            case: `Case`, with the channels of `channel_names`.
            nonfinite: As for `segment_remote`.
            options: Further options of the call, for the file about the mask.
        """
        inputs = hash_inputs(case)
        mask, volume, model = self._segment(case, nonfinite)
        origin = self.origin(model, {"affine": case.affine, "nonfinite": nonfinite, **options})
        origin = origin and dataclasses.replace(origin, inputs=inputs)
        return Segmented(mask, without_voxels(volume), origin)

    def _segment(self, case, nonfinite):
        takes_bytes = self._takes[1]
        stored = takes_bytes and case.affine is None and nonfinite != "zero" and served_as_stored(case.images)
        # What is sent as stored the server reads by its own choice.
        nonfinite = nonfinite or ("zero" if stored else "error")
        volume = read_image(dataclasses.replace(case, nonfinite=nonfinite))
        voxels, address = math.prod(volume.shape), self.server.address
        if not takes_bytes:
            refuse_large(volume)
            mask = self._ask("segment_voxels", volume, scan=case.images, largest_mask=LABEL_BYTES * voxels)
            return checked_labels(mask, address=address), volume, None
        data = scan_bytes(case.images, volume, as_stored=stored)
        found, text = self._ask("segment_bytes", data, scan=case.images, largest_mask=2 * voxels + ROOM)
        return mask_of_file(found, shape=volume.shape, address=address), volume, named_model(text)

    @functools.cached_property
    def _takes(self):
        """How many channels the model takes, and whether it takes files."""
        return served_model(self._ask("signatures"), self.server.address)

    def _ask(self, method, *content, scan=(), **limits):
        def ask(seconds):
            return getattr(self.server, method)(*content, seconds, **limits)

        try:
            return ask_patiently(ask, timeout_seconds=self.timeout_seconds)
        except Refusal as refusal:
            asked = {"model_name": self.server.model_name, "timeout_seconds": self.timeout_seconds}
            scan = ", ".join(map(str, scan)) or "the request"
            raise explain(refusal, self.server.address, scan=scan, **asked) from refusal


def concerns_all(problem):
    """Whether the next scan would meet a problem as well: nobody answers, the model is another, the disk is full."""
    refusal = problem.__cause__
    return isinstance(problem, EnvironmentFailure) and not (isinstance(refusal, Refusal) and not refusal.concerns_all)


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
