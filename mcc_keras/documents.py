"""JSON documents: a frozen dataclass with a schema number, written aside and read with every key and type checked."""

import json
from pathlib import Path

import msgspec

from mcc_keras.errors import DataError
from mcc_keras.files import write_text


def write_document(value, path, *, schema):
    """Write a dataclass as JSON with its schema number; return the path."""
    return write_text(path, to_text(value, schema=schema))


def to_text(value, *, schema):
    """Return a dataclass as JSON text with its schema number.

    Example:

    >>> import dataclasses
    >>> Point = dataclasses.make_dataclass("Point", [("x", float)], frozen=True)
    >>> to_text(Point(x=0.5), schema=1)
    '{\\n  "schema": 1,\\n  "x": 0.5\\n}\\n'
    """
    return json.dumps({"schema": schema, **msgspec.to_builtins(value)}, indent=2, ensure_ascii=False) + "\n"


def read_document(path, kind, *, schema, error=DataError, way_out=""):
    """Return the dataclass that `write_document` wrote.

    Args:
        path: The file.
        kind: The dataclass, whose annotations and `__post_init__` define the valid values.
        schema: Its schema number.
        error: Subclass of `DataError` to raise.
        way_out: What to do about an invalid file.

    Raises:
        DataError: The file cannot be read, is not JSON in UTF-8, has another schema, an unknown or a missing key, or a
            value of another type or out of range. The text names file and key.
    """
    data = _read(path, error, way_out)
    return parse_document(data, kind, path=path, schema=schema, error=error, way_out=way_out)


def read_object(path, *, error=DataError, way_out=""):
    """Return the plain values of a JSON object that another program or a person wrote, which has no schema number.

    Args:
        path: The file.
        error: Subclass of `DataError` to raise.
        way_out: What to do about an invalid file.

    Raises:
        DataError: The file cannot be read, is not JSON in UTF-8, or holds something else than an object.
    """
    content = _decode(_read(path, error, way_out), path, error=error, way_out=way_out)
    if not isinstance(content, dict):
        raise error(path, f"expected a JSON object, found {type(content).__name__}", way_out)
    return content


def parse_document(data, kind, *, path, schema, error=DataError, way_out=""):
    """Return the dataclass that JSON text or bytes hold; see `read_document`.

    Example:

    >>> import dataclasses
    >>> Point = dataclasses.make_dataclass("Point", [("x", float)], frozen=True)
    >>> parse_document('{"schema": 1, "x": "left"}', Point, path="point.json", schema=1)
    Traceback (most recent call last):
    mcc_keras.errors.DataError: point.json: expected `float`, got `str` - at `$.x`.
    """
    content = _decode(data, path, error=error, way_out=way_out)
    if not isinstance(content, dict) or "schema" not in content:
        raise error(path, 'expected a JSON object with "schema", found another', way_out)
    found = content.pop("schema")
    if found != schema or isinstance(found, bool):
        newer = isinstance(found, int) and found > schema
        hint = "A newer mcc_keras wrote it: update." if newer else way_out
        raise error(path, f"expected schema {schema}, found {found!r:.40}", hint)
    return build(content, kind, path=path, error=error, way_out=way_out)


def build(content, kind, *, path, error=DataError, way_out=""):
    """Return the dataclass that a dict of plain values describes; unknown keys are refused at any depth."""
    try:
        value = msgspec.convert(content, kind)
    except (msgspec.ValidationError, RecursionError) as problem:
        text = str(problem)
        raise error(path, text[:1].lower() + text[1:], way_out) from None
    unknown = sorted(_unknown(content, msgspec.to_builtins(value)))
    if unknown:
        raise error(path, f"expected known keys only, found also {', '.join(unknown[:5])}", way_out)
    return value


def _read(path, error, way_out):
    try:
        return Path(path).read_bytes()
    except OSError as problem:
        raise error(path, f"expected a JSON file, found: {problem.strerror}", way_out) from None


def _decode(data, path, *, error, way_out):
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise error(path, f"expected JSON in UTF-8, found: {problem}", way_out) from None


def _unknown(given, kept):
    if isinstance(given, dict) and isinstance(kept, dict):
        yield from (str(key) for key in given if key not in kept)
        for key in given.keys() & kept.keys():
            yield from _unknown(given[key], kept[key])
    elif isinstance(given, list) and isinstance(kept, list):
        for one, other in zip(given, kept, strict=False):
            yield from _unknown(one, other)
