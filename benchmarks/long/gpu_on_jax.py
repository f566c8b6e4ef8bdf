"""Losses, metrics and a training step of each network on a GPU, through Keras on JAX.

    python benchmarks/long/gpu_on_jax.py             where JAX has a GPU: under 5 minutes; needs no TensorFlow
    python benchmarks/long/gpu_on_jax.py --small     tiny volumes, thin networks, on any processor

This runs the JAX branch of `keras.ops`, not TensorFlow's. Values are compared with NumPy in float64, gradients with JAX
on the CPU. The matrix products of losses and networks are those of full float32 where they are compared, and JAX's
default, TF32, where they are timed. Prints one line a check, FAIL where it fails, and exits with 1 if any did. If torch
also has the GPU, each loss is timed against a Dice loss written in torch; the ratio is seconds of mcc_keras / torch.
"""

import argparse
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor

os.environ["KERAS_BACKEND"] = "jax"
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import keras
import numpy as np
from references import matrix_of, value_of

import mcc_keras as mk
from mcc_keras.losses import LOSSES, get_loss
from mcc_keras.metrics import overlap
from mcc_keras.models import MODELS, get_model
from mcc_keras.processors import find_processor

VALUE, GRADIENT, NETWORK = 2e-5, 1e-4, 2e-3  # relative tolerances; those of gradients relative to the largest element
OF_MATRICES = ("mcc", "gwd", "mcc_cross_entropy")  # losses of several classes that multiply matrices
METRICS = ("DiceScore", "JaccardScore", "Precision", "Sensitivity", "VolumetricSimilarity")
# Keywords that make a network thin: XLA compiles the others for minutes on a CPU.
THIN = {
    "dense_vnet": {"depths": (2, 2, 2)},
    "vnet": {"width": 0.125},
    "voxresnet": {"width": 0.125},
    "unet3d": {"width": 0.0625},
}
# At 1e-3 without a warm-up V-Net, which has no normalization, diverges: after one step its activations reach 1.7e5,
# beyond the range of float16.
RATE = 1e-4
POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
ROUNDS = 10
CPU = jax.devices("cpu")[0]
failures = []


def report(name, passed, text):
    print(f"{'ok  ' if passed else 'FAIL'} {name:44} {text}", flush=True)
    if not passed:
        failures.append(name)


def batch(side, channels, *, seed=7):
    """Labels (2, side³, 1) and probabilities (2, side³, channels)."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(
        max(channels, 2), (2, side, side, side, 1), p=[0.9, *[0.1 / max(channels - 1, 1)] * max(channels - 1, 1)]
    )
    p = (
        generator.random((*labels.shape[:-1], channels))
        if channels == 1
        else generator.dirichlet(np.ones(channels), labels.shape[:-1])
    )
    return labels.astype("float32" if channels == 1 else "int32"), np.clip(p, 1e-4, 1 - 1e-4).astype("float32")


def one_hot(labels, channels):
    return labels if channels == 1 else np.eye(channels, dtype="float32")[labels[..., 0]]


def in_numpy(variable):
    return keras.ops.convert_to_numpy(variable).copy()


def seconds(step, *arguments):
    """Return the median seconds of a step whose result is waited for."""
    times = []
    for _ in range(ROUNDS + 2):
        start = time.perf_counter()
        jax.block_until_ready(step(*arguments))
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def check_losses(side):
    cases = []
    for channels in (1, 3):
        labels, p = batch(side, channels)
        targets = {"labels": labels} if channels == 1 else {"labels": labels, "one-hot": one_hot(labels, channels)}
        exact = {name: value_of(name, one_hot(labels, channels), p) for name in LOSSES}
        cases += [(name, kind, y, p, exact[name]) for kind, y in targets.items() for name in LOSSES]
    with ThreadPoolExecutor(8) as pool:  # of which most of the time is compilation
        for line in pool.map(lambda case: check_loss(*case), cases):
            report(*line)


def check_loss(name, kind, y, p, exact):
    step = jax.value_and_grad(get_loss(name), argnums=1)
    with jax.default_matmul_precision("highest"):
        value, gradient = jax.jit(step)(y, p)
        _, expected = jax.jit(step)(*(jax.device_put(x, CPU) for x in (y, p)))
    off, slope_off = abs(float(value) / exact - 1), difference(gradient, expected)
    text = f"value {exact:.6f} off by {off:.0e}, gradient by {slope_off:.0e}"
    if p.shape[-1] > 1 and name in OF_MATRICES:
        text += f"; value with TF32 by {abs(float(jax.jit(get_loss(name))(y, p)) / exact - 1):.0e}"
    return f"{name}, {p.shape[-1]} channels, {kind}", off < VALUE and slope_off < GRADIENT, text


def difference(array, expected):
    """Return the largest difference, relative to the largest element; infinite where it is not a number."""
    array, expected = (np.asarray(x, "float64") for x in (array, expected))
    off = np.abs(array - expected).max() / max(np.abs(expected).max(), 1e-30)
    return off if np.isfinite(off) else float("inf")


def check_refusals(side):
    """What is refused is NaN in a compiled graph."""
    labels, p = batch(side, 3)
    overlapping = one_hot(labels, 3).copy()
    overlapping[0, 0, 0, 0] = 1
    beyond, logits = labels.copy(), p.copy()
    beyond[0, 0, 0, 0], logits[0, 0, 0, 0] = 3, 1.01
    for name in ("mcc", "dice", "cross_entropy"):
        loss = jax.jit(get_loss(name))
        found = [float(loss(*pair)) for pair in ((overlapping, p), (beyond, p), (labels, logits))]
        report(f"{name}, refusals", bool(np.isnan(found).all()), f"{found}, expected NaN")


def check_metrics(side):
    for channels in (1, 3):
        labels, p = batch(side, channels)
        guess = (p >= 0.5)[..., 0] if channels == 1 else p.argmax(-1)
        expected = matrix_of(labels[..., 0].astype(int), guess, max(channels, 2))
        for name in METRICS:
            metric = getattr(overlap, name)(pool="all")
            metric.update_state(labels, p)
            equal = np.array_equal(metric.counts, expected)
            report(
                f"{name}, {channels} channels", equal, f"{expected.sum():,} voxels, result {float(metric.result()):.6f}"
            )


def check_large_counts(side):
    """Counts above 2^24, from which on a float32 skips whole numbers."""
    metric = overlap.DiceScore(pool="all")
    labels, p = np.zeros((1, side, side, side, 1), "float32"), np.zeros((1, side, side, side, 1), "float32")
    labels[0, 0, 0, :3], p[0, 0, 0, :2] = 1, 1
    for _ in range(3):
        metric.update_state(labels, p)
    expected = 3 * np.array([[side**3 - 3, 0], [1, 2]])
    report("counts of large volumes", np.array_equal(metric.counts, expected), f"{metric.counts.tolist()}")


def check_step(name, policy, side, **keywords):
    """Train on one batch: loss and weights stay finite, and the weights change."""
    keras.utils.set_random_seed(7)
    keras.config.set_dtype_policy(policy)
    try:
        model = get_model(name, (side, side, side, 1), **keywords)
    finally:
        keras.config.set_dtype_policy("float32")
    model.compile(keras.optimizers.Adam(RATE), loss=mk.MCCLoss(), metrics=[overlap.DiceScore()])
    labels, _ = batch(side, 1)
    image = labels + np.random.default_rng(7).normal(size=labels.shape).astype("float32")
    before = [in_numpy(weight) for weight in model.trainable_variables]
    start = time.perf_counter()
    first = model.train_on_batch(image, labels)[0]
    compiled = time.perf_counter() - start
    step = seconds(lambda: model.train_on_batch(image, labels))
    last = float(model.train_on_batch(image, labels)[0])
    after = [in_numpy(weight).astype("float32") for weight in model.variables]
    finite = np.isfinite([first, last]).all() and all(np.isfinite(weight).all() for weight in after)
    moved = any((in_numpy(new) != old).any() for new, old in zip(model.trainable_variables, before, strict=True))
    text = f"loss {float(first):.4f} to {last:.4f}, {1e3 * step:.1f} ms a step, compiled in {compiled:.0f} s"
    text += f", jit_compile={model.jit_compile}"
    report(f"{name}, {policy}, 2 x {side}³", bool(finite and moved), text)


def check_network_gradient(name, side, **keywords):
    keras.utils.set_random_seed(7)
    model, loss = get_model(name, (side, side, side, 1), **keywords), mk.MCCLoss()
    labels, _ = batch(side, 1)
    image = labels + np.random.default_rng(7).normal(size=labels.shape).astype("float32")
    weights = [[in_numpy(x) for x in group] for group in (model.trainable_variables, model.non_trainable_variables)]

    def total(trainable, fixed, image, labels):
        return loss(labels, model.stateless_call(trainable, fixed, image, training=False)[0])

    with jax.default_matmul_precision("highest"):
        value, gradient = jax.jit(jax.value_and_grad(total))(*weights, image, labels)
        quick = {"xla_backend_optimization_level": 0}
        on_cpu = jax.jit(jax.value_and_grad(total), compiler_options=quick)
        expected, slopes = on_cpu(*jax.device_put((*weights, image, labels), CPU))
    off = max(difference(a, b) for a, b in zip(gradient, slopes, strict=True))
    text = f"loss {float(value):.6f}, on the CPU {float(expected):.6f}; gradient off by {off:.0e}"
    report(
        f"thin {name}, gradient, 2 x {side}³", off < NETWORK and abs(float(value) / float(expected) - 1) < VALUE, text
    )


def torch_seconds(labels, p):
    """Return the median seconds of torch's own Dice loss, forward and backward, or None without torch on the GPU."""
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    y, p = (torch.tensor(x, device="cuda") for x in (labels, p))
    p.requires_grad_()

    def step():
        above = 2 * (y * p).sum((1, 2, 3, 4)) + 1
        (gradient,) = torch.autograd.grad((1 - above / ((y + p).sum((1, 2, 3, 4)) + 1)).mean(), p)
        torch.cuda.synchronize()
        return gradient.shape[0]

    return seconds(step)


def time_losses(side):
    labels, p = batch(side, 1)
    peer = torch_seconds(labels, p)
    y, p = jax.device_put(labels), jax.device_put(p)
    for name in LOSSES:
        ours = seconds(jax.jit(jax.value_and_grad(get_loss(name), argnums=1)), y, p)
        ratio = "no torch on a GPU" if peer is None else f"{ours / peer:.2f} of torch's Dice, {1e6 * peer:.0f} µs"
        report(f"{name}, time, 2 x {side}³", True, f"{1e6 * ours:.0f} µs forward and backward, {ratio}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true", help="tiny volumes and thin networks, for any processor")
    small = parser.parse_args().small
    start = time.perf_counter()
    device = jax.devices()[0]
    print(f"device     {device.device_kind} ({device.platform}), processor {find_processor()[0]}")
    print(f"versions   keras {keras.__version__} on jax {jax.__version__}, numpy {np.__version__}; no TensorFlow here")
    check_losses(8 if small else 64)
    check_refusals(8)
    check_metrics(8 if small else 64)
    check_large_counts(16 if small else 257)
    time_losses(8 if small else 96)
    for policy in POLICIES:
        for name in MODELS:
            check_step(name, policy, 16 if small else 64, **(THIN[name] if small else {}))
    for name in MODELS:
        check_network_gradient(name, 16, **THIN[name])
    print(f"{len(failures)} failures in {time.perf_counter() - start:.0f} s: {', '.join(failures)}")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
