"""Run one command: exit codes, and one line per problem instead of a traceback."""

import errno
import os
import shlex
import sys
import warnings

import mcc_keras as mk
from mcc_keras.cli.language import list_problems, translate
from mcc_keras.cli.parser import build_parser
from mcc_keras.cli.quiet import quiet_tensorflow
from mcc_keras.errors import printable

ENVIRONMENT = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOMEM, errno.EIO)


def main(argv=None):
    """Run one command and return its exit code; only a bug of the package ends with a traceback."""
    argv = sys.argv[1:] if argv is None else argv
    os.environ["PYTHONSAFEPATH"] = "1"  # worker processes import nothing from the current folder, which may hold scans
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # so that a terminal that is not UTF-8 shows what it can
            stream.reconfigure(errors="backslashreplace")
    options = vars(build_parser().parse_args(argv))
    command, parser = options.pop("command"), options.pop("parser")
    warnings.formatwarning = lambda message, *_, **__: f"warning: {translate(printable(message), parser)}\n"
    if "words" in options:
        options["words"] = argv
    try:
        with quiet_tensorflow():
            return command(**options) or 0
    except mk.errors.DataErrors as error:
        return _complain(translate("\n".join(list_problems(error)), parser), code=error.exit_code)
    except mk.errors.TrainingInterrupted as error:
        return _complain(f"{error.run}: stopped by {error.cause}. Go on with:\n{_line(argv)}", code=error.exit_code)
    except mk.errors.MCCKerasError as error:
        return _complain(translate(str(error), parser), code=error.exit_code)
    except KeyboardInterrupt:
        return _complain("interrupted", code=4)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError as error:
        return _complain(f"out of memory. {error}".strip(), code=5)
    except OSError as error:
        if error.errno not in ENVIRONMENT:
            raise
        return _complain(printable(f"{error.filename or 'disk'}: {error.strerror}"), code=5)
    except Exception as error:
        if type(error).__name__ != "ResourceExhaustedError":  # TensorFlow's, which must not be imported to be caught
            raise
        return _complain(f"out of memory or disk. {str(error).splitlines()[0]}", code=5)


def _line(argv):
    return shlex.join(["mcc-keras", *(word for word in argv if word != "--restart")])


def _complain(text, *, code):
    print(text, file=sys.stderr)
    return code
