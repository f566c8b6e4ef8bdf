"""MONAI and TorchIO for benchmarks/augmentation.py: the same lists of changes, as their documentation writes them."""

import time
import warnings

import numpy as np
import torch
from process import serve

warnings.filterwarnings("ignore")

DEGREES, RADIANS, SCALING = 10, np.pi / 18, 0.1
BOTH, IMAGE = ["image", "mask"], ["image"]
timed = {}


def monai_list(work):
    from monai import transforms as mt

    modes = {"mode": ("bilinear", "nearest"), "padding_mode": "border"}
    affine = {"rotate_range": (RADIANS,) * 3, "scale_range": (SCALING,) * 3, "translate_range": (6,) * 3}
    field = {"sigma_range": (5, 7), "magnitude_range": (50, 150)}
    if work == "affine":
        return mt.Compose([mt.RandAffined(BOTH, prob=1, **affine, **modes)])
    if work == "affine_elastic":
        return mt.Compose([mt.Rand3DElasticd(BOTH, prob=1, **field, **affine, **modes)])
    wide = {"rotate_range": (np.pi / 6,) * 3, "scale_range": (0.3,) * 3}
    return mt.Compose(
        [
            mt.RandAffined(BOTH, prob=0.36, **wide, **modes),  # either a rotation or a scaling: 1 - 0.8²
            mt.Rand3DElasticd(BOTH, prob=0.2, **field, **modes),
            *(mt.RandFlipd(BOTH, prob=0.5, spatial_axis=axis) for axis in range(3)),
            mt.RandGaussianNoised(IMAGE, prob=0.1, std=0.3),
            mt.RandGaussianSmoothd(IMAGE, prob=0.2, sigma_x=(0, 1), sigma_y=(0, 1), sigma_z=(0, 1)),
            mt.RandShiftIntensityd(IMAGE, prob=0.15, offsets=0.25),
            mt.RandScaleIntensityFixedMeand(IMAGE, prob=0.15, factors=0.25, preserve_range=False, fixed_mean=True),
            mt.RandSimulateLowResolutiond(IMAGE, prob=0.25, zoom_range=(0.5, 1)),
            mt.RandAdjustContrastd(IMAGE, prob=0.1, gamma=(0.67, 1.5), invert_image=True),
            mt.RandAdjustContrastd(IMAGE, prob=0.3, gamma=(0.67, 1.5)),
        ]
    )


def torchio_list(work):
    import torchio as tio

    affine = tio.RandomAffine(scales=SCALING, degrees=DEGREES, translation=6, default_pad_value="minimum")
    if work == "affine":
        return affine
    if work == "affine_elastic":
        return tio.Compose([affine, tio.RandomElasticDeformation(num_control_points=7, max_displacement=6)])
    intensity = {"types_to_apply": [tio.INTENSITY]}
    return tio.Compose(
        [
            tio.RandomAffine(scales=(0.7, 1.4), isotropic=True, degrees=30, default_pad_value="minimum", p=0.36),
            tio.RandomElasticDeformation(num_control_points=7, max_displacement=6, p=0.2),
            tio.RandomFlip(axes=(0, 1, 2), flip_probability=0.5),
            tio.RandomNoise(std=(0, 0.3), p=0.1),
            tio.RandomBlur(std=(0, 1), p=0.2),
            tio.Lambda(lambda x: x + np.random.uniform(-0.25, 0.25), p=0.15, **intensity),
            tio.Lambda(lambda x: (x - x.mean()) * np.random.uniform(0.75, 1.25) + x.mean(), p=0.15, **intensity),
            tio.RandomAnisotropy(axes=(0, 1, 2), downsampling=(1, 2), p=0.25),
            tio.Lambda(inverted_gamma, p=0.1, **intensity),
            tio.Lambda(gamma, p=0.3, **intensity),
        ]
    )


def gamma(x):
    low, span = x.min(), x.max() - x.min()
    return low + span * ((x - low) / span) ** float(np.exp(np.random.uniform(-0.4, 0.4)))


def inverted_gamma(x):
    return -gamma(-x)


def prepare(library, work, side):
    """Build the list and a volume of noise with its mask."""
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.normal(size=(1, side, side, side)).astype("float32"))
    mask = (image > 1).to(torch.uint8)
    if library == "monai":
        case = {"image": image, "mask": mask}
        changes = monai_list(work)
    else:
        import torchio as tio

        case = tio.Subject(image=tio.ScalarImage(tensor=image), mask=tio.LabelMap(tensor=mask))
        changes = torchio_list(work)
    timed[library] = lambda: changes(case)


def run(library, threads, volumes, seed):
    """Return the seconds a volume."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    np.random.seed(seed)
    if library == "torchio":
        import SimpleITK as sitk

        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    start = time.perf_counter()
    for _ in range(volumes):
        timed[library]()
    return (time.perf_counter() - start) / volumes


if __name__ == "__main__":
    serve(prepare, run)
