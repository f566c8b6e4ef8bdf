"""Training step, inference and memory of the networks against plain PyTorch on a CPU.

    python benchmarks/networks.py              all lines, about half an hour on two cores
    python benchmarks/networks.py dense_vnet   the lines whose names start so

The torch twins are written from the same specification, and each is first given the Keras network's weights and must
give the same logits to 1e-4. A ratio is ours / the fastest of torch's eager and channels-last forms, each at one and
two threads, interleaved in one process, medians of ROUNDS. The last lines read `name ratio goal`.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import gc
import resource
import statistics
import subprocess
import sys
import time

import keras
import numpy as np
import tensorflow as tf
import torch
from torch import nn
from torch.nn import functional

from mcc_keras.models import DenseVNet, UNet3D, VNet, VoxResNet

ROUNDS = 5
GOALS = {
    "dense_vnet_step_64": 0.75,
    "dense_vnet_step_96": 0.75,
    "dense_vnet_memory_96": 1.2,
    "dense_vnet_step_64_bfloat16": 0.75,
    "dense_vnet_inference_96": 0.75,
    "vnet_step_64": 0.9,
    "voxresnet_step_64": 0.9,
    "unet_step_64": 0.9,
}


class SameConv(nn.Module):
    """Convolution with TensorFlow's SAME padding, which puts the odd voxel at the far end."""

    def __init__(self, inputs, outputs, kernel=3, stride=1, bias=False):
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, kernel, stride, padding=kernel // 2 if stride == 1 else 0, bias=bias)
        total = max(0, kernel - stride)
        self.pad = (total // 2, total - total // 2) * 3 if stride > 1 and total else None

    def forward(self, x):
        return self.conv(functional.pad(x, self.pad) if self.pad else x)


def norm(channels):
    return nn.BatchNorm3d(channels, eps=1e-5, momentum=0.1)


class ConvNormReLU(nn.Sequential):
    def __init__(self, inputs, outputs, **keywords):
        super().__init__(SameConv(inputs, outputs, **keywords), norm(outputs), nn.ReLU())


class TorchDenseVNet(nn.Module):
    def __init__(self, classes=1):
        super().__init__()
        self.initial, self.initial_norm, self.input_norm = SameConv(1, 24, 5, 2), norm(24), norm(1)
        self.blocks, self.downs, self.skips = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        width = 25
        for level, (depth, growth, skip) in enumerate(zip((5, 10, 10), (4, 8, 16), (12, 24, 24), strict=True)):
            if level:
                self.downs.append(ConvNormReLU(width, 24, stride=2))
                width = 24
            layers = [ConvNormReLU(width + layer * growth, growth) for layer in range(depth)]
            self.blocks.append(nn.ModuleList(layers))
            width += depth * growth
            self.skips.append(ConvNormReLU(width, skip))
        self.final = SameConv(61, classes, bias=True)

    def forward(self, x):
        # Averages over the voxels that exist, as TensorFlow's SAME pooling does.
        sums = functional.avg_pool3d(functional.pad(x, (0, 1) * 3), 3, 2)
        share = functional.avg_pool3d(functional.pad(torch.ones_like(x[:1, :1]), (0, 1) * 3), 3, 2)
        pooled = self.input_norm(sums / share)
        x = torch.cat([self.initial_norm(self.initial(x)), pooled], 1)
        branches = []
        for level, block in enumerate(self.blocks):
            x = self.downs[level - 1](x) if level else x
            for layer in block:
                x = torch.cat([x, layer(x)], 1)
            skip = self.skips[level](x)
            branches.append(upsampled(skip, 2**level) if level else skip)
        return upsampled(self.final(torch.cat([*branches, pooled], 1)), 2)


def upsampled(x, factor):
    return functional.interpolate(x, scale_factor=factor, mode="trilinear", align_corners=False)


class TorchVNet(nn.Module):
    def __init__(self, classes=1):
        super().__init__()
        widths = (16, 32, 64, 128, 256)
        self.downs, self.lefts, self.ups, self.rights = (nn.ModuleList() for _ in range(4))
        for level, depth in enumerate((1, 2, 3, 3, 3)):
            if level:
                down = SameConv(widths[level - 1], widths[level], 2, 2, bias=True)
                self.downs.append(nn.Sequential(down, nn.PReLU(widths[level])))
            self.lefts.append(self.stage(1 if not level else widths[level], widths[level], depth))
        width = 256
        for level, depth in zip((3, 2, 1, 0), (3, 3, 2, 1), strict=True):
            up = nn.ConvTranspose3d(width, widths[level], 2, 2)
            self.ups.append(nn.Sequential(up, nn.PReLU(widths[level])))
            width = 2 * widths[level]
            self.rights.append(self.stage(width, width, depth))
        self.final = nn.Conv3d(width, classes, 1)

    @staticmethod
    def stage(inputs, width, depth):
        convs = [SameConv(width if layer else inputs, width, 5, bias=True) for layer in range(depth)]
        return nn.ModuleList([*convs, *(nn.PReLU(width) for _ in range(depth))])

    @staticmethod
    def run(stage, x):
        depth, first = len(stage) // 2, x
        for layer in range(depth):
            x = stage[layer](x)
            x = stage[depth + layer](x + first.expand_as(x) if layer == depth - 1 else x)
        return x

    def forward(self, x):
        lefts = []
        for level, stage in enumerate(self.lefts):
            x = self.run(stage, self.downs[level - 1](x) if level else x)
            lefts.append(x)
        for up, stage, left in zip(self.ups, self.rights, lefts[-2::-1], strict=True):
            x = self.run(stage, torch.cat([up(x), left], 1))
        return self.final(x)


class TorchVoxResNet(nn.Module):
    def __init__(self, classes=1):
        super().__init__()
        self.conv1, self.norm1, self.conv2 = SameConv(1, 32, bias=True), norm(32), SameConv(32, 32, bias=True)
        self.norms = nn.ModuleList([norm(32), norm(64), norm(64)])
        self.downs = nn.ModuleList([SameConv(inputs, 64, 3, 2, bias=True) for inputs in (32, 64, 64)])
        self.blocks = nn.ModuleList([nn.ModuleList([self.block() for _ in range(2)]) for _ in range(3)])
        self.heads = nn.ModuleList([nn.Sequential(SameConv(32, 4, bias=True), nn.Conv3d(4, classes, 1))])
        for factor in (2, 4, 8):
            self.heads.append(nn.Sequential(nn.ConvTranspose3d(64, 4, factor, factor), nn.Conv3d(4, classes, 1)))

    @staticmethod
    def block():
        parts = [[norm(64), nn.ReLU(), SameConv(64, 64, bias=True)] for _ in range(2)]
        return nn.Sequential(*parts[0], *parts[1])

    def forward(self, x):
        x = self.conv2(functional.relu(self.norm1(self.conv1(x))))
        total = self.heads[0](x)
        for normalise, down, blocks, head in zip(self.norms, self.downs, self.blocks, self.heads[1:], strict=True):
            x = down(functional.relu(normalise(x)))
            for block in blocks:
                x = x + block(x)
            total = total + head(x)
        return total


class TorchUNet3D(nn.Module):
    def __init__(self, classes=1):
        super().__init__()
        self.lefts, self.ups, self.rights = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        width = 1
        for channels in (64, 128, 256, 512):
            self.lefts.append(self.pair(width, channels // 2, channels))
            width = channels
        for channels in (256, 128, 64):
            self.ups.append(nn.ConvTranspose3d(width, width, 2, 2))
            self.rights.append(self.pair(width + channels, channels, channels))
            width = channels
        self.final = nn.Conv3d(width, classes, 1)

    @staticmethod
    def pair(inputs, middle, outputs):
        return nn.Sequential(ConvNormReLU(inputs, middle, bias=True), ConvNormReLU(middle, outputs, bias=True))

    def forward(self, x):
        lefts = []
        for level, pair in enumerate(self.lefts):
            x = pair(functional.max_pool3d(x, 2) if level else x)
            lefts.append(x)
        for up, pair, left in zip(self.ups, self.rights, lefts[-2::-1], strict=True):
            x = pair(torch.cat([up(x), left], 1))
        return self.final(x)


NETWORKS = {
    "dense_vnet": (DenseVNet, TorchDenseVNet),
    "vnet": (VNet, TorchVNet),
    "voxresnet": (VoxResNet, TorchVoxResNet),
    "unet": (UNet3D, TorchUNet3D),
}

# Keras lists layers by their distance from the output; this is the order in which the twin runs, skips first.
DENSE_ORDER = "image pad input initial block1 skip1 down1 block2 skip2 down2 block3 skip3 final logits crop output"


def copy_weights(model, twin, image):
    """Give the twin the model's weights: layers are matched in the order in which they run."""
    order, hooks = [], []
    for module in twin.modules():
        if not list(module.children()):
            hooks.append(module.register_forward_hook(lambda module, *_: order.append(module)))
    with torch.no_grad():
        twin.eval()(image)
    for hook in hooks:
        hook.remove()
    kinds = {
        "conv": [module for module in order if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d))],
        "norm": [module for module in order if isinstance(module, nn.BatchNorm3d)],
        "prelu": [module for module in order if isinstance(module, nn.PReLU)],
    }
    layers = model.layers
    if model.name == "dense_vnet":
        layers = sorted(layers, key=lambda layer: DENSE_ORDER.split().index(layer.name.split("_")[0]))
    for layer in layers:
        for kind, source in parts(layer):
            load(kind, source, match(kinds[kind], source))
    assert not any(kinds.values()), "the twin has layers that the network has not"


def match(candidates, source):
    """Take the first layer of this shape: both run in the same order, but branches may be swapped."""
    shape = source["shape"]
    for index, module in enumerate(candidates):
        if tuple(module.weight.shape) == shape:
            return candidates.pop(index)
    raise AssertionError(f"no layer of the twin has weights of shape {shape}")


def parts(layer):
    """The convolutions, normalisations and slopes of a Keras layer, as (kind, arrays in torch's order)."""
    if hasattr(layer, "kernels"):
        for kernel, normalisation in zip(layer.kernels, layer.norms, strict=True):
            weight = np.transpose(np.asarray(kernel), (4, 3, 0, 1, 2))
            yield "conv", {"shape": weight.shape, "weight": weight, "bias": None}
            yield from parts(normalisation)
    elif hasattr(layer, "kernel"):
        weight = np.transpose(np.asarray(layer.kernel), (4, 3, 0, 1, 2))
        bias = getattr(layer, "bias", None)
        yield "conv", {"shape": weight.shape, "weight": weight, "bias": None if bias is None else np.asarray(bias)}
    elif hasattr(layer, "gamma"):
        gamma, beta, mean, variance = (np.asarray(weight) for weight in layer.weights)
        named = {"weight": gamma, "bias": beta, "running_mean": mean, "running_var": variance}
        yield "norm", {"shape": gamma.shape, **named}
    elif isinstance(layer, keras.layers.PReLU):
        slopes = np.asarray(layer.alpha).reshape(-1)
        yield "prelu", {"shape": slopes.shape, "weight": slopes}


def load(kind, source, module):
    with torch.no_grad():
        for name, value in source.items():
            if name != "shape" and value is not None:
                getattr(module, name).copy_(torch.from_numpy(np.array(value)))


def data(side, batch):
    image = np.random.default_rng(0).normal(size=(batch, *[side] * 3, 1)).astype("float32")
    return image, (image > 1).astype("float32")


def make_pair(name, side, policy="float32"):
    """Both networks with the same weights, checked to agree on a small volume."""
    build, twin_class = NETWORKS[name]
    small, twin = build((None, None, None, 1), 1, activation=None), twin_class()
    image = np.random.default_rng(1).normal(size=(1, 32, 32, 32, 1)).astype("float32")
    twin_image = torch.from_numpy(image.transpose(0, 4, 1, 2, 3).copy())
    copy_weights(small, twin, twin_image)
    count = sum(parameter.numel() for parameter in twin.parameters())
    assert count == sum(int(np.prod(weight.shape)) for weight in small.trainable_weights)
    with torch.no_grad():
        theirs = twin.eval()(twin_image).numpy().transpose(0, 2, 3, 4, 1)
    ours = np.asarray(small(image, training=False))
    difference = np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max())
    assert difference < 1e-4, f"{name}: the twin differs by {difference:.1e}"
    keras.config.set_dtype_policy(policy)
    model = build((side,) * 3 + (1,), 1, activation=None)
    keras.config.set_dtype_policy("float32")
    model.set_weights(small.get_weights())
    return model, twin


def keras_step(model, image, mask):
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(model.trainable_variables)
    image, mask = tf.constant(image), tf.constant(mask)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            logits = model(image, training=True)
            loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(mask, logits))
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    return lambda: step().numpy()


def torch_step(twin, image, mask, *, channels_last=False, half=False):
    form = torch.channels_last_3d if channels_last else torch.contiguous_format
    image, mask = (
        torch.from_numpy(array.transpose(0, 4, 1, 2, 3).copy()).to(memory_format=form) for array in (image, mask)
    )
    twin.train().to(memory_format=form)
    optimizer = torch.optim.Adam(twin.parameters(), 1e-3)

    def step():
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = twin(image)
        functional.binary_cross_entropy_with_logits(logits.float(), mask).backward()
        optimizer.step()

    return step


def torch_forms(name, side, make):
    """The forms of the peer, each as a function that sets its number of threads first."""
    forms = {}
    for label, call in make.items():
        for threads in (1, 2):

            def timed(call=call, threads=threads):
                torch.set_num_threads(threads)
                call()

            forms[f"torch {label} {threads}t"] = timed
    return forms


def ratio(ours, peers, rounds=ROUNDS):
    """Interleave everything; ours / the fastest peer, by medians."""
    calls, times = {"ours": ours, **peers}, {}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for label, call in calls.items():
            start = time.perf_counter()
            call()
            times.setdefault(label, []).append(time.perf_counter() - start)
    medians = {label: statistics.median(values) for label, values in times.items()}
    print("   ", "  ".join(f"{label} {1e3 * value:.0f} ms" for label, value in medians.items()), flush=True)
    return medians.pop("ours") / min(medians.values())


def step_ratio(name, side, batch):
    import copy

    model, twin = make_pair(name, side)
    image, mask = data(side, batch)
    last = copy.deepcopy(twin)
    make = {"eager": torch_step(twin, image, mask), "last": torch_step(last, image, mask, channels_last=True)}
    return ratio(keras_step(model, image, mask), torch_forms(name, side, make))


def bfloat16_ratio(side=64, batch=2):
    import copy

    with open("/proc/cpuinfo") as lines:
        if "bf16" not in lines.read():
            return None
    model, twin = make_pair("dense_vnet", side, "mixed_bfloat16")
    image, mask = data(side, batch)
    make = {
        f"{'last' if last else 'eager'}{' bf16' if half else ''}": torch_step(
            copy.deepcopy(twin), image, mask, channels_last=last, half=half
        )
        for last in (False, True)
        for half in (False, True)
    }
    return ratio(keras_step(model, image, mask), torch_forms("dense_vnet", side, make))


def inference_ratio(side=96):
    import copy

    model, twin = make_pair("dense_vnet", side)
    image, _ = data(side, 1)
    predict = tf.function(lambda: model(tf.constant(image), training=False))
    make = {}
    for label, form in (("eager", torch.contiguous_format), ("last", torch.channels_last_3d)):
        network = copy.deepcopy(twin).eval().to(memory_format=form)
        volume = torch.from_numpy(image.transpose(0, 4, 1, 2, 3).copy()).to(memory_format=form)

        def infer(network=network, volume=volume):
            with torch.inference_mode():
                network(volume)

        make[label] = infer
    return ratio(lambda: predict().numpy(), torch_forms("dense_vnet", side, make))


def memory_of(form, side=96, batch=2):
    """Peak resident memory that two steps add, in a process of their own."""
    image, mask = data(side, batch)
    if form == "ours":
        step = keras_step(DenseVNet((side,) * 3 + (1,), 1, activation=None), image, mask)
    else:
        step = torch_step(TorchDenseVNet(), image, mask, channels_last=form == "last")
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2):
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


def memory_ratio():
    grown = {}
    for form in ("ours", "eager", "last"):
        run = subprocess.run([sys.executable, __file__, "--memory", form], capture_output=True, text=True, check=True)
        grown[form] = int(run.stdout.split()[-1])
    print("   ", "  ".join(f"{form} {kilobytes / 2**20:.2f} GiB" for form, kilobytes in grown.items()), flush=True)
    return grown.pop("ours") / min(grown.values())


CLAIMS = {
    "dense_vnet_step_64": lambda: step_ratio("dense_vnet", 64, 2),
    "dense_vnet_step_96": lambda: step_ratio("dense_vnet", 96, 2),
    "dense_vnet_memory_96": memory_ratio,
    "dense_vnet_step_64_bfloat16": bfloat16_ratio,
    "dense_vnet_inference_96": inference_ratio,
    "vnet_step_64": lambda: step_ratio("vnet", 64, 1),
    "voxresnet_step_64": lambda: step_ratio("voxresnet", 64, 1),
    "unet_step_64": lambda: step_ratio("unet", 64, 1),
}


def main(prefix=""):
    results = {}
    for name, claim in CLAIMS.items():
        if name.startswith(prefix):
            print(name, flush=True)
            results[name] = claim()
            gc.collect()
    for name, value in results.items():
        print(name, "no bfloat16 instructions on this CPU" if value is None else f"{value:.2f}", GOALS[name])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--memory"]:
        print(memory_of(sys.argv[2]))
    else:
        main(*sys.argv[1:2])
