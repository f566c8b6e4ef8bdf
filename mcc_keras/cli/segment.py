"""`mcc-keras segment`."""

import os
import sys

import mcc_keras as mk
from mcc_keras.cli.converters import shard
from mcc_keras.cli.language import translate
from mcc_keras.cli.options import (
    add_flips,
    add_largest_component,
    add_overwrite,
    add_reading,
    add_window_size,
    add_workers,
)
from mcc_keras.cli.remote import DEFAULTS, add_server, split_options

SUMMARY = "segment a scan, or many, with a run or a model server"
LOCAL_MANY = {"bids_names": False, "workers": None}
# What a server does not do.
LOCAL = {**LOCAL_MANY, "flips": None, "window_size": None, "probability": False, "segment_codes": None}
MANY = {**LOCAL_MANY, "shard": None, "in_flight": DEFAULTS["in_flight"]}


def add_arguments(parser):
    add_server(parser)
    parser.add_argument(
        "images",
        metavar="SCAN",
        nargs="+",
        help="for one mask: one file, one file per channel in the stored order, a case folder, or a folder of DICOM"
        " files; for a folder of masks: files, folders of DICOM files, data sets as for `check`, .txt files of paths",
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="OUT",
        help="mask to write: .nii.gz, .nii, .nrrd, .mha, .mhd, or .dcm (DICOM SEG) of a DICOM series; or a folder for"
        " the masks of many scans",
    )
    add_reading(parser)
    add_flips(parser)
    add_window_size(parser)
    add_largest_component(parser)
    parser.add_argument(
        "--probability", action="store_true", help="also write the probabilities: NIfTI of uint16, class axis last"
    )
    parser.add_argument(
        "--segment-codes",
        metavar="JSON",
        help="codes of the segments of a .dcm mask: label or name to category and type (see README)",
    )
    many = parser.add_argument_group("many scans")
    many.add_argument(
        "--bids", dest="bids_names", action="store_true", help="write a BIDS derivative, with its names and description"
    )
    many.add_argument(
        "--shard", type=shard, metavar="K/N", help="take every N-th scan from the K-th on, as 2/8, to share the work"
    )
    add_workers(many, "number of processes that each load the network (1)")
    add_overwrite(parser)
    parser.set_defaults(in_options=lambda text: translate(text, parser))


def run(run, server, images, output, in_options, **options):
    remote = split_options(options, server=server, local=LOCAL)
    options |= remote if server else {}
    if not _is_folder(output):
        given = [name for name, default in MANY.items() if options.pop(name, default) != default]
        if given:
            names = " and ".join(f"`{name}`" for name in given)
            raise mk.errors.UsageError(
                f"Many scans, with a folder as output, take {names}. Received: output={output!r}."
            )
        segment = mk.segment_remote if server else mk.segment
        print(segment(server or run, images, output, **options))
        return 0
    if options.pop("segment_codes", None):
        raise mk.errors.UsageError(f"`segment_codes` are written to a .dcm mask only. Received: output={output!r}.")

    def report(problem):
        from tqdm import tqdm

        tqdm.write(in_options(str(problem)), file=sys.stderr)  # above the bar

    segment = mk.segment_many_remote if server else mk.segment_many
    done = segment(server or run, images, output, report=report, progress=True, **options)
    print(in_options(str(done)))
    return done.exit_code


def _is_folder(output):
    """Return whether an output is a folder: it is one, ends in /, or has no suffix."""
    return os.path.isdir(output) or output.endswith(os.sep) or not os.path.splitext(output)[1]
