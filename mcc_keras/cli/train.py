"""`mcc-keras train`."""

import mcc_keras as mk
from mcc_keras.cli.options import add_augment

SUMMARY = "train Dense V-Net on records"


def add_arguments(parser):
    parser.add_argument("work", metavar="WORK", help="folder that `prepare` wrote")
    parser.add_argument("run", metavar="RUN", help="new folder for the run")
    parser.add_argument("--loss", choices=sorted(mk.losses.LOSSES), default="mcc", help="(%(default)s)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=int, help="passes over the training cases")
    length.add_argument("--minutes", type=float, help="length of the training, instead of --epochs")
    parser.add_argument("--batch-size", type=int, default=2, help="cases per step (%(default)s)")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="peak of the schedule (%(default)s)")
    parser.add_argument(
        "--precision",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
        default="float32",
        help="Keras' dtype policy (%(default)s)",
    )
    changes = parser.add_mutually_exclusive_group()
    add_augment(changes)
    changes.add_argument("--no-augment", dest="augment", action="store_false", help="train on the cases unchanged")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, order and augmentation (%(default)s)")


def run(work, run, **options):
    print(mk.train(work, run, **options).folder)
