"""Many scans and a server: a few requests at a time, the masks of one call each, and what ends the call."""

import importlib.util
import json
import shutil
import threading
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tensorflow as tf

import mcc_keras as mk
from mcc_keras.cli import main
from mcc_keras.errors import CaseError, DataError, EnvironmentFailure, OutputExistsError, UsageError, VolumeError
from mcc_keras.segmentation.fingerprint import fingerprint_run
from mcc_keras.segmentation.segment import segment
from mcc_keras.serving import refusals
from mcc_keras.serving.many import segment_many_remote
from mcc_keras.serving.over_grpc import GrpcServer
from mcc_keras.serving.refusals import Refusal

pytest.importorskip("grpc", reason="needs the extra `serving`")
pytest.importorskip("tensorflow_serving", reason="needs the extra `serving`")

specification = importlib.util.spec_from_file_location(
    "serving_fixture", Path(__file__).with_name("serving_fixture.py")
)
serving_fixture = importlib.util.module_from_spec(specification)
specification.loader.exec_module(serving_fixture)

SHAPE = (6, 7, 8)
PATIENCE = {"timeout_seconds": 600}  # of tests that wait for a real mask, however busy the machine is
NAMED = f"mcc_keras 9.9 {'b' * 64}"


@pytest.fixture
def scans(tmp_path):
    """Five scans without masks."""
    (tmp_path / "scans").mkdir()
    for number in range(5):
        write_scan(tmp_path / "scans" / f"case{number}.nii.gz", seed=number)
    return tmp_path / "scans"


def write_scan(path, seed, shape=SHAPE):
    voxels = np.random.default_rng(seed).normal(100, 30, shape).astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, np.diag([1, 1, 2, 1])), path)


def names_of(paths):
    return sorted(path.name for path in paths)


@pytest.fixture
def answered(monkeypatch, tmp_path):
    """Return a function that has requests answered without a server, by `answer(number)`, and returns their numbers.

    `answer` returns the text that names the model, or raises. The mask is always empty.
    """
    empty = np.zeros(SHAPE, np.uint8)
    mask = mk.write_mask(empty, tmp_path / "empty.nii", like=mk.Volume(empty, np.eye(4))).read_bytes()
    lock = threading.Lock()

    def answered(answer=lambda number: NAMED):
        numbers = []

        def segment_bytes(*_, **__):
            with lock:
                numbers.append(len(numbers))
                number = numbers[-1]
            return mask, answer(number)

        monkeypatch.setattr(GrpcServer, "segment_bytes", segment_bytes)
        monkeypatch.setattr(GrpcServer, "name_model", lambda *_: NAMED)
        return numbers

    return answered


def test_a_folder_of_scans_gives_the_masks_of_one_call_each(run, address, scans, tmp_path):
    done = segment_many_remote(address, scans, tmp_path / "out", **PATIENCE).raise_for_problems()
    assert str(done) == f"{tmp_path / 'out'}: 5 masks written"
    assert names_of((tmp_path / "out").iterdir()) == sorted(
        name for number in range(5) for name in (f"case{number}.nii.gz", f"case{number}.nii.gz.json")
    )
    for path in done.written:
        alone = segment(run, scans / path.name, tmp_path / f"alone_{path.name}")
        assert alone.read_bytes() == path.read_bytes()


def test_a_mask_says_which_model_of_which_server_gave_it(run, address, scans, tmp_path, capsys):
    (mask,) = segment_many_remote(address, scans / "case0.nii.gz", tmp_path / "out", **PATIENCE).written
    found = mk.explain(mask, runs=run.parent)
    assert found.origin.fingerprint == fingerprint_run(run)
    assert found.origin.version == mk.__version__
    assert found.inputs == {str(scans / "case0.nii.gz"): "unchanged"}
    assert [path.resolve() for path in found.runs.values()] == [run.resolve()]
    assert main(["explain", str(mask)]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["server"] == f"{address}, model segmenter"
    assert (lines["fingerprint"], lines["largest_component"]) == (fingerprint_run(run), "False")


def test_a_bad_scan_is_one_problem_and_the_others_go_on(address, scans, tmp_path):
    (scans / "case2.nii.gz").write_bytes((scans / "case2.nii.gz").read_bytes()[:-20])
    write_scan(scans / "case9.nii.gz", seed=9, shape=(*SHAPE, 3))
    reported, sources = [], [scans, tmp_path / "nowhere"]
    done = segment_many_remote(address, sources, tmp_path / "out", report=reported.append, **PATIENCE)
    assert (len(done.written), done.exit_code) == (4, 3)
    assert [type(problem) for problem in done.problems] == [CaseError, VolumeError, VolumeError]
    assert reported == list(done.problems)


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (Refusal("INVALID_ARGUMENT", "expected a head"), DataError),
        (Refusal("DEADLINE_EXCEEDED", ""), EnvironmentFailure),
        (Refusal("TOO_LARGE", ""), EnvironmentFailure),
        (Refusal("INTERNAL", "out of memory"), EnvironmentFailure),
    ],
)
def test_what_the_server_refuses_of_one_scan_costs_nothing_but_it(address, scans, tmp_path, answered, refusal, kind):
    def answer(number):
        if number == 1:
            raise refusal
        return NAMED

    answered(answer)
    done = segment_many_remote(address, scans, tmp_path / "out")
    assert ([type(problem) for problem in done.problems], len(done.written)) == ([kind], 4)
    assert done.exit_code == 3


@pytest.mark.parametrize("code", ["UNAVAILABLE", "NOT_FOUND", "UNAUTHENTICATED", "PERMISSION_DENIED"])
def test_a_server_that_goes_away_ends_the_call_at_once(address, scans, tmp_path, answered, monkeypatch, code):
    def answer(number):
        if number == 0:
            return NAMED
        raise Refusal(code, "")

    monkeypatch.setattr(refusals, "WAITS", ())
    for number in range(5, 25):
        shutil.copy(scans / "case0.nii.gz", scans / f"case{number:02}.nii.gz")
    numbers = answered(answer)
    with pytest.raises(EnvironmentFailure, match=f"{address}: "):
        segment_many_remote(address, scans, tmp_path / "out", in_flight=1)  # of two at once, either may come first
    assert len(numbers) <= 4
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 1
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("read", "write"))]


def test_so_many_requests_as_are_asked_for_are_in_flight(address, scans, tmp_path, answered):
    together, lock, alive, most = threading.Barrier(3, timeout=60), threading.Lock(), [0], [0]

    def answer(number):
        with lock:
            alive[0] += 1
            most[0] = max(most[0], alive[0])
        if number < 3:
            together.wait()  # which only three at once can pass
        with lock:
            alive[0] -= 1
        return NAMED

    answered(answer)
    assert len(segment_many_remote(address, scans, tmp_path / "out", in_flight=3).raise_for_problems().written) == 5
    assert most[0] == 3


def test_masks_of_the_same_call_are_skipped_without_sending_a_scan(address, scans, tmp_path, answered):
    segment_many_remote(address, scans / "case0.nii.gz", tmp_path / "out", **PATIENCE)
    again = segment_many_remote(address, scans / "case0.nii.gz", tmp_path / "out", overwrite=True, **PATIENCE)
    assert (again.written, len(again.skipped), again.exit_code) == ((), 1, 0)
    numbers = answered()
    segment_many_remote(address, scans, tmp_path / "more")
    (tmp_path / "more" / "case1.nii.gz").unlink()
    again = segment_many_remote(address, scans, tmp_path / "more")
    assert (names_of(again.written), len(again.skipped), again.exit_code) == (["case1.nii.gz"], 4, 0)
    assert len(segment_many_remote(address, scans, tmp_path / "more", overwrite=True).skipped) == 5
    assert len(numbers) == 6


@pytest.mark.parametrize("change", ["scan", "option", "mask", "model", "run", "no file"])
def test_any_other_mask_is_refused_and_replaced_on_request(address, scans, tmp_path, answered, change):
    options, out, mask = {}, tmp_path / "out", tmp_path / "out" / "case0.nii.gz"
    answered()
    segment_many_remote(address, scans / "case0.nii.gz", out)
    origin = out / "case0.nii.gz.json"
    if change == "scan":
        shutil.copy(scans / "case3.nii.gz", scans / "case0.nii.gz")
    elif change == "option":
        options = {"largest_component": True}
    elif change == "mask":
        shutil.copy(scans / "case1.nii.gz", mask)
    elif change == "model":
        origin.write_text(origin.read_text().replace("b" * 64, "a" * 64))
    elif change == "run":  # a mask of the same model and options that no server gave
        origin.write_text(json.dumps({**json.loads(origin.read_text()), "server": ""}))
    else:
        origin.unlink()
    before = mask.read_bytes()
    refused = segment_many_remote(address, scans / "case0.nii.gz", out, **options)
    assert [type(problem) for problem in refused.problems] == [OutputExistsError]
    assert (refused.exit_code, refused.written, mask.read_bytes()) == (2, (), before)
    done = segment_many_remote(address, scans / "case0.nii.gz", out, overwrite=True, **options)
    assert names_of(done.raise_for_problems().written) == ["case0.nii.gz"]
    assert len(segment_many_remote(address, scans / "case0.nii.gz", out, **options).skipped) == 1


def test_the_fingerprint_is_the_one_that_came_with_the_mask(address, scans, tmp_path, answered):
    answered(lambda number: f"mcc_keras 9.9 {str(number) * 64}")
    segment_many_remote(address, scans, tmp_path / "out", in_flight=1)
    for number in range(5):
        origin = json.loads((tmp_path / "out" / f"case{number}.nii.gz.json").read_text())
        assert (origin["version"], origin["fingerprint"], origin["runs"]) == ("9.9", str(number) * 64, {})


@pytest.mark.parametrize("text", [None, "", "mcc_keras 0.1.0", "mcc_keras \x1b[2J " + "a" * 64, 7])
def test_a_server_that_names_no_model_gives_a_mask_without_a_file_about_it(address, scans, tmp_path, answered, text):
    answered(lambda number: text)
    done = segment_many_remote(address, scans / "case0.nii.gz", tmp_path / "out").raise_for_problems()
    assert names_of((tmp_path / "out").iterdir()) == ["case0.nii.gz"]
    assert nib.load(done.written[0]).header["descrip"].item() == b""


def test_a_model_that_takes_voxels_gives_masks_and_none_of_them_is_known_again(scans, tmp_path):
    @tf.function(
        input_signature=(
            tf.TensorSpec((None, None, None, 1), tf.float32, name="image"),
            tf.TensorSpec((4, 4), tf.float32, name="affine"),
        )
    )
    def threshold(image, affine):
        return {"mask": tf.cast(image[..., 0] > 100 * affine[3, 3], tf.uint8)}

    tf.saved_model.save(tf.Module(), str(tmp_path / "served" / "1"), signatures={"serving_default": threshold})
    with serving_fixture.served(tmp_path / "served") as address:
        done = segment_many_remote(address, scans, tmp_path / "out").raise_for_problems()
        assert names_of((tmp_path / "out").iterdir()) == names_of(done.written)
        refused = segment_many_remote(address, scans, tmp_path / "out")
        assert refused.exit_code == 2 and "a model without a fingerprint" in str(refused.problems[0])
        again = segment_many_remote(address, scans, tmp_path / "out", overwrite=True)
    for path in again.written:
        assert np.array_equal(nib.load(path).dataobj, np.asarray(nib.load(scans / path.name).dataobj) > 100)


def test_shards_share_the_scans_over_rest(exported, scans, tmp_path):
    with serving_fixture.served_over_rest(exported) as url:
        parts = [segment_many_remote(url, scans, tmp_path / "out", shard=(k, 2), **PATIENCE).written for k in (1, 2)]
        assert len(segment_many_remote(url, scans, tmp_path / "out", **PATIENCE).skipped) == 5
    assert [names_of(part) for part in parts] == [
        ["case0.nii.gz", "case2.nii.gz", "case4.nii.gz"],
        ["case1.nii.gz", "case3.nii.gz"],
    ]


def test_nothing_is_written_where_a_scan_lies(address, scans):
    before = names_of(scans.iterdir())
    with pytest.raises(UsageError, match="must not be an input"):
        segment_many_remote(address, scans, scans, overwrite=True)
    assert names_of(scans.iterdir()) == before


@pytest.mark.parametrize("in_flight", [0, -1, 1.5, True])
def test_a_number_of_requests_that_is_none_is_usage(in_flight, tmp_path):
    with pytest.raises(UsageError, match="`in_flight` must be a whole number above 0"):
        segment_many_remote("localhost:8500", "scans", tmp_path / "out", in_flight=in_flight)


def segment_by_command(capsys, *arguments):
    """Return the exit code, what is on stdout, and the lines on stderr."""
    code = main(["segment", *map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err.splitlines()


def test_the_command_writes_a_line_for_each_bad_scan(address, scans, tmp_path, capsys):
    bad, out = scans / "case1.nii.gz", tmp_path / "masks"
    bad.write_bytes(bad.read_bytes()[:-9])
    command = ["--server", address, scans, "-o", out, "--timeout-seconds", 600]
    code, printed, lines = segment_by_command(capsys, *command, "--in-flight", 3)
    assert (code, printed, len(lines)) == (3, f"{out}: 4 masks written, 1 not: {bad}\n", 1)
    assert lines[0].startswith(f"{bad}: expected a whole gzip stream")
    code, printed, lines = segment_by_command(capsys, *command, "--shard", "1/2")
    assert (code, printed, lines) == (0, f"{out}: 0 masks written, 3 there already\n", [])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--server", "localhost:1", "-o", "masks", "--bids"], "`--bids` cannot be used with `--server`"),
        (["--server", "localhost:1", "-o", "masks", "--in-flight", "0"], "`--in-flight` must be"),
        (
            ["--server", "localhost:1", "-o", "mask.nii", "--in-flight", "3"],
            "with a folder as output, take `--in-flight`",
        ),
        (["--server", "localhost:1", "-o", "mask.nii", "--shard", "1/2"], "with a folder as output, take `--shard`"),
        (["--run", "run", "-o", "masks", "--in-flight", "3"], "`--in-flight` cannot be used with `--run`"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(scans, capsys, arguments, named):
    code, _, lines = segment_by_command(capsys, scans, *arguments)
    assert (code, len(lines)) == (2, 1)
    assert named in lines[0]


def test_a_port_where_nobody_listens_is_one_line_before_any_scan(scans, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(refusals, "WAITS", ())
    command = ["--server", "127.0.0.1:1", scans, "-o", tmp_path / "masks"]
    code, printed, lines = segment_by_command(capsys, *command)
    assert (code, printed, len(lines)) == (5, "", 1)
    assert "no model server answers" in lines[0]
    assert not (tmp_path / "masks").exists()
