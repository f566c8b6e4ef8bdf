"""`mcc-keras train`."""

import dataclasses
from argparse import SUPPRESS

import mcc_keras as mk
from mcc_keras.cli.converters import list_of, swapped_pair
from mcc_keras.cli.options import add_augment, read_policy, read_value

SUMMARY = "train a network on records"


def add_arguments(parser):
    parser.add_argument("work", metavar="WORK", help="folder that `prepare` wrote")
    parser.add_argument("run", metavar="RUN", help="new folder for the run")
    parser.add_argument("--recipe", metavar="FILE", help="recipe.json of an earlier run; other options override it")
    # Only what is given on the command line overrides the recipe, so that none of these has a default.
    add = _Adder(parser)
    add("--model", choices=sorted(mk.models.MODELS), help="network (dense_vnet)")
    add("--loss", choices=sorted(mk.losses.LOSSES), help="(mcc)")
    length = _Adder(parser.add_mutually_exclusive_group())
    length("--epochs", type=int, help="passes over the training cases (100)")
    length("--minutes", type=float, help="length of the training, instead of --epochs")
    add("--batch-size", type=int, help="cases per step (2)")
    add("--learning-rate", type=float, help="peak of the schedule (0.002)")
    add("--warmup-steps", type=int, metavar="N", help="steps until the peak (50)")
    add("--weight-decay", type=float, help="of AdamW (0.0001)")
    add("--clip-norm", type=float, help="largest norm of the gradient (1)")
    precisions = ("float32", "mixed_bfloat16", "mixed_float16")
    add("--precision", choices=precisions, help="Keras' dtype policy (float32)")
    changes = parser.add_mutually_exclusive_group()
    add_augment(changes, default=SUPPRESS)
    changes.add_argument(
        "--no-augment", dest="augment", action="store_false", default=SUPPRESS, help="train on the cases unchanged"
    )
    parser.add_argument(
        "--swap-labels",
        type=list_of(swapped_pair),
        metavar="L:L,…",
        help="labels or names to swap where right and left are flipped, as 1:2",
    )
    parser.add_argument("--no-flip", action="store_true", help="do not flip right and left")
    parser.add_argument("--restart", action="store_true", help="begin again; an earlier run is renamed to RUN.1")
    add("--seed", type=int, help="seed of weights, order and augmentation (0)")


def _adapted(augment, swap_labels, no_flip):
    """Return an augmentation with the options on sides, as an `Augmentation` or `None`."""
    policy = mk.Recipe(augment=augment).augment if not isinstance(augment, mk.Augmentation) else augment
    if policy is None:
        return False
    flip = (False, *policy.flip[1:]) if no_flip else policy.flip
    return dataclasses.replace(policy, flip=flip, swap_labels=swap_labels or policy.swap_labels)


class _Adder:
    """`add_argument` of options that are absent where they are not given."""

    def __init__(self, parser):
        self.parser = parser

    def __call__(self, *names, **settings):
        self.parser.add_argument(*names, default=SUPPRESS, **settings)


def run(work, run, swap_labels, no_flip, recipe=None, **options):
    recipe = recipe and read_value(mk.Recipe, recipe)
    read_policy(options)
    if swap_labels or no_flip:
        options["augment"] = _adapted(options.get("augment", recipe.augment if recipe else True), swap_labels, no_flip)
    folder = mk.train(work, run, recipe=recipe, **options).folder
    print(f"trained: {folder}\nnext:    mcc-keras evaluate {folder}\n         tensorboard --logdir {folder / 'logs'}")
