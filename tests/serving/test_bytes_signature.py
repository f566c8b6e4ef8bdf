"""`serving_bytes` of an exported model: the mask that `segment` writes, from the files alone; errors one by one."""

import gzip

import keras
import nibabel as nib
import numpy as np
import pytest
import tensorflow as tf
from nifti_files import AXES, patch, save

import mcc_keras
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.segmentation.fingerprint import fingerprint_run
from mcc_keras.segmentation.segment import segment
from mcc_keras.segmentation.segmenter import Segmenter, load_segmenter
from mcc_keras.serving.bytes_signature import BytesSignature
from mcc_keras.serving.export import export_saved_model

SHAPE = (13, 10, 7)


def network(channels):
    keras.utils.set_random_seed(5)
    layers = keras.layers
    inside = layers.Conv3D(4, 3, padding="same", activation="tanh")
    outside = layers.Conv3D(1, 3, padding="same", activation="sigmoid")
    return keras.Sequential([keras.Input((16, 16, 16, channels)), inside, outside])


def scan(path, *, seed=1, shape=SHAPE, **options):
    array = np.random.default_rng(seed).normal(100, 30, shape).astype(np.int16)
    return save(path, array, **options)


@pytest.fixture(scope="module")
def run(write_run, tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "two", network(2), Preprocessing(size=16)).folder


@pytest.fixture(scope="module")
def version(run, tmp_path_factory):
    return export_saved_model(run, tmp_path_factory.mktemp("served") / "organ")


@pytest.fixture(scope="module")
def served(version):
    loaded = tf.saved_model.load(str(version))

    def ask(*scans):
        found = loaded.signatures["serving_bytes"](scan_bytes=tf.constant([[f.read_bytes() for f in s] for s in scans]))
        return {name: list(values.numpy()) for name, values in found.items()}

    ask.signatures = loaded.signatures
    return ask


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    return [scan(folder / f"{index}.nii.gz", seed=index) for index in range(2)]


def test_the_mask_is_the_file_that_segment_writes_and_the_model_is_named(run, served, files, tmp_path):
    answer = served(files)
    assert answer["mask_bytes"] == [segment(run, files, tmp_path / "here.nii").read_bytes()]
    assert answer["error"] == [b""]
    assert answer["fingerprint"] == [f"mcc_keras {mcc_keras.__version__} {fingerprint_run(run)}".encode()]


def test_one_file_may_hold_all_channels(run, served, files, tmp_path):
    both = np.stack([np.asarray(nib.load(path).dataobj) for path in files], axis=-1)
    nib.save(nib.Nifti1Image(both, nib.load(files[0]).affine), tmp_path / "both.nii")
    answer = served([tmp_path / "both.nii"])
    assert answer["mask_bytes"] == [segment(run, tmp_path / "both.nii", tmp_path / "here.nii").read_bytes()]


def test_of_several_scans_a_bad_one_has_an_error_and_the_others_their_masks(run, served, files, tmp_path):
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(files[0].read_bytes()[:-20])
    wrong = tmp_path / "wrong.nii.gz"
    wrong.write_bytes(gzip.compress(b"no scan"))
    answer = served(files, [files[0], cut], [wrong, files[1]], files[::-1])
    assert [bool(error) for error in answer["error"]] == [False, True, True, False]
    assert answer["error"][1].startswith(b"channel 2: expected a gzip stream of 2172 bytes")
    assert answer["error"][2].startswith(b"channel 1: expected a NIfTI header")
    assert answer["mask_bytes"][1:3] == [b"", b""]
    assert answer["mask_bytes"][0] == segment(run, files, tmp_path / "here.nii").read_bytes()
    assert answer["mask_bytes"][3] == segment(run, files[::-1], tmp_path / "there.nii").read_bytes()


def test_the_only_scan_that_is_refused_is_an_invalid_argument(served, files, tmp_path):
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(files[0].read_bytes()[:100])
    with pytest.raises(tf.errors.InvalidArgumentError, match="assertion failed: .*channel 1: expected"):
        served([cut, files[1]])


@pytest.mark.parametrize("number", [3, 4])
def test_another_number_of_files_than_channels_is_refused(served, files, number):
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=f"expected 2 files, one for each channel.* found {number}"
    ):
        served([files[0]] * number)


def test_channels_on_other_grids_are_refused_as_read_scan_does(served, files, tmp_path):
    moved, wide = AXES.copy(), AXES.copy()
    moved[0, 3], wide[0, 3] = 0.24, 0.4  # of 0.5 mm
    near = scan(tmp_path / "near.nii", affine=moved)
    far = scan(tmp_path / "far.nii", affine=wide)
    short = scan(tmp_path / "short.nii", shape=(13, 10, 6))
    answer = served([files[0], near], [files[0], far], [files[0], short])
    assert answer["error"] == [
        b"",
        b"channel 2: expected the place of channel 1, found corners 0.8 voxels from it",
        b"channel 2: expected the shape [13 10 7] of channel 1, found [13 10 6]",
    ]


def test_no_scan_is_no_mask(served):
    answer = served.signatures["serving_bytes"](scan_bytes=tf.zeros((0, 2), tf.string))
    assert {name: values.shape.as_list() for name, values in answer.items()} == {
        name: [0] for name in ("mask_bytes", "fingerprint", "error")
    }


def test_a_choice_of_the_run_is_a_choice_of_the_graph(tmp_path):
    path = patch(scan(tmp_path / "a.nii"), qoffset_x=3.0)
    segmenter = Segmenter(network(1), Preprocessing(size=16))
    data = tf.constant([[path.read_bytes()]])
    for choice in ("sform", "qform"):
        signature = BytesSignature(segmenter, reading={"affine": choice, "nonfinite": "zero"}, fingerprint="f")
        assert signature.answer(data)["error"].numpy() == [b""]
    with pytest.raises(tf.errors.InvalidArgumentError, match="expected sform and qform to agree"):
        BytesSignature(segmenter, reading={}, fingerprint="f").answer(data)


def test_the_box_gives_its_probabilities(run, served):
    box = np.random.default_rng(0).normal(0, 1, (16, 16, 16, 2)).astype(np.float32)
    found = served.signatures["serving_preprocessed"](box=tf.constant(box))["probability"]
    expected = load_segmenter(run).predict(box)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
