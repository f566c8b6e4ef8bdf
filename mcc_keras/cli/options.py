"""Options that several commands share."""

import dataclasses
from pathlib import Path

import mcc_keras as mk
from mcc_keras.cli.converters import label, list_of, named_labels, one_or_three, or_word, swapped_pair

CASES = (
    *("foreground", "labels", "background", "channels", "image", "mask", "derivative"),
    *("affine", "nonfinite"),
)


def add_source(parser):
    """Add SOURCE and the options that choose its labels, channels and affine."""
    parser.add_argument("source", metavar="SOURCE", help="a folder, a dataset.json or a table (.csv, .tsv)")
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
        "--image",
        type=list_of(str),
        metavar="P,P",
        help="pattern of the images in a folder of another layout, one for each channel: '*/FLAIR*,*/T1*'",
    )
    parser.add_argument(
        "--mask", metavar="P", help="pattern of the masks, whose wildcards match as in --image: '*/GOLD*'"
    )
    parser.add_argument("--derivative", metavar="NAME", help="for BIDS, the folder in derivatives that holds the masks")
    add_affine(parser)
    parser.add_argument(
        "--nonfinite",
        choices=("error", "zero"),
        default="error",
        help="refuse NaN and infinite voxels of images, or read them as 0 (%(default)s)",
    )


def add_affine(parser):
    """Add the choice between the two affines of a NIfTI file."""
    parser.add_argument(
        "--affine", choices=("sform", "qform"), help="which one to use where the two of a NIfTI file disagree"
    )


def add_box(parser):
    """Add the size and the spacing of the box that the network sees."""
    parser.add_argument(
        "--size",
        type=or_word("native", one_or_three(int)),
        metavar="N[,N,N]|native",
        help="voxels: 48 or 96,96,32; or native: each case keeps its own, for a training on patches",
    )
    parser.add_argument(
        "--spacing",
        dest="spacing_mm",
        type=or_word("median", one_or_three(float)),
        metavar="MM[,MM,MM]",
        help="voxel size in mm: 1 or 0.8,0.8,2.5; or median, that of the training scans",
    )
    parser.add_argument(
        "--crop-margin-mm", type=float, metavar="MM", help="crop to the voxels above the background, with this margin"
    )


def add_accept_loss(parser):
    """Add the permission to lose a class in the box."""
    parser.add_argument(
        "--accept-loss",
        action="store_true",
        help="go on where the box loses a class: its best mean Dice is below 0.5",
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
        "-o",
        "--output",
        required=True,
        metavar="MASK",
        help="mask to write: .nii.gz, .nii, .nrrd, .mha, .mhd, or .dcm (DICOM SEG) of a DICOM series",
    )
    add_overwrite(parser)


def add_augment(parser, default=True):
    """Add the name of an augmentation preset, or the file of a policy."""
    parser.add_argument(
        "--augment",
        metavar="NAME|FILE",
        default=default,
        help="random changes of the cases in each epoch: default, light, paper or strong (default); or a policy.json",
    )


def add_sides(parser):
    """Add the choices for classes that are sides of each other."""
    parser.add_argument(
        "--swap-labels",
        type=list_of(swapped_pair),
        metavar="L:L,…",
        help="labels or names to swap where right and left are flipped, as 1:2",
    )
    parser.add_argument("--no-flip", action="store_true", help="do not flip right and left")


def adapt_to_sides(augment, *, swap_labels=None, no_flip=False):
    """Return an augmentation with the options on sides, as an `Augmentation`, or False for none.

    Example:

    >>> adapt_to_sides("light", swap_labels=((1, 2),), no_flip=True).swap_labels
    ((1, 2),)
    """
    policy = mk.Recipe(augment=augment).augment
    if policy is None:
        return False
    flip = (False, *policy.flip[1:]) if no_flip else policy.flip
    return dataclasses.replace(policy, flip=flip, swap_labels=swap_labels or policy.swap_labels)


def read_value(kind, path):
    """Return the value of class `kind` that a JSON file holds."""
    try:
        return kind.from_json(Path(path).read_bytes(), path=path)
    except OSError as error:
        raise mk.errors.DataError(path, f"expected a JSON file, found: {error.strerror}") from None


def read_policy(options):
    """Replace the file of a policy in `options` by its `Augmentation`."""
    if str(options.get("augment")).endswith(".json"):
        options["augment"] = read_value(mk.Augmentation, options["augment"])


def add_flips(parser):
    """Add the axes to flip."""
    parser.add_argument(
        "--flips",
        metavar="AXES",
        help="average the predictions of the scan and of its flips along some of x (left-right), y, z, as x,y; or none"
        " (as the run has it)",
    )


def add_window_size(parser):
    """Add the size of the windows."""
    parser.add_argument(
        "--window-size",
        type=one_or_three(int),
        metavar="N[,N,N]",
        help="segment in windows of 64 or 96,96,32 voxels, which changes the memory (as the run has it)",
    )


def add_largest_component(parser):
    """Add the choice to clean the mask."""
    parser.add_argument(
        "--largest-component", action="store_true", help="keep only the largest connected component of each class"
    )


def add_measures(parser):
    """Add what the measures of an evaluation depend on."""
    parser.add_argument(
        "--tolerance-mm",
        type=float,
        default=2.0,
        metavar="MM",
        help="distance up to which surfaces count as equal in the surface Dice (%(default)s)",
    )
    parser.add_argument(
        "--smallest-lesion-mm3",
        type=float,
        default=0.0,
        metavar="MM3",
        help="smaller connected components are not counted as lesions (%(default)s)",
    )
    parser.add_argument(
        "--regions",
        type=named_labels,
        metavar="NAME=L+L,…",
        help="merged labels that are scored beside the classes, such as whole=1+2+4",
    )
    parser.add_argument("--by", metavar="COLUMN", help="column of the table whose values get means of their own")


def add_reading(parser, nonfinite=None):
    """Add the choices of reading; without defaults they are those of the training."""
    parser.add_argument("--affine", choices=("sform", "qform"), help="NIfTI affine to use (that of the training)")
    parser.add_argument(
        "--nonfinite",
        choices=("error", "zero"),
        default=nonfinite,
        help=f"refuse NaN and infinite voxels, or read them as 0 ({nonfinite or 'as in training'})",
    )


def add_overwrite(parser):
    """Add the permission to replace an earlier output."""
    parser.add_argument("--overwrite", action="store_true", help="replace the output of an earlier call")


def add_take_over(parser):
    """Add the permission to end another process' ownership where the system has no locks."""
    parser.add_argument(
        "--take-over",
        action="store_true",
        help="on a file system without locks, go on although another process seems to write there",
    )


def add_workers(parser, text="number of processes (all cores)"):
    """Add the number of processes."""
    parser.add_argument("--workers", type=int, metavar="N", help=text)
