"""TensorFlow without the lines that it always prints while it is imported."""

import contextlib
import os
import sys
import tempfile


def start_tensorflow():
    """Import TensorFlow and show only its warnings.

    It writes the other lines before its own log level counts, so only the file descriptor can hold them back. With
    TF_CPP_MIN_LOG_LEVEL set by the user all lines are shown.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ or "tensorflow" in sys.modules:
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held, contextlib.ExitStack() as stack:
        stderr = os.dup(2)
        os.dup2(held.fileno(), 2)
        stack.callback(lambda: (os.dup2(stderr, 2), os.close(stderr), held.seek(0), _show_warnings(held)))
        import tensorflow

        tensorflow.config.list_physical_devices()  # looks for a GPU, and prints a line where there is none


def _show_warnings(lines):
    for line in lines:
        if not line.startswith((b"I0000", b"WARNING: All log")) and b"cuInit" not in line and line.strip():
            sys.stderr.write(line.decode(errors="replace"))
