"""The demo while its process is killed: the same call goes on, and files of the user stay."""

import pytest
from scripts import run_script

KILLED = """
    import functools, os, shutil, sys
    from pathlib import Path
    import numpy as np
    from mcc_keras import demo
    from mcc_keras.errors import OutputExistsError
    from mcc_keras.files import write_text
    from mcc_keras.listing import LISTING, read_listing
    from mcc_keras.publishing import replaced_folder
    from mcc_keras.records.manifest import read_manifest
    from mcc_keras.runs.data import describe_data
    from mcc_keras.runs.recipe import Recipe
    from mcc_keras.serving import export
    from mcc_keras.serving.versions import next_version
    from mcc_keras.training.resume import owned_run, refuse_other_folder
    from stopping import killed_after, moments

    os.fsync = lambda handle: None  # a kill loses nothing that has been written
    folder, kind = Path(sys.argv[1]) / "demo", sys.argv[2]

    def train(work, run, *, seed, epochs, **settings):
        refuse_other_folder(run)
        if not (run / "run.json").is_file():
            manifest = read_manifest(work)
            data, preprocessing = describe_data(manifest), manifest.preprocessing
            with owned_run(run, recipe=Recipe(seed=seed, epochs=epochs), data=data, preprocessing=preprocessing):
                for name in ("model.keras", "run.json"):
                    write_text(run / name, str(seed))
        return run

    def evaluate(run, *, part, overwrite):
        with replaced_folder(run / part, command="scores", overwrite=overwrite) as aside:
            for name in ("scores.csv", "report.html"):
                (aside / name).write_text((run / "model.keras").read_text())

    def export_saved_model(run, served):
        with next_version(served) as (aside, version):
            (aside / "variables").mkdir(parents=True)
            (aside / "saved_model.pb").write_text((run / "model.keras").read_text())
        return version

    # Training and TensorFlow are replaced by what writes files in the same steps; the rest is the demo's own.
    demo.NUM_CASES, demo.SIZE = 3, (16, 16, 8)
    demo.write_synthetic = functools.partial(demo.write_synthetic, size=(16, 16, 8))
    demo.check_cases = functools.partial(demo.check_cases, pictures=False)
    demo.random_volume = functools.partial(demo.random_volume, size=(16, 16, 8))
    demo.train, demo.evaluate, export.export_saved_model = train, evaluate, export_saved_model
    demo._served_mask = lambda saved_model, volume: np.ones(volume.shape, np.uint8)

    def run(seed=1, **options):
        demo.run_demo(folder, seed=seed, **options)

    def content():
        paths = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
        found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        return {name: data for name, data in found.items() if "check.html" not in name and LISTING not in name}

    def ended():
        return (folder / LISTING).is_file() and not (folder / demo.UNFINISHED).is_file()

    def reset():
        shutil.rmtree(folder, ignore_errors=True)
        if kind == "again":
            shutil.copytree(old, folder)
            (folder / "notes.txt").write_text("mine")

    old = folder.with_name("old")
    if kind == "again":
        run(seed=0)
        folder.rename(old)
    call = functools.partial(run, overwrite=True)
    reset()
    call()
    expected = content()
    assert "run/test/scores.csv" in expected and "data/cases.csv" in expected
    kills = refused = 0
    for number in moments(call, reset=reset):
        if (folder / demo.UNFINISHED).is_file():
            for other in (False, True):
                try:
                    run(seed=2, overwrite=other)
                except OutputExistsError as error:
                    refused += "seed=1" in str(error)
        begun = demo._read_unfinished(folder)
        removed = begun is not None and begun.earlier is None
        if ended():
            call()
        killed_after(number // 2, run)
        if not ended():
            run()
        assert content() == expected, (number, sorted(content().items() ^ expected.items()))
        listed = set(read_listing(folder, command="demo").files)
        assert {*expected, "check.html"} - listed == {"notes.txt"} & set(expected), number
        leftovers = [path.name for path in folder.rglob(".*") if path.name not in (".lock", LISTING)]
        assert leftovers == [], (number, leftovers)
        kills += 1
        if kind == "again" and removed:
            break  # from here on it is as the first time
    assert "tensorflow" not in sys.modules  # which must not be forked
    print(kills, refused)
"""


@pytest.mark.parametrize("kind", ["first", "again"])
def test_killed_after_each_change_the_same_call_of_the_demo_goes_on(tmp_path, kind):
    kills, refused = map(int, run_script(KILLED, tmp_path, kind).split())
    assert kills > 30
    assert refused > kills  # with another seed, with and without overwriting
