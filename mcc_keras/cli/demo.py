"""`mcc-keras demo`."""

import mcc_keras as mk
from mcc_keras.cli.options import add_overwrite

SUMMARY = "everything below on synthetic volumes, in minutes on a laptop"


def add_arguments(parser):
    parser.add_argument("folder", metavar="DIR", help="new folder for everything that the demo writes")
    parser.add_argument("--seed", type=int, default=7, help="seed of data, split and training (%(default)s)")
    add_overwrite(parser)


def run(folder, **options):
    print(mk.run_demo(folder, progress=lambda text: print(text, flush=True), **options))
