"""A model server over REST: version 1 of TensorFlow Serving's interface, which KServe speaks as well."""

import base64
import binascii
import http.client
import json
import ssl
import time
import urllib.parse

from mcc_keras.errors import EnvironmentFailure
from mcc_keras.serving.answers import OTHER, ROOM
from mcc_keras.serving.export import BYTES
from mcc_keras.serving.refusals import CODES, Refusal

_PIECE = 1 << 20


class RestServer:
    """One model of a server; see `GrpcServer`, whose methods it has."""

    def __init__(self, address, credentials, *, model_name):
        self.address, self.credentials, self.model_name = address, credentials, model_name
        self.place = f"/v1/models/{urllib.parse.quote(model_name, safe='')}"
        self.context = _context(credentials) if address.is_encrypted else None

    def signatures(self, seconds):
        """Return the model's signatures: name to `{"inputs": {name: sizes}, "outputs": names}`."""
        answer = self._ask("GET", f"{self.place}/metadata", None, seconds, largest_answer=ROOM)
        try:
            found = answer["metadata"]["signature_def"]["signature_def"]
            return {name: _described(signature) for name, signature in found.items()}
        except (KeyError, TypeError, AttributeError, ValueError):
            raise EnvironmentFailure(f"{self.address}: expected signatures, found another answer. {OTHER}") from None

    def segment_bytes(self, files, seconds, *, largest_mask):
        """Return the bytes of the mask of a scan whose files are sent, and what the server says of its model."""
        answer = self._ask_bytes([files], seconds, largest_answer=largest_mask * 4 // 3 + ROOM)
        try:
            (mask,) = answer["outputs"]["mask_bytes"]
            return base64.b64decode(mask["b64"], validate=True), _named(answer)
        except (KeyError, TypeError, ValueError, binascii.Error):
            raise EnvironmentFailure(f"{self.address}: expected the bytes of one mask, found none. {OTHER}") from None

    def name_model(self, seconds):
        """Return what the server says of its model; without a scan: two empty files are refused, each by itself."""
        return _named(self._ask_bytes([[b""], [b""]], seconds, largest_answer=ROOM))

    def _ask_bytes(self, scans, seconds, *, largest_answer):
        encoded = [[{"b64": base64.b64encode(data).decode()} for data in files] for files in scans]
        body = json.dumps({"signature_name": BYTES, "inputs": {"scan_bytes": encoded}}).encode()
        return self._ask("POST", f"{self.place}:predict", body, seconds, largest_answer=largest_answer)

    def segment_voxels(self, volume, seconds, *, largest_mask):
        """Refuse: as text, voxels are many times their size."""
        raise EnvironmentFailure(
            f"{self.address}: expected a model with the signature {BYTES}, found an older one. Ask the server's gRPC"
            " port, or export the run again."
        )

    def _ask(self, method, place, body, seconds, *, largest_answer):
        end = time.monotonic() + seconds
        kind = http.client.HTTPSConnection if self.context else http.client.HTTPConnection
        more = {"context": self.context} if self.context else {}
        connection = kind(self.address.host.strip("[]"), self.address.port, timeout=seconds, **more)
        header = dict([self.credentials.header]) if self.credentials.header else {}
        try:
            connection.request(method, place, body, {"Content-Type": "application/json", **header})
            response = connection.getresponse()
            data = _read(response, largest_answer, end)
        except TimeoutError:
            raise Refusal("DEADLINE_EXCEEDED", "") from None
        except (OSError, http.client.HTTPException) as error:
            raise Refusal("UNAVAILABLE", str(error) or type(error).__name__) from None
        finally:
            connection.close()
        return _parsed(response, data, self.address)


def _read(response, largest, end):
    pieces, size = [], 0
    while piece := response.read(_PIECE):
        pieces.append(piece)
        size += len(piece)
        if size > largest:
            raise Refusal("TOO_LARGE", f"an answer of more than {largest} bytes, larger than any mask of the scan")
        if time.monotonic() > end:
            raise TimeoutError
    return b"".join(pieces)


def _parsed(response, data, address):
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        answer = None
    if response.status == 200 and isinstance(answer, dict):
        return answer
    words = answer.get("error") if isinstance(answer, dict) else data[:200].decode("ascii", "replace")
    if response.status == 200:
        raise EnvironmentFailure(f"{address}: expected an answer in JSON, found another. {OTHER}")
    code = CODES.get(response.status, f"HTTP {response.status}")
    after = response.headers.get("Retry-After", "")
    raise Refusal(code, f"{words or response.reason}", int(after) if after.isdecimal() else None)


def _named(answer):
    try:
        return answer["outputs"]["fingerprint"][0]
    except (KeyError, TypeError, IndexError):
        return None


def _described(signature):
    inputs = {
        name: [int(each["size"]) for each in tensor["tensor_shape"].get("dim", ())]
        for name, tensor in signature["inputs"].items()
    }
    return {"inputs": inputs, "outputs": list(signature["outputs"])}


def _context(credentials):
    ca, certificate, key = credentials.files
    try:
        context = ssl.create_default_context(cafile=ca)
        if certificate:
            context.load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        raise EnvironmentFailure(f"{ca or certificate}: expected PEM certificates, found none ({error}).") from None
    return context
