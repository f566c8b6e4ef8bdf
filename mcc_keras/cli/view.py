"""`mcc-keras view`."""

import mcc_keras as mk
from mcc_keras.cli.converters import named_labels
from mcc_keras.cli.options import add_affine, add_overwrite

SUMMARY = "look at a scan with its masks in the browser"


def add_arguments(parser):
    parser.add_argument("scan", metavar="SCAN", help="a file, or a folder of the DICOM files of one series")
    parser.add_argument("masks", metavar="MASK", nargs="*", default=(), help="masks on the grid of the scan")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="write the page to a file instead: .html, at most 20 MB with the voxels"
    )
    parser.add_argument(
        "--names", type=named_labels, metavar="NAME=L+L,…", help="names of labels, such as liver=1,tumor=2+3"
    )
    add_affine(parser)
    parser.add_argument(
        "--nonfinite",
        choices=("error", "zero"),
        default="error",
        help="refuse NaN and infinite voxels of the scan, or read them as 0 (%(default)s)",
    )
    parser.add_argument("--port", type=int, default=0, metavar="N", help="port on 127.0.0.1 (a free one)")
    parser.add_argument("--no-browser", dest="browser", action="store_false", help="only print the address")
    add_overwrite(parser)


def run(scan, masks, output, **options):
    path = mk.view(scan, masks, output, **options)
    if path is not None:
        print(path)
