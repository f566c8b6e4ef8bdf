import dataclasses

import pytest

from mcc_keras.documents import parse_document, read_document, to_text, write_document
from mcc_keras.errors import DataError, RunError, UsageError


@dataclasses.dataclass(frozen=True)
class Inner:
    count: int = 1

    def __post_init__(self):
        if self.count < 1:
            raise UsageError(f"`count` must be positive. Received: count={self.count}.")


@dataclasses.dataclass(frozen=True)
class Outer:
    name: str
    sizes: tuple[int, ...] = ()
    inner: Inner | None = None


def test_a_document_comes_back_as_the_same_value(tmp_path):
    value = Outer("Größe", (1, 2), Inner(3))
    write_document(value, tmp_path / "a.json", schema=4)
    assert read_document(tmp_path / "a.json", Outer, schema=4) == value
    assert '"name": "Größe"' in (tmp_path / "a.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"{", "expected JSON"),
        ('{"schema": 1, "name": "a"}'.encode("utf-16"), "expected JSON in UTF-8"),
        (b'{"schema": 1, "name": "\xff"}', "expected JSON"),
        (b"[" * 100_000, "expected JSON"),
        (b'{"schema": 1, "name": Infinity}', "expected JSON"),
        (b"[1]", "JSON object"),
        (b'{"name": "a"}', '"schema"'),
        (b'{"schema": true, "name": "a"}', "expected schema 1, found True"),
        (b'{"schema": 2, "name": "a"}', "found 2. A newer mcc_keras wrote it"),
        (b'{"schema": 0, "name": "a"}', "found 0. Train again."),
        (b'{"schema": 1}', "missing required field `name`"),
        (b'{"schema": 1, "name": 3}', r"expected `str`, got `int` - at `\$.name`"),
        (b'{"schema": 1, "name": "a", "sizes": [1, "b"]}', r"\$.sizes\[1\]"),
        (b'{"schema": 1, "name": "a", "inner": {"count": 0}}', r"count=0. - at `\$.inner`"),
        (b'{"schema": 1, "name": "a", "color": 1}', "found also color"),
        (b'{"schema": 1, "name": "a", "inner": {"count": 2, "depth": 1}}', "found also depth"),
    ],
)
def test_anything_else_is_one_typed_error_that_names_file_and_key(text, problem, tmp_path):
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(RunError, match=f"a.json: .*{problem}"):
        read_document(tmp_path / "a.json", Outer, schema=1, error=RunError, way_out="Train again.")


def test_a_missing_file_is_a_typed_error(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_document(tmp_path / "a.json", Outer, schema=1)


def test_text_and_bytes_are_read_alike():
    text = to_text(Outer("a"), schema=1)
    assert parse_document(text, Outer, path="a", schema=1) == parse_document(text.encode(), Outer, path="a", schema=1)
