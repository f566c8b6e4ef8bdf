"""The PyTorch side of benchmarks/networks.py: each twin eager and channels-last, at one and two threads."""

import copy
import sys
import time

import numpy as np
from process import serve

try:
    import torch
    from torch.nn import functional
    from twins import TWINS
except ImportError as error:
    sys.exit(f"{sys.executable}: {error}; set MCC_KERAS_PEERS_PYTHON to an interpreter that has torch")

FORMS = {"eager": torch.contiguous_format, "channels-last": torch.channels_last_3d}
# What a Keras weight is called in torch.
NAMES = {"kernel": "weight", "gamma": "weight", "alpha": "weight", "bias": "bias", "beta": "bias"}
NAMES |= {"moving_mean": "running_mean", "moving_variance": "running_var"}
twins, timed = {}, {}


def read_check(network, path):
    """Build the twin with the network's weights; return its parameters, and how far its logits are from ours."""
    twin = twins[network] = TWINS[network]().eval()
    with np.load(path) as stored, torch.no_grad():
        image, logits = (channels_first(stored[name]) for name in ("image", "logits"))
        for name in set(stored) - {"image", "logits"}:
            variable = next(variable for variable in NAMES if name.endswith(f"_{variable}"))
            layer = twin.layers[name.removesuffix(f"_{variable}")]
            getattr(layer, NAMES[variable]).copy_(in_order(variable, stored[name]))
        difference = (twin(image) - logits).abs().max() / max(1.0, logits.abs().max())
    return sum(parameter.numel() for parameter in twin.parameters()), float(difference)


def in_order(variable, array):
    """A weight with torch's order of axes."""
    return torch.from_numpy(array.transpose(4, 3, 0, 1, 2) if variable == "kernel" else array.reshape(-1))


def channels_first(array):
    return torch.from_numpy(np.moveaxis(array, -1, 1).copy())


def prepare(network, side, *, batch, work, form, half=False):
    """Build what `run` will time: a training step or inference in one form, from the weights that were checked."""
    twin = copy.deepcopy(twins[network]) if network in twins else TWINS[network]()
    twin.to(memory_format=FORMS[form])
    image = np.random.default_rng(0).normal(size=(batch, side, side, side, 1)).astype("float32")
    image, mask = (channels_first(array).to(memory_format=FORMS[form]) for array in (image, (image > 1) * 1.0))
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=half)
    timed[form, half] = inference(twin, image) if work == "infer" else step(twin, image, mask.float(), autocast)


def inference(twin, image):
    twin.eval()

    def infer():
        with torch.inference_mode():
            twin(image)

    return infer


def step(twin, image, mask, autocast):
    twin.train()
    optimizer = torch.optim.Adam(twin.parameters(), 1e-3, fused=True)

    def train():
        optimizer.zero_grad()
        with autocast:
            logits = twin(image)
        functional.binary_cross_entropy_with_logits(logits.float(), mask).backward()
        optimizer.step()

    return train


def run(form, threads, *, half=False):
    """Seconds of one run."""
    torch.set_num_threads(threads)
    start = time.perf_counter()
    timed[form, half]()
    return time.perf_counter() - start


if __name__ == "__main__":
    serve(read_check, prepare, run)
