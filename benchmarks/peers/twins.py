"""The networks in plain PyTorch, written from their papers' layer tables: what ours are measured against.

Every layer is called as in the Keras network, so that weights are copied by name. ReLUs work in place and skips are
concatenated once, as a careful PyTorch user would have it: the stronger peer.
"""

import torch
from torch import nn
from torch.nn import functional


class SameConv(nn.Conv3d):
    """A convolution with TensorFlow's SAME padding: where it is odd, the odd voxel is at the far end."""

    def __init__(self, inputs, outputs, kernel=3, stride=1, *, bias=False):
        super().__init__(inputs, outputs, kernel, stride, padding=kernel // 2 if stride == 1 else 0, bias=bias)
        total = kernel - stride
        self.sides = (total // 2, total - total // 2) * 3 if stride > 1 and total else None

    def forward(self, x):
        return super().forward(functional.pad(x, self.sides) if self.sides else x)


class Twin(nn.Module):
    """Layers by name, and the two chains of them that every network is made of."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleDict()

    def add_norm(self, name, channels):
        self.layers[f"{name}_norm"] = nn.BatchNorm3d(channels, eps=1e-5, momentum=0.1)

    def add_conv(self, name, *shape, bias=False):
        self.layers[name] = SameConv(*shape, bias=bias)

    def add_conv_norm(self, name, *shape, bias=False):
        self.add_conv(name, *shape, bias=bias)
        self.add_norm(name, shape[1])

    def norm_relu(self, x, name):
        return functional.relu_(self.layers[f"{name}_norm"](x))

    def conv_norm_relu(self, x, name):
        return self.norm_relu(self.layers[name](x), name)


def upsampled(x, factor):
    return functional.interpolate(x, scale_factor=factor, mode="trilinear", align_corners=False)


class DenseVNet(Twin):
    DEPTHS, GROWTHS, SKIPS = (5, 10, 10), (4, 8, 16), (12, 24, 24)

    def __init__(self):
        super().__init__()
        self.add_norm("input", 1)
        self.add_conv_norm("initial", 1, 24, 5, 2)
        width = 25
        for level, (depth, growth, skip) in enumerate(zip(self.DEPTHS, self.GROWTHS, self.SKIPS, strict=True), 1):
            if level > 1:
                self.add_conv_norm(f"down{level - 1}", width, 24, 3, 2)
                width = 24
            for layer in range(1, depth + 1):
                self.add_conv_norm(f"block{level}_layer{layer}", width, growth)
                width += growth
            self.add_conv_norm(f"skip{level}", width, skip)
        self.add_conv("final", 61, 1, bias=True)

    def forward(self, x):
        # With ceil_mode the last window averages the voxels that exist, as TensorFlow's SAME pooling does.
        pooled = self.layers["input_norm"](functional.avg_pool3d(x, 3, 2, ceil_mode=True))
        x = self.layers["initial_norm"](self.layers["initial"](x))
        x = torch.cat([x, pooled], 1)
        branches = []
        for level, depth in enumerate(self.DEPTHS, 1):
            if level > 1:
                x = self.conv_norm_relu(x, f"down{level - 1}")
            for layer in range(1, depth + 1):
                x = torch.cat([x, self.conv_norm_relu(x, f"block{level}_layer{layer}")], 1)
            skip = self.conv_norm_relu(x, f"skip{level}")
            branches.append(upsampled(skip, 2 ** (level - 1)) if level > 1 else skip)
        return upsampled(self.layers["final"](torch.cat([*branches, pooled], 1)), 2)


class VNet(Twin):
    WIDTHS, LEFT, RIGHT = (16, 32, 64, 128, 256), (1, 2, 3, 3, 3), (1, 2, 3, 3)

    def __init__(self):
        super().__init__()
        for level, (width, depth) in enumerate(zip(self.WIDTHS, self.LEFT, strict=True), 1):
            if level > 1:
                self.add_conv(f"down{level - 1}", width // 2, width, 2, 2, bias=True)
                self.layers[f"down{level - 1}_prelu"] = nn.PReLU(width)
            self.add_stage(f"left{level}", depth, 1 if level == 1 else width, width)
        below = self.WIDTHS[-1]
        for level in (4, 3, 2, 1):
            width = self.WIDTHS[level - 1]
            self.layers[f"up{level}"] = nn.ConvTranspose3d(below, width, 2, 2)
            self.layers[f"up{level}_prelu"] = nn.PReLU(width)
            below = 2 * width
            self.add_stage(f"right{level}", self.RIGHT[level - 1], below, below)
        self.layers["final"] = nn.Conv3d(below, 1, 1)

    def add_stage(self, name, depth, inputs, width):
        for layer in range(1, depth + 1):
            self.add_conv(f"{name}_layer{layer}", inputs if layer == 1 else width, width, 5, bias=True)
            self.layers[f"{name}_layer{layer}_prelu"] = nn.PReLU(width)

    def stage(self, x, name, depth):
        first = x
        for layer in range(1, depth + 1):
            x = self.layers[f"{name}_layer{layer}"](x)
            x = self.layers[f"{name}_layer{layer}_prelu"](x + first if layer == depth else x)
        return x

    def activated(self, x, name):
        return self.layers[f"{name}_prelu"](self.layers[name](x))

    def forward(self, x):
        lefts = []
        for level, depth in enumerate(self.LEFT, 1):
            x = self.stage(x if level == 1 else self.activated(x, f"down{level - 1}"), f"left{level}", depth)
            lefts.append(x)
        for level in (4, 3, 2, 1):
            x = torch.cat([self.activated(x, f"up{level}"), lefts[level - 1]], 1)
            x = self.stage(x, f"right{level}", self.RIGHT[level - 1])
        return self.layers["final"](x)


class VoxResNet(Twin):
    def __init__(self):
        super().__init__()
        self.add_conv_norm("conv1", 1, 32, bias=True)
        self.add_conv("conv2", 32, 32, bias=True)
        self.add_head(1, SameConv(32, 4, bias=True))
        for level in (1, 2, 3):
            width = 32 if level == 1 else 64
            self.add_norm(f"level{level}", width)
            self.layers[f"down{level}"] = SameConv(width, 64, 3, 2, bias=True)
            for layer in (f"level{level}_block{block}_layer{layer}" for block in (1, 2) for layer in (1, 2)):
                self.add_conv_norm(layer, 64, 64, bias=True)
            self.add_head(level + 1, nn.ConvTranspose3d(64, 4, 2**level, 2**level))

    def add_head(self, number, enlarge):
        self.layers[f"head{number}_up"] = enlarge
        self.layers[f"head{number}"] = nn.Conv3d(4, 1, 1)

    def head(self, x, number):
        return self.layers[f"head{number}"](self.layers[f"head{number}_up"](x))

    def forward(self, x):
        x = self.layers["conv2"](self.conv_norm_relu(x, "conv1"))
        total = self.head(x, 1)
        for level in (1, 2, 3):
            x = self.layers[f"down{level}"](self.norm_relu(x, f"level{level}"))
            for block in (f"level{level}_block1", f"level{level}_block2"):
                y = x
                for layer in (f"{block}_layer1", f"{block}_layer2"):
                    y = self.layers[layer](self.norm_relu(y, layer))
                x = x + y
            total = total + self.head(x, level + 1)
        return total


class UNet3D(Twin):
    WIDTHS = (64, 128, 256, 512)

    def __init__(self):
        super().__init__()
        inputs = 1
        for level, width in enumerate(self.WIDTHS, 1):
            self.add_conv_norm(f"left{level}_layer1", inputs, width // 2, bias=True)
            self.add_conv_norm(f"left{level}_layer2", width // 2, width, bias=True)
            inputs = width
        for level in (3, 2, 1):
            width = self.WIDTHS[level - 1]
            self.layers[f"up{level}"] = nn.ConvTranspose3d(inputs, inputs, 2, 2)
            self.add_conv_norm(f"right{level}_layer1", inputs + width, width, bias=True)
            self.add_conv_norm(f"right{level}_layer2", width, width, bias=True)
            inputs = width
        self.layers["final"] = nn.Conv3d(inputs, 1, 1)

    def pair(self, x, name):
        return self.conv_norm_relu(self.conv_norm_relu(x, f"{name}_layer1"), f"{name}_layer2")

    def forward(self, x):
        lefts = []
        for level in (1, 2, 3, 4):
            x = self.pair(x if level == 1 else functional.max_pool3d(x, 2), f"left{level}")
            lefts.append(x)
        for level in (3, 2, 1):
            x = self.pair(torch.cat([self.layers[f"up{level}"](x), lefts[level - 1]], 1), f"right{level}")
        return self.layers["final"](x)


TWINS = {"dense_vnet": DenseVNet, "vnet": VNet, "voxresnet": VoxResNet, "unet": UNet3D}
