"""Messages name options and not arguments of Python functions."""

import pytest

from mcc_keras.cli import main
from mcc_keras.cli.language import translate
from mcc_keras.cli.parser import build_parser


def parser_of(command):
    subparsers = next(action for action in build_parser()._actions if action.dest not in ("help", "version"))
    return subparsers.choices[command]


@pytest.mark.parametrize(
    ("command", "text", "expected"),
    [
        ("prepare", "Choose it, like foreground=(1, 2), or not.", "Choose it, like --foreground 1,2, or not."),
        ("prepare", 'Choose affine="sform" or affine="qform".', "Choose --affine sform or --affine qform."),
        ("prepare", "Received: spacing_mm=0.8.", "Received: --spacing 0.8."),
        ("prepare", "Received: channels=('Flair', 'T1c')", "Received: --channels Flair,T1c"),
        ("prepare", "`spacing_mm` must be positive.", "`--spacing` must be positive."),
        ("prepare", "Allow it with overwrite=True.", "Allow it with --overwrite."),
        ("prepare", "Received: size=None, overwrite=False.", "Received: no --size, no --overwrite."),
        ("train", "Received both: epochs=40, minutes=10.", "Received both: --epochs 40, --minutes 10."),
        ("train", "Received: augment=False, augment='x'.", "Received: --no-augment, --augment x."),
        ("segment", "Received: output='mask.png'.", "Received: --output mask.png."),
        ("segment", "Received: server='http:/a:1'.", "Received: --server http:/a:1."),
        ("train", "--no-flip (Augmentation(flip=(False,)))", "--no-flip (Augmentation(flip=(False,)))"),
        ("train", "Augmentation(swap_labels=((1, 2),))", "Augmentation(swap_labels=((1, 2),))"),
        ("prepare", "scans/size=48/a.nii: unknown=zero", "scans/size=48/a.nii: unknown=zero"),
    ],
)
def test_arguments_become_options(command, text, expected):
    assert translate(text, parser_of(command)) == expected


def test_an_unknown_label_of_many_cases_is_one_line_with_the_option(prepare, spoil, complaints):
    def spoil_all(folder):
        for index in range(5):
            spoil(folder, "labels", f"case{index}")

    code, lines = complaints(*prepare(spoil_all))
    assert (code, len(lines)) == (3, 1)
    assert "case0" in lines[0] and "2 more" in lines[0] and "--foreground 2," in lines[0]


def test_the_table_of_the_check_names_options(write_pairs, spoil, capsys):
    folder = write_pairs()
    spoil(folder, "labels")
    assert main(["check", str(folder), "--workers", "1"]) == 3
    table = capsys.readouterr().out
    assert "--foreground 2," in table and "foreground=" not in table


@pytest.mark.parametrize("command", ["train work run", "check source"])
def test_an_unknown_option_points_to_the_help_of_its_command(command, complaints):
    code, lines = complaints(*command.split(), "--epocs", "3")
    assert (code, len(lines)) == (2, 1)
    assert f"mcc-keras {command.split()[0]} --help" in lines[0]
