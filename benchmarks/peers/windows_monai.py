"""MONAI's side of benchmarks/window.py: `sliding_window_inference` of the same network, in several settings."""

import sys
import time

import numpy as np
from process import peak_kib, serve

try:
    import theirs
    import torch
    from monai.inferers import sliding_window_inference
    from twins import SameConv
except ImportError as error:
    sys.exit(f"{sys.executable}: {error}; set MCC_KERAS_PEERS_PYTHON to an interpreter that has MONAI")

state = {}


def read_check(path):
    """Build the twin with the network's weights; return its parameters, and how far its logits are from ours."""
    return theirs.read_check("dense_vnet", path)


def prepare(shape, window, classes):
    """Build the network and run one window, after which `peak_kib` is that of one window."""
    twin = theirs.twins.get("dense_vnet") or theirs.TWINS["dense_vnet"]()
    if classes > 1:
        twin.layers["final"] = SameConv(61, classes, bias=True)
    state["twin"], state["window"], state["classes"] = twin.eval(), tuple(window), classes
    state["image"] = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 1, *shape)).astype(np.float32))
    with torch.inference_mode():
        predict(torch.zeros(1, 1, *window))
    return peak_kib()


def predict(part):
    logits = state["twin"](part)
    return torch.sigmoid(logits) if state["classes"] == 1 else torch.softmax(logits, 1)


def run(windows, buffer, threads):
    """Seconds of a mask with `windows` windows at a time and `buffer` steps between writes (0: none)."""
    torch.set_num_threads(threads)
    buffers = {"buffer_steps": buffer, "buffer_dim": 0} if buffer else {}
    start = time.perf_counter()
    with torch.inference_mode():
        found = sliding_window_inference(
            state["image"], state["window"], windows, predict, overlap=0.5, mode="gaussian", **buffers
        )
        mask = (found[0, 0] >= 0.5) if state["classes"] == 1 else found[0].argmax(0)
        mask.to(torch.uint8).numpy()
    return time.perf_counter() - start


if __name__ == "__main__":
    serve(read_check, prepare, run)
