import copy
import json
import shutil
import threading
import weakref

import keras
import nibabel as nib
import numpy as np
import pytest

import mcc_keras as mk
from mcc_keras.errors import (
    CaseError,
    EnvironmentFailure,
    MemoryFailure,
    OutputExistsError,
    RunError,
    UsageError,
    VolumeError,
)
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.runs.run import MODEL
from mcc_keras.segmentation import line, outputs
from mcc_keras.segmentation.many import segment_many
from mcc_keras.segmentation.memory import enough_memory
from mcc_keras.segmentation.segment import predict, segment
from mcc_keras.segmentation.segmenter import Segmenter

SHAPE = (6, 7, 8)


@pytest.fixture(scope="module")
def run(write_run, tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("many") / "run", threshold_network(), box()).folder


def box():
    return Preprocessing(size=SHAPE, clip_percentiles=None, normalize="none")


def threshold_network(above=100.0):
    inputs = keras.Input((None, None, None, 1))
    layer = keras.layers.Conv3D(1, 1, activation="sigmoid")
    model = keras.Model(inputs, layer(inputs))
    layer.set_weights([np.ones((1, 1, 1, 1, 1)), np.array([-above])])
    return model


@pytest.fixture
def scans(tmp_path):
    """Five scans without masks."""
    (tmp_path / "scans").mkdir()
    for number in range(5):
        voxels = np.random.default_rng(number).integers(0, 200, SHAPE).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, np.diag([1, 1, 2, 1])), tmp_path / "scans" / f"case{number}.nii.gz")
    return tmp_path / "scans"


def voxels_of(path):
    return np.asarray(nib.load(path).dataobj)


def names_of(paths):
    return sorted(path.name for path in paths)


def test_a_folder_of_scans_gives_a_folder_of_masks_with_their_names(run, scans, tmp_path):
    done = segment_many(run, scans, tmp_path / "out").raise_for_problems()
    assert names_of(done.written) == [f"case{number}.nii.gz" for number in range(5)]
    assert names_of((tmp_path / "out").iterdir()) == sorted(
        name for number in range(5) for name in (f"case{number}.nii.gz", f"case{number}.nii.gz.json")
    )
    for path in done.written:
        assert np.array_equal(voxels_of(path), voxels_of(scans / path.name) >= 100)
    assert str(done) == f"{tmp_path / 'out'}: 5 masks written"


def test_many_masks_are_those_of_one_call_each(run, scans, tmp_path):
    done = segment_many(run, scans, tmp_path / "out", largest_component=True)
    for path in done.written:
        alone = segment(run, scans / path.name, tmp_path / f"alone_{path.name}", largest_component=True)
        assert alone.read_bytes() == path.read_bytes()


def test_a_bad_scan_is_one_problem_and_the_others_go_on(run, scans, tmp_path):
    (scans / "case2.nii.gz").write_bytes((scans / "case2.nii.gz").read_bytes()[:-20])
    nib.save(nib.Nifti1Image(np.zeros((*SHAPE, 3), np.int16), np.eye(4)), scans / "case9.nii.gz")
    reported = []
    sources = [scans, tmp_path / "nowhere", scans / "missing.nii.gz"]
    done = segment_many(run, sources, tmp_path / "out", report=reported.append)
    assert len(done.written) == 4
    assert [type(problem) for problem in done.problems] == [CaseError, VolumeError, VolumeError, VolumeError]
    assert reported == list(done.problems)
    assert {"case2", "case9", "missing", "nowhere"} == {
        name for name in ("case2", "case9", "missing", "nowhere") for each in done.problems if name in str(each)
    }
    assert done.exit_code == 3
    assert not (tmp_path / "out" / "case2.nii.gz").exists()


def test_scans_of_another_number_of_channels_are_problems(write_run, scans, tmp_path):
    inputs = keras.Input((None, None, None, 2))
    model = keras.Model(inputs, keras.layers.Conv3D(1, 1, activation="sigmoid")(inputs))
    run = write_run(tmp_path / "two", model, box()).folder
    (tmp_path / "list.txt").write_text("scans/case0.nii.gz\tscans/case1.nii.gz\nscans/case2.nii.gz\n# end\n\n")
    done = segment_many(run, tmp_path / "list.txt", tmp_path / "out")
    assert names_of(done.written) == ["case0.nii.gz"]
    assert "case2.nii.gz" in str(done.problems[0])
    (tmp_path / "three.txt").write_text("\t".join(3 * ["scans/case0.nii.gz"]))
    with pytest.raises(CaseError, match=r"expected 2 channels \(image0, image1\), found 3"):
        segment_many(run, tmp_path / "three.txt", tmp_path / "out").raise_for_problems()


def test_masks_of_the_same_call_are_skipped_without_the_network(run, scans, tmp_path, monkeypatch):
    segment_many(run, scans, tmp_path / "out")
    (tmp_path / "out" / "case1.nii.gz").unlink()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.nii.gz")}
    again = segment_many(run, scans, tmp_path / "out")
    assert (names_of(again.written), len(again.skipped), again.exit_code) == (["case1.nii.gz"], 4, 0)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    monkeypatch.setattr(line, "_segment_here", None)
    assert len(segment_many(run, scans, tmp_path / "out", overwrite=True).skipped) == 5


@pytest.mark.parametrize("change", ["scan", "option", "mask", "run", "no file", "stranger"])
def test_any_other_mask_is_refused_and_replaced_on_request(run, scans, tmp_path, change):
    mine = shutil.copytree(run, tmp_path / "run")
    options, out = {}, tmp_path / "out"
    segment_many(mine, [scans / "case0.nii.gz", scans / "case1.nii.gz"], out)
    if change == "scan":
        shutil.copy(scans / "case3.nii.gz", scans / "case0.nii.gz")
    elif change == "option":
        options = {"largest_component": True}
    elif change == "mask":
        shutil.copy(out / "case1.nii.gz", out / "case0.nii.gz")
    elif change == "run":
        threshold_network(50.0).save(mine / MODEL)
    elif change == "no file":
        (out / "case0.nii.gz.json").unlink()
    else:
        (out / "case0.nii.gz").write_bytes(b"mine")
    before = (out / "case0.nii.gz").read_bytes()
    refused = segment_many(mine, scans / "case0.nii.gz", out, **options)
    assert [type(problem) for problem in refused.problems] == [OutputExistsError]
    assert (refused.exit_code, refused.written) == (2, ())
    assert (out / "case0.nii.gz").read_bytes() == before
    done = segment_many(mine, scans / "case0.nii.gz", out, overwrite=True, **options)
    assert names_of(done.raise_for_problems().written) == ["case0.nii.gz"]
    assert not segment_many(mine, scans / "case0.nii.gz", out, **options).problems


def test_shards_share_the_scans(run, scans, tmp_path):
    parts = [segment_many(run, scans, tmp_path / "out", shard=(k, 2)).written for k in (1, 2)]
    assert [names_of(part) for part in parts] == [
        ["case0.nii.gz", "case2.nii.gz", "case4.nii.gz"],
        ["case1.nii.gz", "case3.nii.gz"],
    ]
    assert segment_many(run, scans, tmp_path / "out", shard=(8, 8)).written == ()
    for shard in ((0, 2), (3, 2), (1,)):
        with pytest.raises(UsageError, match="`shard` must be"):
            segment_many(run, scans, tmp_path / "out", shard=shard)


def test_nothing_is_written_where_a_scan_lies(run, scans, tmp_path):
    before = names_of(scans.iterdir())
    (tmp_path / "link").symlink_to(scans)
    for output in (scans, tmp_path, tmp_path / "link", scans / ".." / "scans"):
        with pytest.raises(UsageError, match="must not be an input"):
            segment_many(run, [scans / "case0.nii.gz", scans], output, overwrite=True)
    assert names_of(scans.iterdir()) == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputExistsError, match="found a file"):
        segment_many(run, scans, tmp_path / "file", overwrite=True)


def test_two_scans_of_one_name_are_refused_before_anything_is_written(run, scans, tmp_path):
    other = shutil.copytree(scans, tmp_path / "other")
    with pytest.raises(UsageError, match=r"two for .*case0\.nii\.gz: .*scans.*case0.*other.*case0"):
        segment_many(run, [scans, other], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_not_finished_and_an_empty_list_are_refused(run, scans, tmp_path):
    with pytest.raises(RunError):
        segment_many(scans, scans, tmp_path / "out")
    with pytest.raises(CaseError, match="expected scans, found none"):
        segment_many(run, [], tmp_path / "out")


def test_a_full_disk_ends_the_call(run, scans, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(outputs, "write_mask", full)
    with pytest.raises(EnvironmentFailure, match="No space left"):
        segment_many(run, scans, tmp_path / "out")


def test_an_interrupt_leaves_whole_masks_and_the_same_call_goes_on(run, scans, tmp_path, monkeypatch):
    predicted = []

    def interrupted(segmenter, volume, **options):
        predicted.append(volume.path)
        if len(predicted) == 4:
            raise KeyboardInterrupt
        return predict(segmenter, volume, **options)

    monkeypatch.setattr(line, "predict", interrupted)
    with pytest.raises(KeyboardInterrupt):
        segment_many(run, scans, tmp_path / "out")
    monkeypatch.undo()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("read", "write"))]
    assert len(list((tmp_path / "out").iterdir())) == 6
    again = segment_many(run, scans, tmp_path / "out").raise_for_problems()
    assert (len(again.written), len(again.skipped)) == (2, 3)


def test_memory_that_does_not_suffice_is_the_problem_of_one_scan(run, scans, tmp_path, monkeypatch):
    def exhausted(segmenter, volume, **options):
        with enough_memory(segmenter, volume):
            if volume.path.name == "case0.nii.gz":
                raise MemoryError
        return predict(segmenter, volume, **options)

    monkeypatch.setattr(line, "predict", exhausted)
    done = segment_many(run, [scans / "case0.nii.gz", scans / "case1.nii.gz"], tmp_path / "out")
    assert "case0.nii.gz: expected memory for a scan of 6 × 7 × 8 voxels" in str(done.problems[0])
    assert isinstance(done.problems[0], MemoryFailure)
    assert str(copy.copy(done.problems[0])) == str(done.problems[0])
    assert (names_of(done.written), done.exit_code) == (["case1.nii.gz"], 3)
    assert str(done).endswith("1 not: " + str(scans / "case0.nii.gz"))


@pytest.mark.parametrize("step", ["read_image", "clean"])
def test_so_is_memory_that_ends_beside_the_network(run, scans, tmp_path, monkeypatch, step):
    work, calls = getattr(line, step), []

    def exhausted(*args, **options):
        calls.append(args)
        if len(calls) == 1:
            raise MemoryError
        return work(*args, **options)

    monkeypatch.setattr(line, step, exhausted)
    done = segment_many(run, [scans / "case0.nii.gz", scans / "case1.nii.gz"], tmp_path / "out")
    assert "expected memory for the scan and its mask, found too little" in str(done.problems[0])
    assert len(done.written) == 1


def test_three_scans_at_most_are_in_memory(run, scans, tmp_path, monkeypatch):
    alive, most, lock, read = [0], [0], threading.Lock(), line._read

    def count(change):
        with lock:
            alive[0] += change
            most[0] = max(most[0], alive[0])

    def counted(job):
        hashes, volume = read(job)
        count(1)
        weakref.finalize(volume.array, count, -1)
        return hashes, volume

    monkeypatch.setattr(line, "_read", counted)
    for number in range(5, 15):
        shutil.copy(scans / "case0.nii.gz", scans / f"case{number:02}.nii.gz")
    assert len(segment_many(run, scans, tmp_path / "out").written) == 15
    assert most[0] <= 3 and alive[0] == 0


def test_probabilities_stand_beside_the_mask(run, scans, tmp_path):
    done = segment_many(run, scans / "case0.nii.gz", tmp_path / "out", probability=True)
    assert names_of((tmp_path / "out").iterdir()) == [
        "case0.nii.gz", "case0.nii.gz.json", "case0_probability.nii.gz"
    ]  # fmt: skip
    found = nib.load(tmp_path / "out" / "case0_probability.nii.gz")
    segmenter = Segmenter(threshold_network(), box())
    image = voxels_of(scans / "case0.nii.gz")[..., None].astype("f4")
    expected = segmenter.answer(image, nib.load(scans / "case0.nii.gz").affine.astype("f4"))["probability"]
    np.testing.assert_allclose(found.get_fdata(), expected, atol=0.5 / 65535 + 1e-7)
    origin = json.loads((tmp_path / "out" / "case0.nii.gz.json").read_text())
    assert list(origin["outputs"]) == ["case0.nii.gz", "case0_probability.nii.gz"]
    assert len(done.written) == 1
    refused = segment_many(run, scans / "case0.nii.gz", tmp_path / "out")
    assert "(probability=True)" in str(refused.problems[0])


def test_the_public_function_is_this_one():
    assert mk.segment_many is segment_many
