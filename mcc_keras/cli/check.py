"""`mcc-keras check`."""

import mcc_keras as mk
from mcc_keras.cli.language import translate
from mcc_keras.cli.options import add_accept_loss, add_box, add_overwrite, add_source, add_workers, find_cases

SUMMARY = "list every problem of every case of a data set in one table"
BOX = ("size", "spacing_mm", "crop_margin_mm")


def add_arguments(parser):
    add_source(parser)
    box = parser.add_argument_group("a box, as for `prepare`, whose cost is measured: the best Dice of each class")
    add_box(box)
    add_accept_loss(box)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--html", metavar="FILE", help="also write the report as one page with pictures")
    add_overwrite(parser)
    add_workers(parser)
    parser.set_defaults(in_options=lambda text: translate(text, parser))


def run(source, json, html, workers, overwrite, in_options, accept_loss, **options):
    box = {name: options.pop(name) for name in BOX}
    preprocessing = mk.Preprocessing(**box) if any(value is not None for value in box.values()) else None
    cases = find_cases(source, options)
    measured = {"preprocessing": preprocessing, "accept_loss": accept_loss}
    report = mk.check_cases(cases, **measured, workers=workers, progress=True, pictures=bool(html))
    if html:
        report.write_html(html, overwrite=overwrite)
    print(report.to_json() if json else in_options(str(report)))
    return mk.errors.DataError.exit_code if report.problems else 0
