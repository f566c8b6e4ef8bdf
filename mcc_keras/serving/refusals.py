"""What a model server refuses: tried again where it passes, and otherwise one clear line."""

import random
import re
import time

from mcc_keras.errors import DataError, EnvironmentFailure

WAITS = (
    0.25,
    0.5,
    1.0,
    2.0,
)  # seconds between tries, each shortened by up to a half so that clients do not fall in step
LONGEST_DETAILS = 500  # characters of a server's words in an error
CODES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
CODES |= {408: "DEADLINE_EXCEEDED", 413: "TOO_LARGE", 429: "RESOURCE_EXHAUSTED", 501: "UNIMPLEMENTED"}
CODES |= {502: "UNAVAILABLE", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}
_PASSING = ("UNAVAILABLE", "RESOURCE_EXHAUSTED")
_OF_ALL = ("UNAVAILABLE", "NOT_FOUND", "UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED")
_ASSERTION = re.compile(r"assertion failed: \[+(.*?)\]+ *(?:\[\[|$)")


class Refusal(Exception):
    """An answer that is none.

    Args:
        code: Name of a gRPC status, or `"TOO_LARGE"`.
        details: The server's words.
        retry_after: Seconds after which it wants to be asked again, or None.
    """

    def __init__(self, code, details, retry_after=None):
        words = " ".join((details or "no reason given").split())
        if code == "RESOURCE_EXHAUSTED" and "larger than max" in words:
            code = "TOO_LARGE"
        inside = _ASSERTION.search(words)  # what a graph asserts, without the graph around it
        words = inside[1].strip('" ') if inside else words
        super().__init__(code, words)
        self.code, self.details, self.retry_after = code, words[:LONGEST_DETAILS], retry_after

    @property
    def passes(self):
        """Whether the same request may be answered later: nobody answers yet, or the queue is full."""
        return self.code in _PASSING

    @property
    def concerns_all(self):
        """Whether any other request would be refused as well."""
        return self.code in _OF_ALL


def ask_patiently(ask, *, timeout_seconds, sleep=time.sleep):
    """Return `ask(seconds_left)`; after a refusal that passes it is called again, a few times and within the time.

    Args:
        ask: Function that returns an answer or raises a `Refusal`.
        timeout_seconds: For all tries together.
        sleep: Function that waits.

    Raises:
        Refusal: The last one.

    Example:

    >>> answers = [Refusal("UNAVAILABLE", "starting"), "mask"]
    >>> def ask(seconds_left):
    ...     answer = answers.pop(0)
    ...     if isinstance(answer, Refusal):
    ...         raise answer
    ...     return answer
    >>> ask_patiently(ask, timeout_seconds=10, sleep=lambda seconds: None)
    'mask'
    """
    end = time.monotonic() + timeout_seconds
    for wait in (*WAITS, None):
        try:
            return ask(max(end - time.monotonic(), 0.001))
        except Refusal as refusal:
            pause = wait and (refusal.retry_after or wait * random.uniform(0.5, 1))
            if pause is None or not refusal.passes or time.monotonic() + pause >= end:
                raise
            sleep(pause)
    raise AssertionError  # the last try returns or raises


def explain(refusal, address, *, model_name, timeout_seconds, scan):
    """Return the typed error of a `Refusal`."""
    code, details = refusal.code, refusal.details
    if code == "INVALID_ARGUMENT":
        return DataError(scan, f"the model server at {address} refuses the scan: {details}")
    if code == "UNAVAILABLE" and re.search("SSL|TLS|certificate", details, re.IGNORECASE):
        return EnvironmentFailure(f"{address}: TLS fails ({details}). Name the server's authority with ca=FILE.")
    problem = {
        "UNAVAILABLE": f"no model server answers ({details}). Is it running, and is this its port (usually 8500 for"
        " gRPC, 8501 for REST)?",
        "RESOURCE_EXHAUSTED": f"the server has too much to do ({details}). Ask again later, or start more servers.",
        "TOO_LARGE": f"a message is larger than its receiver takes ({details}). Segment the scan on this machine, or"
        " raise the limit of the server.",
        "NOT_FOUND": f"the server has no model {model_name!r} ({details}). Give the name it was started with.",
        "DEADLINE_EXCEEDED": f"no answer within {timeout_seconds:g} s. Raise timeout_seconds, or ask a faster server.",
        "UNAUTHENTICATED": f"the server asks who you are ({details}). Name a file with a token, token_file=FILE, or"
        " a certificate, certificate=FILE with key=FILE.",
        "PERMISSION_DENIED": f"the server does not admit this token or certificate ({details}). Ask its operator.",
        "UNIMPLEMENTED": f"the server has no such service ({details}). Is it a model server, and is this its port?",
    }.get(code, f"the server answers {code}: {details}")
    return EnvironmentFailure(f"{address}: {problem}")
