"""From a scan on disk to a served mask. Each command calls public functions of mcc_keras with its options as keywords.

Exit codes: 0 done, 1 a bug of ours, 2 usage, 3 data, 4 interrupted, 5 environment (disk, memory, server, extra).
"""

import argparse
import contextlib
import errno
import os
import shlex
import sys
import tempfile
import warnings

import mcc_keras as mk

ENVIRONMENT = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOMEM, errno.EIO)

CASE_OPTIONS = ("foreground", "labels", "background", "channels", "affine")
PREPROCESSING_OPTIONS = (
    *("size", "spacing_mm", "window", "clip_percentiles", "normalise", "statistics", "ignore_background"),
    *("background_value", "crop_margin_mm"),
)


def main(argv=None):
    """Run one command and return its exit code: one line a problem, a traceback only for a bug of ours."""
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    argv = sys.argv[1:] if argv is None else argv
    options = vars(build_parser().parse_args(argv))
    if "words" in options:
        options["words"] = argv
    try:
        return options.pop("command")(**options) or 0
    except mk.errors.MCCKerasError as error:
        return _complain(error, code=error.exit_code)
    except KeyboardInterrupt:
        return _complain("interrupted", code=4)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError as error:
        return _complain(f"out of memory. {error}".strip(), code=5)
    except OSError as error:
        if error.errno not in ENVIRONMENT:
            raise
        return _complain(f"{error.filename or 'disk'}: {error.strerror}", code=5)
    except Exception as error:
        if type(error).__name__ != "ResourceExhaustedError":  # TensorFlow's, which must not be imported to be caught
            raise
        return _complain(f"out of memory or disk. {str(error).splitlines()[0]}", code=5)


def build_parser():
    """Return the parser of `mcc-keras`, without Keras or TensorFlow imported."""
    parser = _Parser(prog="mcc-keras", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"mcc_keras {mk.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    demo = _command(commands, "demo", _demo, "everything below on synthetic volumes, in minutes on a laptop")
    demo.add_argument("folder", metavar="DIR", help="a new folder for everything that the demo makes")
    demo.add_argument("--seed", type=int, default=7, help="seed of data, split and training (%(default)s)")
    _overwrite(demo)

    check = _command(commands, "check", _check, "every problem of every case of a data set in one table")
    _source(check)
    check.add_argument("--json", action="store_true", help="print the report as JSON")
    check.add_argument("--html", metavar="FILE", help="also write the report as one page, with pictures")
    _overwrite(check)
    _workers(check)

    prepare = _command(commands, "prepare", _prepare, "split a data set by patient, preprocess it, write records")
    _source(prepare)
    prepare.add_argument("work", metavar="WORK", help="folder for the records")
    _preprocessing(prepare)
    prepare.add_argument(
        "--split",
        type=_shares_or_file,
        default=(0.7, 0.2, 0.1),
        metavar="A,B,C|FILE",
        help="shares of training, validation and test (0.7,0.2,0.1; 0 leaves a part empty), or a stored split.json",
    )
    prepare.add_argument(
        "--stratify", metavar="COLUMN", help="spread a column of the table, or 'foreground' (its size), over the parts"
    )
    prepare.add_argument("--compression", choices=("gzip",), help="smaller records, slower to read (none)")
    prepare.add_argument("--seed", type=int, default=0, help="seed of the split (%(default)s)")
    _overwrite(prepare)
    _workers(prepare)
    prepare.set_defaults(words=())

    verify = _command(commands, "verify", _verify, "compare every byte of prepared records with their manifest")
    verify.add_argument("work", metavar="WORK", help="folder that `prepare` wrote")
    verify.add_argument("--sources", action="store_true", help="also the scans and masks that they were made from")
    _workers(verify)

    augment = _command(commands, "augment", _preview, "draw what augmentation makes of a case, before and after")
    _source(augment)
    augment.add_argument("--preview", dest="path", required=True, metavar="FILE", help="the picture to write: page.png")
    _augment(augment)
    augment.add_argument("--each-change", action="store_true", help="instead, each kind of change by itself")
    augment.add_argument("--case", dest="case_id", metavar="ID", help="which case (the first with a mask)")
    augment.add_argument("--draws", type=int, default=4, help="rows below the case as it is (%(default)s)")
    augment.add_argument("--seed", type=int, default=0, help="seed of the draws (%(default)s)")
    _overwrite(augment)

    train = _command(commands, "train", _train, "train Dense V-Net on records")
    train.add_argument("work", metavar="WORK", help="folder that `prepare` wrote")
    train.add_argument("run", metavar="RUN", help="new folder for the run")
    train.add_argument("--loss", choices=sorted(mk.losses.LOSSES), default="mcc", help="(%(default)s)")
    length = train.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=int, help="passes over the training cases")
    length.add_argument("--minutes", type=float, help="time to train for, instead of --epochs")
    train.add_argument("--batch-size", type=int, default=2, help="cases in a step (%(default)s)")
    train.add_argument("--learning-rate", type=float, default=2e-3, help="peak of the schedule (%(default)s)")
    train.add_argument(
        "--precision",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
        default="float32",
        help="Keras' dtype policy (%(default)s)",
    )
    changes = train.add_mutually_exclusive_group()
    _augment(changes)
    changes.add_argument("--no-augment", dest="augment", action="store_false", help="leave the cases as they are")
    train.add_argument("--seed", type=int, default=0, help="seed of weights, order and augmentation (%(default)s)")

    evaluate = _command(commands, "evaluate", _evaluate, "score a run on the original grids, case by case")
    evaluate.add_argument("run", metavar="RUN", help="folder that `train` wrote")
    evaluate.add_argument("--part", default="test", choices=("train", "validation", "test"), help="(%(default)s)")
    evaluate.add_argument("--source", help="another data set than the run's own; all of its cases are scored")
    evaluate.add_argument("-o", "--output", metavar="DIR", help="where to write (RUN/PART, or RUN/NAME of the source)")
    _largest_component(evaluate)
    _overwrite(evaluate)

    predict = _command(commands, "predict", _predict, "segment a scan with a run")
    predict.add_argument("run", metavar="RUN", help="folder that `train` wrote")
    _images_and_output(predict)
    _largest_component(predict)

    export = _command(commands, "export", _export, "write a run as a SavedModel for TensorFlow Serving")
    export.add_argument("run", metavar="RUN", help="folder that `train` wrote")
    export.add_argument("folder", metavar="NAME", help="folder of the model; a new version NAME/1, NAME/2, … is added")

    client = _command(commands, "client", _client, "segment a scan with a model server, over gRPC")
    client.add_argument("address", metavar="HOST:PORT")
    _images_and_output(client)
    client.add_argument("--model-name", default="segmenter", help="the server's name for the model (%(default)s)")
    client.add_argument("--timeout-seconds", type=float, default=60, help="how long to wait (%(default)s)")
    return parser


def _demo(folder, **options):
    _start_tensorflow()
    print(mk.run_demo(folder, progress=lambda text: print(text, flush=True), **options))


def _check(source, json, html, workers, overwrite, **options):
    cases = mk.find_cases(source, **options)
    report = mk.check_cases(cases, workers=workers, progress=True, pictures=bool(html))
    if html:
        report.write_html(html, overwrite=overwrite)
    print(report.to_json() if json else report.to_text())
    return mk.errors.DataError.exit_code if report.problems else 0


def _prepare(source, work, words, **options):
    chosen = {name: options.pop(name) for name in list(options) if name in PREPROCESSING_OPTIONS}
    preprocessing = mk.Preprocessing(**chosen)
    cases = mk.find_cases(source, **{name: options.pop(name) for name in CASE_OPTIONS})
    _start_tensorflow()
    command = _command_that_made(words, work)
    manifest = mk.write_tfrecords(cases, work, preprocessing=preprocessing, command=command, progress=True, **options)
    counts, total = (
        ", ".join(f"{count} {part}" for part, count in manifest.counts.items()),
        sum(manifest.counts.values()),
    )
    news = f"{manifest.prepared} prepared, {total - manifest.prepared} were there"
    print(
        f"{work}: {counts} ({news if manifest.prepared else 'nothing to prepare: sources and settings are the same'})"
    )


def _command_that_made(words, work):
    """The command without what does not concern the bytes: the place of WORK, the processes, the leave to overwrite."""
    kept, skip = [], False
    for word in words:
        workers = len(word) > 3 and "--workers".startswith(word.partition("=")[0])
        if not (skip or workers or word == "--overwrite"):
            kept.append("WORK" if word == work else word)
        skip = workers and "=" not in word
    return shlex.join(["mcc-keras", *kept])


def _verify(work, **options):
    found = mk.verify_records(work, **options)
    print(found.to_text())
    return mk.errors.DataError.exit_code if found.problems else 0


def _preview(source, path, **options):
    cases = mk.find_cases(source, **{name: options.pop(name) for name in CASE_OPTIONS})
    _start_tensorflow()
    print(mk.preview_augmentation(cases, path, **options))


def _train(work, run, **options):
    _start_tensorflow()
    print(mk.train(work, run, **options).folder)


def _evaluate(run, **options):
    _start_tensorflow()
    print(mk.evaluate(run, **options).to_text())


def _predict(run, images, output, **options):
    _start_tensorflow()
    print(mk.segment(run, images, output, **options))


def _export(run, folder):
    _start_tensorflow()
    print(mk.export_saved_model(run, folder))


def _client(address, images, output, **options):
    _start_tensorflow()
    print(mk.segment_remote(address, images, output, **options))


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(mk.errors.UsageError.exit_code, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _command(commands, name, function, summary):
    parser = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    parser.set_defaults(command=function)
    return parser


def _source(parser):
    parser.add_argument("source", metavar="SOURCE", help="a folder, a dataset.json or a CSV file")
    target = parser.add_mutually_exclusive_group()
    target.add_argument(
        "--foreground", type=_list_of(_label), metavar="L,L", help="mask labels, or their names, merged into one class"
    )
    target.add_argument(
        "--labels", type=_list_of(_label), metavar="L,L", help="mask labels, or their names, kept apart, a class each"
    )
    parser.add_argument(
        "--background", type=_list_of(int), default=(0,), metavar="L,L", help="mask labels that are background (0)"
    )
    parser.add_argument("--channels", type=_list_of(str), metavar="C,C", help="channels to take, in this order (all)")
    parser.add_argument(
        "--affine", choices=("sform", "qform"), help="which one to take where the two of a NIfTI file disagree"
    )


def _preprocessing(parser):
    box = parser.add_argument_group("the box that the network sees (at least one of size and spacing)")
    box.add_argument("--size", type=_one_or_three(int), metavar="N[,N,N]", help="voxels: 48 or 96,96,32")
    box.add_argument(
        "--spacing",
        dest="spacing_mm",
        type=_or_word("median", _one_or_three(float)),
        metavar="MM[,MM,MM]",
        help="voxel size in mm: 1 or 0.8,0.8,2.5; or median, that of the training scans",
    )
    box.add_argument(
        "--crop-margin-mm", type=float, metavar="MM", help="crop to what is not background, with this margin"
    )
    values = parser.add_argument_group("its intensities")
    values.add_argument(
        "--window", type=_list_of(float), metavar="LOW,HIGH", help="clip to these, as in CT: --window=-160,240"
    )
    values.add_argument(
        "--clip-percentiles",
        type=_or_word("none", _list_of(float)),
        default=(1.0, 99.0),
        metavar="LOW,HIGH",
        help="clip at these, without a window; or none (1,99)",
    )
    values.add_argument("--normalise", choices=("zscore", "minmax", "none"), default="zscore", help="(%(default)s)")
    values.add_argument(
        "--statistics", choices=("volume", "set"), default="volume", help="of each scan, or of all training scans"
    )
    values.add_argument("--ignore-background", action="store_true", help="statistics without the background's voxels")
    values.add_argument(
        "--background-value", type=float, metavar="V", help="intensity of the background (that of the scan's corners)"
    )


def _images_and_output(parser):
    parser.add_argument(
        "images",
        metavar="SCAN",
        nargs="+",
        help="one file; one file a channel in the stored order; a case folder; or a folder of DICOM files",
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="MASK", help="the mask to write: .nii.gz, .nii, .nrrd, .mha or .mhd"
    )
    _overwrite(parser)


def _overwrite(parser):
    parser.add_argument("--overwrite", action="store_true", help="replace what an earlier call wrote")


def _augment(parser):
    parser.add_argument(
        "--augment",
        metavar="NAME",
        default=True,
        help="change the cases anew in each epoch: default, light, paper or strong (default)",
    )


def _largest_component(parser):
    parser.add_argument(
        "--largest-component", action="store_true", help="keep the largest connected part of each class only"
    )


def _workers(parser):
    parser.add_argument("--workers", type=int, metavar="N", help="processes (all cores)")


def _label(text):
    return int(text) if text.lstrip("-").isdecimal() else text


def _list_of(convert):
    def read(text):
        return tuple(convert(part) for part in text.split(","))

    read.__name__ = f"list of {convert.__name__}"  # what argparse says of a wrong value
    return read


def _or_word(word, convert):
    def read(text):
        if text == word:
            return None if word == "none" else word
        return convert(text)

    read.__name__ = f"{convert.__name__} or {word}"
    return read


def _shares_or_file(text):
    try:
        return _list_of(float)(text)
    except ValueError:
        if not text.endswith(".json"):
            raise
        return text


_shares_or_file.__name__ = "three shares or the name of a .json file"


def _one_or_three(convert):
    def read(text):
        values = _list_of(convert)(text)
        return values[0] if len(values) == 1 else values

    read.__name__ = f"{convert.__name__}, or three of them with commas between,"
    return read


def _complain(text, *, code):
    print(text, file=sys.stderr)
    return code


def _start_tensorflow():
    """Import TensorFlow without the lines it always prints; what it warns of is still shown.

    It writes them before its own log level counts, so only the file descriptor can hold them back. With
    TF_CPP_MIN_LOG_LEVEL set by the user nothing is held back.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ or "tensorflow" in sys.modules:
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held, contextlib.ExitStack() as stack:
        stderr = os.dup(2)
        os.dup2(held.fileno(), 2)
        stack.callback(lambda: (os.dup2(stderr, 2), os.close(stderr), held.seek(0), _show_warnings(held)))
        import tensorflow

        tensorflow.config.list_physical_devices()  # looks for a GPU, and says so where there is none


def _show_warnings(lines):
    for line in lines:
        if not line.startswith((b"I0000", b"WARNING: All log")) and b"cuInit" not in line and line.strip():
            sys.stderr.write(line.decode(errors="replace"))
