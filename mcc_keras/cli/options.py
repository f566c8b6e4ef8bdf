"""Options that several commands share."""

import mcc_keras as mk
from mcc_keras.cli.converters import label, list_of

PRESETS = ("default", "light", "paper", "strong")  # those of mcc_keras.augmentation, which needs TensorFlow
CASES = ("foreground", "labels", "background", "channels", "affine")


def add_source(parser):
    """Add SOURCE and the options that choose its labels, channels and affine."""
    parser.add_argument("source", metavar="SOURCE", help="a folder, a dataset.json or a CSV file")
    target = parser.add_mutually_exclusive_group()
    target.add_argument(
        "--foreground", type=list_of(label), metavar="L,L", help="mask labels, or their names, merged into one class"
    )
    target.add_argument(
        "--labels", type=list_of(label), metavar="L,L", help="mask labels, or their names, one class each"
    )
    parser.add_argument(
        "--background", type=list_of(int), default=(0,), metavar="L,L", help="mask labels that are background (0)"
    )
    parser.add_argument("--channels", type=list_of(str), metavar="C,C", help="channels to use, in this order (all)")
    parser.add_argument(
        "--affine", choices=("sform", "qform"), help="which one to use where the two of a NIfTI file disagree"
    )


def find_cases(source, options):
    """Return the cases of SOURCE; the options that choose them are removed from `options`."""
    return mk.find_cases(source, **{name: options.pop(name) for name in CASES})


def add_images_and_output(parser):
    """Add the files of one scan and the mask to write."""
    parser.add_argument(
        "images",
        metavar="SCAN",
        nargs="+",
        help="one file; one file per channel in the stored order; a case folder; or a folder of DICOM files",
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="MASK", help="mask to write: .nii.gz, .nii, .nrrd, .mha or .mhd"
    )
    add_overwrite(parser)


def add_augment(parser):
    """Add the name of an augmentation preset."""
    parser.add_argument(
        "--augment",
        metavar="NAME",
        choices=PRESETS,
        default=True,
        help=f"random changes of the cases in each epoch: {', '.join(PRESETS[:-1])} or {PRESETS[-1]} (default)",
    )


def add_largest_component(parser):
    """Add the choice to clean the mask."""
    parser.add_argument(
        "--largest-component", action="store_true", help="keep only the largest connected component of each class"
    )


def add_overwrite(parser):
    """Add the permission to replace an earlier output."""
    parser.add_argument("--overwrite", action="store_true", help="replace the output of an earlier call")


def add_workers(parser):
    """Add the number of processes."""
    parser.add_argument("--workers", type=int, metavar="N", help="number of processes (all cores)")
