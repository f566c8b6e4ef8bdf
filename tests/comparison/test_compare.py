"""The way from a call to a page, with cells that train nothing; `test_training_cell` trains."""

import csv
import dataclasses
import json
import shutil
from collections import Counter

import joblib
import pytest

from mcc_keras.comparison import cells
from mcc_keras.comparison.compare import compare_losses
from mcc_keras.comparison.plan import read_plan
from mcc_keras.errors import BusyError, OutputExistsError, RunError, TrainingInterrupted, UsageError
from mcc_keras.locks import owned
from mcc_keras.runs.recipe import Recipe

SETTINGS = {"losses": ("mcc", "dice", "gwd", "cross_entropy"), "folds": 3, "seeds": (0, 1), "steps": 40, "workers": 1}


@pytest.fixture(scope="module")
def whole(work, tmp_path_factory):
    """A comparison that ended, with the lines that it reported, and a copy of its folder to spoil."""
    import fake_cells

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "KINDS", fake_cells.KINDS)
        lines = []
        out = tmp_path_factory.mktemp("whole") / "out"
        return compare_losses(work, out, progress=lines.append, **SETTINGS), lines


@pytest.fixture
def out(whole, tmp_path):
    shutil.copytree(whole[0].folder, tmp_path / "out")
    return tmp_path / "out"


def runs(out):
    return Counter(path.stem for path in (out / "cells").rglob("*.log") for _ in path.read_text().splitlines())


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_before_it_starts_it_says_how_many_trainings_how_long_and_what_it_can_find(whole):
    lines = "\n".join(whole[1])
    assert "3 arms × 3 folds × 2 seeds: 18 trainings, 40 steps each" in lines
    assert "gwd is not trained: with one class it is dice" in lines
    assert "time      3.6 min of training" in lines  # 18 cells of 40 steps of 0.2 s and four validations of 1 s: 216 s
    assert "no earlier cells show by how much it does" in lines
    assert lines.index("trainings") < lines.index("cell    1 of 18")


def test_every_cell_has_a_result_and_the_tables_hold_all_of_them(whole):
    folder = whole[0].folder
    assert len(table(folder / "cells.csv")) == 18
    assert len(table(folder / "patients.csv")) == 3 * 2 * 12  # arms, seeds, patients
    assert [row["rival"] for row in table(folder / "claims.csv")] == ["dice", "cross_entropy"]
    assert len(table(folder / "curves.csv")) == 18 * 2


def test_a_planted_difference_is_found_and_none_where_there_is_none(whole):
    dice, cross_entropy = whole[0].analysis.claims
    assert cross_entropy.p_holm < 0.05 and cross_entropy.patients.false_claim < 0.001
    assert cross_entropy.mean == pytest.approx(-0.3, abs=0.02)
    assert dice.p_holm > 0.05


def test_the_row_of_gwd_is_that_of_dice(whole):
    gwd, dice = whole[0].analysis.arm("gwd"), whole[0].analysis.arm("dice")
    assert (gwd.same_as, gwd.score) == ("dice", dice.score)
    assert not (whole[0].folder / "cells" / "gwd").exists()


def test_the_same_call_again_runs_nothing_and_makes_the_same_page(fake, whole, work, out):
    before = runs(out)
    again = compare_losses(work, out, **SETTINGS)
    assert runs(out) == before
    assert again.analysis == whole[0].analysis


def test_a_cell_that_is_gone_or_failed_runs_again_and_no_other(fake, work, out):
    (out / "cells" / "mcc" / "fold1-seed0.json").unlink()
    path = out / "cells" / "dice" / "fold2-seed1.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "state": "failed", "scores": []}))
    before = runs(out)
    found = compare_losses(work, out, **SETTINGS)
    assert runs(out) - before == {"fold1-seed0": 1, "fold2-seed1": 1}
    assert not found.analysis.missing


def test_a_cell_that_fails_is_reported_and_the_others_go_on(fake, work, tmp_path):
    (tmp_path / "out" / "cells" / "dice").mkdir(parents=True)
    (tmp_path / "out" / "cells" / "dice" / "FAIL-fold0-seed0").touch()
    (tmp_path / "out" / "cells" / "dice" / "DIVERGE-fold1-seed0").touch()
    with pytest.raises(OutputExistsError):  # nobody else's folder
        compare_losses(work, tmp_path / "out", **SETTINGS)
    shutil.move(tmp_path / "out" / "cells", tmp_path / "cells")
    compare_losses(work, tmp_path / "out", dry_run=True, **SETTINGS)
    shutil.move(tmp_path / "cells", tmp_path / "out" / "cells")
    lines = []
    found = compare_losses(work, tmp_path / "out", progress=lines.append, **SETTINGS)
    assert "cell    2 of 18: dice, fold 0, seed 0: failed. planted FAIL" in lines
    arm = found.analysis.arm("dice")
    assert (arm.finished, arm.diverged, arm.failed) == (4, 1, 1)
    assert "dice: 1 of 6 cells became NaN or infinite and count as cells that find nothing." in str(found)
    assert found.analysis.folds == 3  # fold 0 by its other seed
    page = found.report_path.read_text(encoding="utf-8")
    assert "planted FAIL" in page


def test_a_signal_ends_the_call_and_leaves_no_result(fake, work, out):
    path = out / "cells" / "mcc" / "fold0-seed0.json"
    path.unlink()
    (path.parent / "STOP-fold0-seed0").touch()
    with pytest.raises(TrainingInterrupted, match="mcc, fold 0, seed 0"):
        compare_losses(work, out, **SETTINGS)
    assert not path.exists()


def test_shards_and_a_finish_come_to_the_same_as_one_call(fake, whole, work, tmp_path):
    for number in (2, 1, 3):
        assert compare_losses(work, tmp_path / "out", shard=f"{number}/3", **SETTINGS) is None
    assert sorted(runs(tmp_path / "out").values()) == [3] * 6
    found = compare_losses(work, tmp_path / "out", finish=True, **SETTINGS)
    assert found.analysis == whole[0].analysis


def test_a_finish_before_all_cells_are_there_names_those_that_are_missing(fake, work, tmp_path):
    with pytest.raises(RunError, match="expected a comparison, found none"):
        compare_losses(work, tmp_path / "out", finish=True, **SETTINGS)
    compare_losses(work, tmp_path / "out", dry_run=True, **SETTINGS)
    with pytest.raises(RunError, match="expected a cell that is finished, found none"):
        compare_losses(work, tmp_path / "out", finish=True, **SETTINGS)
    compare_losses(work, tmp_path / "out", shard="1/2", **SETTINGS)
    found = compare_losses(work, tmp_path / "out", finish=True, **SETTINGS)
    assert len(found.analysis.missing) == 9
    assert "Not there yet: " in str(found)


def test_cells_run_in_processes_of_their_own_come_to_the_same(whole, work, out, monkeypatch):
    for path in (out / "cells" / "dice").glob("*.json"):
        path.unlink()
    import fake_cells

    monkeypatch.setattr(cells, "KINDS", fake_cells.KINDS)
    with joblib.parallel_config(backend="threading", n_jobs=2):
        assert compare_losses(work, out, jobs=None, **SETTINGS).analysis == whole[0].analysis


def test_the_steps_are_measured_once_and_then_kept(fake, work, tmp_path, monkeypatch):
    import fake_cells

    settings = {**SETTINGS, "steps": None, "minutes_per_cell": 1, "dry_run": True}
    compare_losses(work, tmp_path / "out", **settings)
    before = read_plan(tmp_path / "out")
    assert set(before.steps.values()) == {200}  # 60 s of 0.2 s a step and a validation of 1 s every ten
    pace = fake_cells.pace
    slower = {"training": ("fake_cells:run", "fake_cells:slow")}
    monkeypatch.setattr(
        fake_cells, "slow", lambda *given: dataclasses.replace(pace(*given), seconds_per_step=9), raising=False
    )
    monkeypatch.setattr(cells, "KINDS", slower)
    compare_losses(work, tmp_path / "out", **settings)
    assert read_plan(tmp_path / "out") == before


def test_each_loss_chooses_its_own_rate_first_by_validation_on_the_first_fold(fake, work, tmp_path):
    settings = SETTINGS | {"sweep": {"learning_rate": ("x0.1", "x1", "x10")}, "losses": ("mcc", "dice"), "folds": 2}
    lines = []
    compare_losses(work, tmp_path / "out", progress=lines.append, **settings)
    choices = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert {name: chosen["value"] for name, chosen in choices["arms"].items()} == {"mcc": 0.0002, "dice": 0.02}
    assert "sweep     mcc, learning_rate 0.0002: 0.500" in lines
    logs = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out" / "sweep").rglob("*.log"))
    assert len(logs) == 6
    before = len(lines)
    compare_losses(work, tmp_path / "out", progress=lines.append, **settings)
    assert not any(line.startswith("sweep") for line in lines[before:])


def test_what_earlier_cells_show_says_what_a_plan_can_find(fake, work, out, tmp_path):
    lines = []
    settings = SETTINGS | {"folds": 4, "dry_run": True}
    compare_losses(work, tmp_path / "new", earlier=out, progress=lines.append, **settings)
    (line,) = (line for line in lines if line.startswith("finds"))
    assert line.endswith("as earlier cells show") and line.count("where it varies") == 1


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seeds": (0, 2)}, "seeds="),
        ({"folds": 2}, "folds=2, it has 3"),
        ({"losses": ("mcc", "dice")}, "arms=mcc, dice, it has mcc, dice, gwd, cross_entropy"),
        ({"learning_rate": 0.5}, "the settings of its arms"),
        ({"steps": 41}, "steps=41, it has 40"),
        ({"measure": "mcc"}, "measure=mcc, it has dice"),
    ],
)
def test_a_comparison_of_other_settings_is_refused_before_anything_runs(fake, work, out, changes, named):
    before = runs(out)
    with pytest.raises(UsageError, match="goes on only with its own settings") as raised:
        compare_losses(work, out, **SETTINGS | changes)
    assert named in str(raised.value)
    assert runs(out) == before


def test_a_cell_folder_of_other_settings_is_refused_before_anything_runs(fake, work, out):
    path = out / "cells" / "cross_entropy" / "fold2-seed1"
    path.mkdir()
    (path / "recipe.json").write_text(Recipe(loss="cross_entropy", steps=40, seed=5).to_json())
    (out / "cells" / "mcc" / "fold0-seed0.json").unlink()
    before = runs(out)
    with pytest.raises(UsageError, match="seed=1, the run has seed=5"):
        compare_losses(work, out, **SETTINGS)
    assert runs(out) == before


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"shard": "3/2"}, "shard='3/2'"),
        ({"jobs": 0}, "jobs=0"),
        ({"seeds": (1, 1)}, "seeds=(1, 1)"),
        ({"seeds": ()}, "seeds=()"),
        ({"reference": "auc"}, "reference='auc'"),
        ({"sweep": {"learning_rate": ("x1",)}}, "learning_rate=x1"),
        ({"sweep": {"learning_rate": ("x1", "0.002")}}, "learning_rate=x1,0.002"),
        ({"sweep": {"batch_size": ("1", "2")}}, "sweep="),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(fake, work, tmp_path, changes, named):
    with pytest.raises(UsageError) as raised:
        compare_losses(work, tmp_path / "out", **SETTINGS | changes)
    assert named in str(raised.value) and "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_an_input_or_not_empty_is_refused(fake, work, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    for folder, error in ((tmp_path, OutputExistsError), (work, UsageError), (work.parent, UsageError)):
        with pytest.raises(error):
            compare_losses(work, folder, **SETTINGS)


def test_two_calls_do_not_prepare_one_folder_at_once(fake, work, out):
    with owned(out / ".lock", out), pytest.raises(BusyError):
        compare_losses(work, out, **SETTINGS)
