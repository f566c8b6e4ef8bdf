"""`train --recipe`: a recipe by its name or of a file, and the options that override it."""

import mcc_keras as mk

QUICK = ("--no-augment", "--dry-run", "--model-arguments")


def test_a_named_recipe_is_printed_with_the_options_that_override_it(run, prepared, capsys):
    run("train", prepared / "work", prepared / "planned", "--recipe", "fast", "--minutes", 3, *QUICK, "width=0.125")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("recipe ")]
    assert line.split(maxsplit=1)[1] == (
        "model=residual_unet, model_arguments.width=0.125, epochs=none, minutes=3.0, augment=none, else the defaults"
    )
    assert not (prepared / "planned").exists()


def test_options_override_the_network_of_a_named_recipe(run, prepared, capsys):
    words = ("--recipe", "fast", "--model", "dense_vnet", *QUICK, "depths=[1,1,1]")
    run("train", prepared / "work", prepared / "planned", *words)
    printed = capsys.readouterr().out
    assert "network   dense_vnet, " in printed and "residual_unet" not in printed


def test_a_recipe_of_another_name_is_refused_with_the_names_there_are(complaints, tmp_path):
    code, lines = complaints("train", tmp_path, tmp_path / "run", "--recipe", "quick")
    assert (code, lines) == (
        2,
        ["`--recipe` must be a `Recipe`, the recipe.json of a run, or one of fast. Received: --recipe quick."],
    )


def test_a_file_is_read_and_a_missing_one_named(complaints, tmp_path):
    (tmp_path / "recipe").write_text(mk.Recipe(patience=3).to_json())
    code, lines = complaints("train", tmp_path / "work", tmp_path / "run", "--recipe", tmp_path / "recipe")
    assert code == 3 and "work" in lines[0]  # the recipe was read, and the records are what is missing
    code, lines = complaints("train", tmp_path, tmp_path / "run", "--recipe", "missing.json")
    assert (code, lines[0].split(":")[0]) == (3, "missing.json")
