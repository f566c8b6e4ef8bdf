"""A command that the machine stops leaves with exit code 5 and one line; any other error of the system is a bug."""

import errno
import os
import sys

import pytest

from mcc_keras.cli import main


class Broken:
    """A stream that fails as a full disk, a lost mount or a closed door do."""

    encoding = "utf-8"

    def __init__(self, code):
        self.code = code

    def write(self, text):
        raise OSError(self.code, os.strerror(self.code))

    def flush(self):
        pass

    def isatty(self):
        return False


def check_with_output_on(stream, scans, monkeypatch):
    monkeypatch.setattr(sys, "stdout", stream)
    return main(["check", str(scans), "--workers", "1"])


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "ENOMEM", "EIO"])
def test_an_error_of_the_machine_exits_as_environment(name, write_pairs, monkeypatch, capsys):
    code = getattr(errno, name)
    assert check_with_output_on(Broken(code), write_pairs(count=1), monkeypatch) == 5
    assert capsys.readouterr().err.splitlines()[-1].endswith(os.strerror(code))


def test_another_error_of_the_system_is_not_hidden(write_pairs, monkeypatch):
    with pytest.raises(OSError, match=os.strerror(errno.ENOTDIR)):
        check_with_output_on(Broken(errno.ENOTDIR), write_pairs(count=1), monkeypatch)
