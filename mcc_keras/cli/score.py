"""`mcc-keras score`."""

import mcc_keras as mk
from mcc_keras.cli.converters import list_of, named_labels
from mcc_keras.cli.options import add_affine, add_measures, add_overwrite, add_workers

SUMMARY = "compare two folders of masks, case by case, without a run"


def add_arguments(parser):
    parser.add_argument("truth", metavar="TRUTH", help="true masks: a folder, a file, a data set, or a table of pairs")
    parser.add_argument("prediction", metavar="PREDICTION", nargs="?", help="predicted masks: a folder or a file")
    parser.add_argument("-o", "--output", metavar="DIR", help="where to write scores.csv, summary.json and report.html")
    parser.add_argument(
        "--labels",
        type=named_labels,
        metavar="L,L",
        help="labels to score, by number, by a name that the data set declares, or as NAME=L+L (all of the truth)",
    )
    parser.add_argument(
        "--background", type=list_of(int), default=(0,), metavar="L,L", help="labels that are background (0)"
    )
    parser.add_argument("--images", metavar="DIR", help="scans to draw under the outlines")
    add_affine(parser)
    parser.add_argument(
        "--missing",
        choices=("empty", "error"),
        default="empty",
        help="count a case without prediction as an empty mask, or refuse it (%(default)s)",
    )
    add_measures(parser)
    add_workers(parser)
    add_overwrite(parser)


def run(truth, prediction, output, **options):
    print(mk.score(truth, prediction, output, **options))
