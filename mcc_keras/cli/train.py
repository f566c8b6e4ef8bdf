"""`mcc-keras train`."""

from argparse import SUPPRESS
from pathlib import Path

import mcc_keras as mk
from mcc_keras.cli.converters import arguments, list_of
from mcc_keras.cli.options import adapt_to_sides, add_augment, add_sides, read_policy, read_value
from mcc_keras.cli.patches import add_patches, read_patches
from mcc_keras.runs.choices import OPTIMIZERS, PRECISIONS, RECIPES, SCHEDULES

SUMMARY = "train a network on records"
_ARGUMENTS = {"type": arguments, "metavar": "NAME=VALUE,…"}


def add_arguments(parser):
    parser.add_argument("work", metavar="WORK", help="folder that `prepare` wrote")
    parser.add_argument("run", metavar="RUN", help="new folder for the run")
    parser.add_argument(
        "--recipe",
        metavar="NAME|FILE",
        help=f"{', '.join(RECIPES)}, or recipe.json of an earlier run; other options override it",
    )
    # Only what is given on the command line overrides the recipe, so that none of these has a default.
    add = _Adder(parser)
    add("--model", choices=sorted(mk.models.MODELS), help="network (dense_vnet)")
    add("--model-arguments", **_ARGUMENTS, help="arguments of the network, as width=0.5,normalization=group")
    add("--init", metavar="RUN", help="begin with the weights of a finished run; other classes or channels are allowed")
    add("--freeze", type=list_of(str), metavar="P,P", help="patterns of the layers to keep as they are, as 'block*'")
    add("--loss", choices=sorted(mk.losses.LOSSES), help="(mcc)")
    add("--loss-arguments", **_ARGUMENTS, help="arguments of the loss, as smooth=1")
    length = _Adder(parser.add_mutually_exclusive_group())
    length("--epochs", type=int, help="passes over the training cases (100)")
    length("--minutes", type=float, help="length of the training, instead of --epochs")
    length("--steps", type=int, help="updates of the weights, instead of --epochs")
    add("--patience", type=int, metavar="N", help="end after N epochs without a better validation Dice (never)")
    add("--batch-size", type=int, help="cases per batch (2)")
    add("--accumulate", type=int, metavar="K", help="batches whose mean gradient makes one update (1)")
    add("--optimizer", choices=sorted(OPTIMIZERS), help="(adamw)")
    add("--optimizer-arguments", **_ARGUMENTS, help="further arguments of the Keras optimizer, as momentum=0.9")
    add("--learning-rate", type=float, help="peak of the schedule (0.002)")
    add("--schedule", choices=SCHEDULES, help="learning rate after the warm-up (cosine)")
    add("--warmup-steps", type=int, metavar="N", help="updates until the peak (50)")
    add("--weight-decay", type=float, help="(0.0001)")
    add("--clip-norm", type=float, help="largest norm of the gradient (1)")
    add("--ema", type=float, metavar="M", help="validate and keep an average of the weights of this momentum, as 0.999")
    add("--precision", choices=PRECISIONS, help="Keras' dtype policy (float32)")
    add_patches(parser)
    changes = parser.add_mutually_exclusive_group()
    add_augment(changes, default=SUPPRESS)
    changes.add_argument(
        "--no-augment", dest="augment", action="store_false", default=SUPPRESS, help="train on the cases unchanged"
    )
    add_sides(parser)
    parser.add_argument("--restart", action="store_true", help="begin again; an earlier run is renamed to RUN.1")
    add("--seed", type=int, help="seed of weights, order and augmentation (0)")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and its cost, and write nothing")


class _Adder:
    """`add_argument` of options that are absent where they are not given."""

    def __init__(self, parser):
        self.parser = parser

    def __call__(self, *names, **settings):
        self.parser.add_argument(*names, default=SUPPRESS, **settings)


def run(work, run, swap_labels, no_flip, dry_run, restart, recipe=None, **options):
    recipe = recipe and _read_recipe(recipe)
    read_policy(options)
    read_patches(options, recipe)
    if swap_labels or no_flip:
        policy = options.get("augment", recipe.augment if recipe else True)
        options["augment"] = adapt_to_sides(policy, swap_labels=swap_labels, no_flip=no_flip)
    if dry_run:
        print(mk.plan_training(work, recipe=recipe, **options))
        return
    trained = mk.train(work, run, recipe=recipe, restart=restart, **options)
    result, folder = trained.result, trained.folder
    print(f"saving    {result.saving_seconds:.1f} s of {result.seconds:.0f} s")
    print(f"trained: {folder}\nnext:    mcc-keras evaluate {folder}\n         tensorboard --logdir {folder / 'logs'}")


def _read_recipe(text):
    """Return the recipe of a name, or that of a file; what is neither a name nor looks like a path is a wrong name."""
    is_path = text.endswith(".json") or "/" in text or Path(text).exists()
    return read_value(mk.Recipe, text) if is_path and text not in RECIPES else mk.Recipe.named(text)
