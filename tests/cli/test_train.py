"""The options of `mcc-keras train` that stand for parts of a recipe."""

import pytest

import mcc_keras as mk
from mcc_keras.cli.parser import build_parser


@pytest.fixture
def asked(monkeypatch):
    """Return a function that gives the settings which a command hands to `plan_training`."""

    def settings(*words):
        found = {}
        monkeypatch.setattr(mk, "plan_training", lambda work, **options: found.update(options), raising=False)
        options = vars(build_parser().parse_args(["train", "work", "run", "--dry-run", *words]))
        options.pop("parser")
        options.pop("command")(**options)
        return found

    return settings


def test_patches_and_window_have_an_option_for_each_field(asked):
    words = [
        "--patch-size",
        "96,96,32",
        "--patches-per-volume",
        "4",
        "--foreground-fraction",
        "0.25",
        "--overlap",
        "0.3",
    ]
    found = asked(*words)
    assert found["patches"] == mk.Patches(size=(96, 96, 32), per_volume=4, foreground_fraction=0.25)
    assert found["window"] == mk.Window(size=(96, 96, 32), overlap=0.3)
    assert asked("--patch-size", "32", "--window-size", "64")["window"] == mk.Window(size=64)
    assert not {"patches", "window"} & set(asked("--epochs", "2"))


def test_options_change_the_patches_of_a_recipe(asked, tmp_path):
    recipe = mk.Recipe(patches=mk.Patches(size=32, per_volume=2), window=mk.Window(size=48))
    (tmp_path / "recipe.json").write_text(recipe.to_json())
    found = asked("--recipe", str(tmp_path / "recipe.json"), "--foreground-fraction", "1", "--overlap", "0.25")
    assert found["patches"] == mk.Patches(size=32, per_volume=2, foreground_fraction=1.0)
    assert found["window"] == mk.Window(size=48, overlap=0.25)
