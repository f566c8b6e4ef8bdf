"""Where a model server answers, and what it asks to see: TLS, a client certificate, a token."""

import dataclasses
import re
from pathlib import Path

from mcc_keras.errors import EnvironmentFailure, UsageError

SCHEMES = ("grpc", "grpcs", "http", "https")
_ADDRESS = re.compile(r"(?:(?P<scheme>[a-z]+)://)?(?P<host>[\w.-]+|\[[\da-fA-F:.]+\]):(?P<port>\d{1,5})/?")
_HERE = ("localhost", "127.0.0.1", "[::1]")
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_LONGEST_TOKEN = 16384  # bytes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Address:
    """Where a server answers.

    Args:
        scheme: `"grpc"`, `"grpcs"`, `"http"` or `"https"`; an s means TLS.
        host: Name or number.
        port: 1 to 65535.
    """

    scheme: str
    host: str
    port: int

    def __str__(self):
        return f"{self.host}:{self.port}"

    @property
    def is_rest(self):
        """Whether the server is asked over REST."""
        return self.scheme.startswith("http")

    @property
    def is_encrypted(self):
        """Whether the server is asked over TLS."""
        return self.scheme.endswith("s")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Credentials:
    """What is shown to a server; the contents of files.

    Args:
        ca: Certificates of the authorities to trust, PEM; None: those of the system.
        certificate: Certificate of the client, PEM, or None.
        key: Its private key, PEM, or None.
        files: The paths of the three.
        header: Name and value of the header that holds the token, or None.
    """

    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None
    files: tuple = (None, None, None)
    header: tuple[str, str] | None = dataclasses.field(default=None, repr=False)


def parse_address(server, *, encrypted=False):
    """Return the `Address` of `HOST:PORT`, which is gRPC, or of a URL.

    Args:
        server: `HOST:PORT`, `grpcs://HOST:PORT`, `http://HOST:PORT` or `https://HOST:PORT`.
        encrypted: Use TLS also where the scheme does not say so.

    Example:

    >>> parse_address("localhost:8500")
    Address(scheme='grpc', host='localhost', port=8500)
    >>> parse_address("http://localhost:8501", encrypted=True).scheme
    'https'
    """
    found = _ADDRESS.fullmatch(str(server))
    scheme = found and (found["scheme"] or "grpc")
    if scheme not in SCHEMES or not 0 < int(found["port"]) < 65536:
        raise UsageError(
            "`server` must be HOST:PORT for gRPC, such as localhost:8500, or http://HOST:PORT for REST, or one of these"
            f" with TLS, grpcs:// or https://. Received: server={str(server)!r}."
        )
    scheme += "s" if encrypted and not scheme.endswith("s") else ""
    return Address(scheme=scheme, host=found["host"], port=int(found["port"]))


def read_credentials(address, *, ca=None, certificate=None, key=None, token_file=None, token_header="authorization"):
    """Return the `Credentials` that files hold.

    Raises:
        UsageError: A certificate without its key, or a token that would travel unencrypted to another machine.
        EnvironmentFailure: A file cannot be read or holds no token.
    """
    if (certificate is None) != (key is None):
        raise UsageError(
            "`certificate` and `key` must be given together: the client's certificate and its private key."
        )
    files = (ca, certificate, key)
    contents = [None if path is None else _read(path) for path in files]
    header = None
    if token_file is not None:
        if not address.is_encrypted and address.host not in _HERE:
            raise UsageError(f"A token must not travel unencrypted. Use https:// or grpcs://. Received: {address}.")
        header = _header(token_header, token_file)
    return Credentials(ca=contents[0], certificate=contents[1], key=contents[2], files=files, header=header)


def _header(name, path):
    if not _HEADER.fullmatch(name):
        raise UsageError(f"`token_header` must be the name of a header. Received: token_header={name!r}.")
    data = _read(path).strip()
    if not data or len(data) > _LONGEST_TOKEN or not data.isascii() or not data.decode().isprintable():
        raise EnvironmentFailure(f"{path}: expected one line with a token, found none. Write the token alone into it.")
    token = data.decode()
    return name.lower(), f"Bearer {token}" if name.lower() == "authorization" and " " not in token else token


def _read(path):
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise EnvironmentFailure(
            f"{path}: cannot be read ({error.strerror}). Check its name and permissions."
        ) from None
