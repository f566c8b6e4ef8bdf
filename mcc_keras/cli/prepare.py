"""`mcc-keras prepare`."""

import shlex

import mcc_keras as mk
from mcc_keras.cli.converters import list_of, or_word, shares_or_file
from mcc_keras.cli.options import (
    add_accept_loss,
    add_box,
    add_overwrite,
    add_source,
    add_take_over,
    add_workers,
    find_cases,
)  # fmt: skip

SUMMARY = "split a data set by patient, preprocess it, write records"
PREPROCESSING = (
    *("size", "spacing_mm", "window", "clip_percentiles", "normalize", "statistics", "ignore_background"),
    *("background_value", "crop_margin_mm"),
)


def add_arguments(parser):
    add_source(parser)
    parser.add_argument("work", metavar="WORK", help="folder for the records")
    box = parser.add_argument_group("the box that the network sees (at least one of size and spacing)")
    add_box(box)
    add_accept_loss(box)
    _add_intensities(parser.add_argument_group("its intensities"))
    parser.add_argument(
        "--split",
        type=shares_or_file,
        default=(0.7, 0.2, 0.1),
        metavar="A,B,C|FILE|WORK",
        help="shares of training, validation and test (0.7,0.2,0.1; 0 leaves a part empty), or the split of a file or a"
        " WORK folder",
    )
    parser.add_argument(
        "--stratify", metavar="COLUMN", help="balance the parts by a column of the table, or by 'foreground' (its size)"
    )
    parser.add_argument("--compression", choices=("gzip",), help="smaller records, slower to read (none)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split (%(default)s)")
    add_overwrite(parser)
    add_take_over(parser)
    add_workers(parser)
    parser.set_defaults(words=())


def _add_intensities(parser):
    parser.add_argument(
        "--window", type=list_of(float), metavar="LOW,HIGH", help="clip to this range, as in CT: --window=-160,240"
    )
    parser.add_argument(
        "--clip-percentiles",
        type=or_word("none", list_of(float)),
        default=(1.0, 99.0),
        metavar="LOW,HIGH",
        help="without a window, clip at these percentiles; or none (1,99)",
    )
    parser.add_argument("--normalize", choices=("zscore", "minmax", "none"), default="zscore", help="(%(default)s)")
    parser.add_argument(
        "--statistics", choices=("volume", "dataset"), default="volume", help="of each scan, or of all training scans"
    )
    parser.add_argument(
        "--ignore-background", action="store_true", help="leave background voxels out of the statistics"
    )
    parser.add_argument(
        "--background-value", type=float, metavar="V", help="intensity of the background (that of the scan's corners)"
    )


def run(source, work, words, **options):
    preprocessing = mk.Preprocessing(**{name: options.pop(name) for name in PREPROCESSING})
    cases = find_cases(source, options)
    command = command_that_made(words, work)
    manifest = mk.write_tfrecords(cases, work, preprocessing=preprocessing, command=command, progress=True, **options)
    counts = ", ".join(f"{count} {part}" for part, count in manifest.counts.items())
    reused = sum(manifest.counts.values()) - manifest.prepared
    news = f"{manifest.prepared} prepared, {reused} reused"
    print(f"{work}: {counts} ({news if manifest.prepared else 'nothing to prepare: same sources and settings'})")


def command_that_made(words, work):
    """Return the command without what changes no byte: the path of WORK, `--workers`, `--overwrite`, `--take-over`.

    Example:

    >>> command_that_made(["prepare", "scans", "/data/work", "--size", "48", "--workers", "4"], "/data/work")
    'mcc-keras prepare scans WORK --size 48'
    """
    kept, skip = [], False
    for word in words:
        workers = word.partition("=")[0] == "--workers"
        if not (skip or workers or word in ("--overwrite", "--take-over")):
            kept.append("WORK" if word == work else word)
        skip = workers and "=" not in word
    return shlex.join(["mcc-keras", *kept])
