"""Real servers in processes of their own, for the tests of tests/foreign."""

import contextlib
import http.client
import socket
import subprocess
import time

PATIENCE_SECONDS = 300  # a busy machine loads TensorFlow in minutes
FOREIGN = {"PYTHONPATH": "", "TF_ENABLE_ONEDNN_OPTS": "1"}  # added to the environment of such a process


def free_ports(number):
    """Return ports of this machine that nobody listens to."""
    with contextlib.ExitStack() as open_together:  # so that they differ
        sockets = [open_together.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def started(command, *, port, path, folder, environment):
    """Run a server until the block ends; the block begins when GET `path` at `port` has status 200."""
    log = folder / "log"
    with log.open("w") as stream:
        server = subprocess.Popen(list(map(str, command)), stdout=stream, stderr=stream, cwd=folder, env=environment)
    try:
        end = time.monotonic() + PATIENCE_SECONDS
        while not is_ready(port, path):
            if server.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"{command[0]} does not start:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.2)
        yield
    finally:
        server.terminate()  # Triton removes its shared memory
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def is_ready(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().status == 200
    return False


# A program for an environment with tritonclient[grpc]: HOST:PORT, scan, mask.
ASK_OVER_GRPC = """
import sys
import numpy as np
from tritonclient import grpc
given = grpc.InferInput("scan_bytes", [1, 1], "BYTES")
given.set_data_from_numpy(np.array([[open(sys.argv[2], "rb").read()]], dtype=object))
answer = grpc.InferenceServerClient(sys.argv[1]).infer("segmenter", [given])
open(sys.argv[3], "wb").write(answer.as_numpy("mask_bytes")[0])
"""
