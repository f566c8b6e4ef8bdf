"""Addresses and credentials: read from files, shown over TLS only, and never printed."""

import pytest

from mcc_keras.errors import EnvironmentFailure, UsageError
from mcc_keras.serving.address import parse_address, read_credentials


@pytest.mark.parametrize(
    ("text", "scheme", "port"),
    [("a:1", "grpc", 1), ("grpcs://a:2", "grpcs", 2), ("http://a:3/", "http", 3), ("https://a:4", "https", 4)],
)
def test_a_scheme_says_how_to_ask(text, scheme, port):
    address = parse_address(text)
    assert (address.scheme, address.host, address.port) == (scheme, "a", port)
    assert address.is_rest == scheme.startswith("http") and address.is_encrypted == scheme.endswith("s")


@pytest.mark.parametrize(
    "text", ["a", "a:0", "a:65536", "a:b", "ftp://a:1", "http://a:1/v1", "http://u:p@a:1", "a b:1"]
)
def test_anything_else_is_no_address(text):
    with pytest.raises(UsageError, match="`server` must be HOST:PORT"):
        parse_address(text)


def test_a_token_is_a_bearer_in_authorization_and_bare_elsewhere(tmp_path):
    (tmp_path / "token").write_text(" abc\n")
    address = parse_address("https://a:1")
    found = read_credentials(address, token_file=tmp_path / "token")
    assert found.header == ("authorization", "Bearer abc") and "abc" not in repr(found)
    other = read_credentials(address, token_file=tmp_path / "token", token_header="X-API-Key")
    assert other.header == ("x-api-key", "abc")


@pytest.mark.parametrize("content", ["", "two\nlines", "é", "x" * 20_000])
def test_a_file_without_one_token_is_refused_without_showing_it(tmp_path, content):
    (tmp_path / "token").write_text(content, encoding="utf-8")
    with pytest.raises(EnvironmentFailure, match="expected one line with a token") as refused:
        read_credentials(parse_address("https://a:1"), token_file=tmp_path / "token")
    assert "two" not in str(refused.value)


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(EnvironmentFailure, match="none.pem: cannot be read"):
        read_credentials(parse_address("https://a:1"), ca=tmp_path / "none.pem")


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\nb"])
def test_a_header_that_is_none_is_refused(tmp_path, name):
    (tmp_path / "token").write_text("abc")
    with pytest.raises(UsageError, match="`token_header` must be"):
        read_credentials(parse_address("https://a:1"), token_file=tmp_path / "token", token_header=name)
