"""TensorFlow without the lines that it always prints while it is imported, whoever imports it first."""

import contextlib
import importlib.util
import os
import sys
import tempfile


@contextlib.contextmanager
def quiet_tensorflow():
    """Show only the warnings of TensorFlow's import, if it happens in this block.

    TensorFlow is loaded where a command first needs it, after everything that can be refused without it. With
    TF_CPP_MIN_LOG_LEVEL set by the user all lines are shown.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ or "tensorflow" in sys.modules:
        yield
        return
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        finder.leave()


class _Finder:
    """Finds TensorFlow as Python does, and holds back what the file descriptor gets while it is executed.

    It writes the lines before its own log level counts, so only the file descriptor can hold them back.
    """

    def find_spec(self, name, path=None, target=None):
        if name != "tensorflow":
            return None
        self.leave()
        spec = importlib.util.find_spec(name)
        if spec:
            execute = spec.loader.exec_module
            spec.loader.exec_module = lambda module: _execute_quietly(execute, module)
        return spec

    def leave(self):
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(self)


def _execute_quietly(execute, module):
    # Errors are raised as well; its logger calls it an error where oneDNN leaves an operation on integers to Eigen.
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    sys.stderr.flush()
    with _anything_to_write_to() as held, contextlib.ExitStack() as stack:
        stderr = os.dup(2)
        os.dup2(held.fileno(), 2)
        stack.callback(lambda: (os.dup2(stderr, 2), os.close(stderr), held.seek(0), _show_warnings(held)))
        execute(module)
        module.config.list_physical_devices()  # looks for a GPU, and prints a line where there is none


def _anything_to_write_to():
    """Return a temporary file, in memory where the system has that, since a container may have no folder for it."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("tensorflow"), "w+b")
    return tempfile.TemporaryFile()


def _show_warnings(lines):
    for line in lines:
        if not line.startswith((b"I0000", b"WARNING: All log")) and b"cuInit" not in line and line.strip():
            sys.stderr.write(line.decode(errors="replace"))
