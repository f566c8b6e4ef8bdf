"""`mcc-keras compare`."""

import mcc_keras as mk
from mcc_keras.cli.converters import axis, list_of, setting, sweep_of
from mcc_keras.cli.options import adapt_to_sides, add_sides, add_workers, read_policy, read_value
from mcc_keras.cli.patches import add_patches, read_patches, take_patches

SUMMARY = "compare losses, or any settings of a training, by cross-validation"


def add_arguments(parser):
    parser.add_argument("work", metavar="WORK", help="folder that `prepare` wrote; its split is not used")
    parser.add_argument("out", metavar="OUT", help="folder of the comparison; the same line again goes on with it")
    arms = parser.add_argument_group("what is compared")
    arms.add_argument("--losses", type=list_of(str), metavar="L,L", help="losses (mcc,dice,cross_entropy)")
    arms.add_argument(
        "--vary",
        type=axis,
        action="append",
        metavar="FIELD=V,V",
        help="values of a field of the recipe, or of an argument, as batch_size=1,4 or loss_arguments.smooth=0,100",
    )
    arms.add_argument("--recipe", metavar="FILE", help="recipe.json with the settings that all share")
    arms.add_argument(
        "--set", dest="settings", type=setting, action="append", metavar="FIELD=V", help="one more of these settings"
    )
    add_patches(arms)
    add_sides(arms)
    arms.add_argument("--reference", metavar="NAME", help="what the others are compared with (the first)")
    arms.add_argument("--measure", default="dice", help="the one measure that decides (%(default)s)")
    arms.add_argument(
        "--sweep",
        type=sweep_of,
        metavar="FIELD=V,V",
        help="let each choose its own value first, by validation on one fold: learning_rate=x0.3,x1,x3",
    )
    parts = parser.add_argument_group("folds and seeds")
    parts.add_argument("--folds", type=int, default=5, metavar="K", help="(%(default)s)")
    parts.add_argument("--seeds", type=list_of(int), default=(0,), metavar="S,S", help="seeds of the trainings (0)")
    parts.add_argument(
        "--protocol", choices=("folds", "paper"), default="folds", help="paper: one split, 70/20/10 (%(default)s)"
    )
    parts.add_argument("--split-seed", type=int, default=0, help="seed of the folds (%(default)s)")
    parts.add_argument("--stratify", metavar="foreground", help="balance the folds by the size of the organ")
    length = parser.add_argument_group("length").add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, help="updates of the weights in each training")
    length.add_argument(
        "--minutes-per-cell", type=float, metavar="M", help="instead, a time that the slowest is measured for once (4)"
    )
    running = parser.add_argument_group("running")
    running.add_argument("--jobs", type=int, default=1, metavar="N", help="trainings at a time (%(default)s)")
    running.add_argument("--shard", metavar="I/N", help="run every N-th training only, from the I-th")
    running.add_argument("--finish", action="store_true", help="do not train; write the page of the finished trainings")
    running.add_argument("--earlier", metavar="OUT", help="an earlier comparison, whose spread says what can be found")
    running.add_argument("--dry-run", action="store_true", help="say what it would be, and train nothing")
    add_workers(running)


def run(work, out, vary, settings, recipe, swap_labels, no_flip, **options):
    vary, changes = dict(vary or ()), dict(settings or ())
    recipe = recipe and read_value(mk.Recipe, recipe)
    read_policy(changes)
    changes |= take_patches(options)
    read_patches(changes, recipe)
    if swap_labels or no_flip:
        policy = changes.get("augment", recipe.augment if recipe else True)
        changes["augment"] = adapt_to_sides(policy, swap_labels=swap_labels, no_flip=no_flip)

    def say(text):
        print(text, flush=True)

    found = mk.compare_losses(work, out, vary=vary or None, recipe=recipe, progress=say, **options, **changes)
    if found is not None:
        print(found)
