"""MONAI's side of benchmarks/long/same_minutes.py: its tutorials' way from scans to masks, cut to given minutes.

    python benchmarks/peers/monai_training.py PLAN.json

CacheDataset with the deterministic transforms, random flips of all axes, affine, noise and contrast; U-Net with
residual units (or DynUNet), Dice + cross-entropy, AdamW at 1e-3 with a cosine over the minutes; the epoch with the best
validation Dice is kept, and predicts the mean of a scan and its mirror images of each axis. Masks are written on the
grids of the scans. The plan names the files, the box, the minutes and the seed; the last line that is printed is JSON.
"""

import copy
import json
import math
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai import transforms as mt
from monai.data import CacheDataset, DataLoader
from monai.losses import DiceCELoss
from monai.networks.nets import DynUNet, UNet
from monai.utils import set_determinism

RATE, BATCH, DEGREES = 1e-3, 2, 10
BOTH = ["image", "mask"]
VIEWS = ((), (2,), (3,), (4,))


def build_network(name):
    if name == "monai":
        return UNet(3, 1, 2, (16, 32, 64, 128), (2, 2, 2), num_res_units=2, norm="batch")
    return DynUNet(3, 1, 2, [3] * 4, [1, 2, 2, 2], [2] * 3, res_block=True)


def fixed_transforms(plan, keys):
    """What is done once to each case: as in MONAI's spleen tutorial, for any intensities."""
    mode = ["bilinear", "nearest"][: len(keys)]
    spacing = [mt.Spacingd(keys, pixdim=plan["spacing_mm"], mode=mode)] if plan["spacing_mm"] else []
    return mt.Compose(
        [
            mt.LoadImaged(keys),
            mt.EnsureChannelFirstd(keys),
            *(
                [mt.Lambdad("mask", lambda x: torch.isin(x, torch.tensor(plan["foreground"])).float())]
                * (len(keys) > 1)
            ),
            mt.Orientationd(keys, axcodes="RAS", labels=None),
            *spacing,
            mt.ScaleIntensityRangePercentilesd("image", 1, 99, 0, 1, clip=True),
            mt.NormalizeIntensityd("image"),
            mt.ResizeWithPadOrCropd(keys, spatial_size=plan["size"]),
        ]
    )


def random_transforms():
    turn = (math.radians(DEGREES),) * 3
    affine = {"rotate_range": turn, "scale_range": (0.1,) * 3, "translate_range": (3,) * 3}
    return [
        *(mt.RandFlipd(BOTH, prob=0.5, spatial_axis=axis) for axis in range(3)),
        mt.RandAffined(BOTH, prob=0.5, **affine, mode=("bilinear", "nearest"), padding_mode="border"),
        mt.RandGaussianNoised("image", prob=0.2, std=0.1),
        mt.RandAdjustContrastd("image", prob=0.2, gamma=(0.7, 1.5)),
    ]


def files(cases, keys=BOTH):
    return [{key: case[key] for key in keys} for case in cases]


def dice(truth, found):
    total = truth.sum() + found.sum()
    return 1.0 if total == 0 else float(2 * (truth * found).sum() / total)


def probability(model, image):
    """Return the foreground's probability: the mean over the scan and its mirror images."""
    views = [torch.flip(model(torch.flip(image, axes)).softmax(1)[:, 1:], axes) for axes in VIEWS]
    return torch.stack(views).mean(0)


def validate(model, data):
    model.eval()
    with torch.inference_mode():
        scores = [dice(case["mask"], model(case["image"][None]).argmax(1)[0]) for case in data]
    model.train()
    return float(np.mean(scores))


def train(plan, model):
    """Train for the minutes; return the weights of the best epoch and what the training did."""
    fixed = fixed_transforms(plan, BOTH)
    data = CacheDataset(files(plan["train"]), mt.Compose([*fixed.transforms, *random_transforms()]), num_workers=0)
    known = list(CacheDataset(files(plan["validation"]), fixed, num_workers=0))
    loader = DataLoader(data, batch_size=BATCH, shuffle=True, num_workers=1, persistent_workers=True)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=1e-4)
    loss_of = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False)
    begun, seconds, steps, epoch, best = time.perf_counter(), 60 * plan["minutes"], 0, 0, (-1.0, 0, None)
    while time.perf_counter() - begun < seconds:
        epoch += 1
        for batch in loader:
            passed = time.perf_counter() - begun
            if passed >= seconds:
                break
            optimizer.param_groups[0]["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * passed / seconds))
            optimizer.zero_grad()
            loss_of(model(batch["image"].as_tensor()), batch["mask"].as_tensor()).backward()
            optimizer.step()
            steps += 1
        value = validate(model, known)
        print(f"epoch {epoch}: validation Dice {value:.4f}, {steps} steps", file=sys.stderr, flush=True)
        if value > best[0]:
            best = (value, epoch, copy.deepcopy(model.state_dict()))
    done = {"epochs": epoch, "steps": steps, "seconds": time.perf_counter() - begun, "best_epoch": best[1]}
    return best[2], done


def write_masks(plan, model):
    """Write the mask of every test case on the grid of its scan."""
    fixed = fixed_transforms(plan, ["image"])
    undo = mt.Invertd("probability", fixed, orig_keys="image", nearest_interp=False, to_tensor=True)
    model.eval()
    for case in plan["test"]:
        given = fixed(files([case], ["image"])[0])
        with torch.inference_mode():
            given["probability"] = copy.deepcopy(given["image"])
            given["probability"].set_(probability(model, given["image"][None].as_tensor())[0])
        scan = nib.load(case["image"])
        mask = (undo(given)["probability"][0].numpy() > 0.5).astype(np.uint8)
        if mask.shape != scan.shape[:3]:
            raise SystemExit(f"{case['id']}: expected a mask of {scan.shape[:3]}, found {mask.shape}")
        nib.save(nib.Nifti1Image(mask, scan.affine), Path(plan["masks"]) / f"{case['id']}.nii.gz")


def main(path):
    plan = json.loads(Path(path).read_text("utf-8"))
    set_determinism(plan["seed"])
    torch.set_num_threads(plan["threads"])
    model = build_network(plan["network"])
    weights, done = train(plan, model)
    model.load_state_dict(weights)
    write_masks(plan, model)
    parameters = sum(weight.numel() for weight in model.parameters())
    print(json.dumps({**done, "parameters": parameters}))


if __name__ == "__main__":
    main(sys.argv[1])
