"""A scan that the memory does not hold is one typed error, which names windows that it holds."""

import dataclasses
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import mcc_keras as mk
from mcc_keras.errors import MemoryFailure, UsageError
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.runs.run import RECIPE, read_run
from mcc_keras.runs.window import Window
from mcc_keras.segmentation import memory
from mcc_keras.segmentation.memory import enough_memory, least_bytes, live_bytes
from mcc_keras.segmentation.origin import read_origin
from mcc_keras.segmentation.segment import parse_window, predict
from mcc_keras.segmentation.segmenter import Ensemble, Segmenter
from mcc_keras.volumes import Volume, read_volume, write_volume

SHAPE = (40, 24, 16)


def network(width=8):
    inputs = keras.Input((None, None, None, 1))
    x = keras.layers.Conv3D(width, 3, padding="same", activation="relu")(inputs)
    x = keras.layers.UpSampling3D(4)(keras.layers.MaxPooling3D(4)(x))
    return keras.Model(inputs, keras.layers.Conv3D(1, 1, activation="sigmoid")(x))


@pytest.fixture(scope="module")
def model():
    return network()


def segmenter(model, *, window=(16, 16, 16), size=SHAPE, **options):
    window = Window(size=window) if window else None
    return Segmenter(model, Preprocessing(size=size, clip_percentiles=None), window=window, **options)


def volume(shape=SHAPE):
    image = np.random.default_rng(0).normal(size=(*shape, 1)).astype(np.float32)
    return Volume(image, np.eye(4), "scan.nii")


@pytest.fixture
def little(monkeypatch):
    """Return a function that leaves so many bytes free."""

    def leave(free):
        monkeypatch.setattr(memory, "free_memory", lambda **_: free)
        monkeypatch.setattr(memory, "held_memory", lambda: 0)
        monkeypatch.setattr(memory, "GENEROUS", 1 << 20)

    return leave


def exhausted(*_):
    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")


def test_the_network_needs_the_largest_neighboring_tensors(model):
    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.float32, (1, 16, 16, 16, 1))
        features = tf.nn.relu(tf.nn.conv3d(image, tf.zeros((3, 3, 3, 1, 8)), [1] * 5, "SAME") + 1.0)
        tf.nn.max_pool3d(features, 4, 4, "SAME")
    assert live_bytes(graph) == 4 * 8 * (16**3 + 4**3)


def test_the_least_grows_with_the_window_the_flips_and_the_probabilities(model):
    scan = volume()
    small, large = (least_bytes(segmenter(model, window=(n, n, n)), scan) for n in (8, 16))
    flipped = least_bytes(segmenter(model, flip_axes=(0, 1)), scan)
    assert small < large < flipped
    assert least_bytes(segmenter(model), scan, window=(8, 8, 8)) == small
    assert least_bytes(segmenter(model), scan, probability=True) == large + 4 * np.prod(SHAPE)
    boxes = 4 * np.prod(SHAPE) + 4 * 16 * 24 * 16 + np.prod(SHAPE)
    assert large > boxes + 4 * 8 * 16**3


def test_a_scan_of_native_size_has_the_box_of_its_spacing(model):
    scan, near = volume(), segmenter(model, size="native")
    coarse = Segmenter(model, Preprocessing(size="native", spacing_mm=2, clip_percentiles=None), window=near.window)
    difference = least_bytes(near, scan) - least_bytes(coarse, scan)
    assert difference == 4 * (40 * 24 * 16 - 20 * 12 * 8) + 4 * 16 * (24 * 16 - 16 * 16)  # boxes, and rows of them


def test_what_does_not_fit_is_refused_before_the_work_with_a_window_that_does(model, monkeypatch, little):
    scan, mine = volume(), segmenter(model)
    little(least_bytes(mine, scan, window=(8, 8, 8)))
    monkeypatch.setattr(mine, "segment", None)
    text = (
        r"scan.nii: expected memory for a scan of 40 × 24 × 16 voxels in windows of 16 × 16 × 16, found about 0.0 GiB"
        r" needed and 0.0 GiB free. Give smaller windows with window_size=\(8, 8, 8\), or use a machine"
    )
    with pytest.raises(MemoryFailure, match=text):
        predict(mine, scan)
    predict(segmenter(model, window=(8, 8, 8)), scan)
    little(1000)
    with pytest.raises(MemoryFailure, match=r"free\. Use a machine with more memory"):
        predict(mine, scan)


def test_what_tensorflow_keeps_of_the_scan_before_is_free(model, monkeypatch, little):
    little(1000)
    monkeypatch.setattr(memory, "held_memory", lambda: 1 << 30)
    predict(segmenter(model), volume())


def test_nothing_is_traced_where_memory_is_plenty(model, monkeypatch):
    monkeypatch.setattr(memory, "least_bytes", None)
    predict(segmenter(model), volume())


@pytest.mark.parametrize("error", [exhausted, lambda *_: bytearray(1 << 62)])
def test_memory_that_ends_meanwhile_is_the_same_error(model, monkeypatch, error):
    mine = segmenter(model)
    monkeypatch.setattr(mine, "segment", error)
    with pytest.raises(MemoryFailure, match=r"16 × 16 × 16, found too little. .* window_size=\(8, 8, 8\)") as found:
        predict(mine, volume())
    assert found.value.__cause__ is not None
    assert found.value.exit_code == 5


def test_other_errors_stay_what_they_are(model):
    with pytest.raises(KeyError), enough_memory(segmenter(model), volume()):
        raise KeyError


def test_a_whole_box_has_no_smaller_window(model):
    for axes, way_out in (((0,), "--flips none"), ((), "Use a machine with more memory")):
        mine = segmenter(model, window=None, flip_axes=axes)
        text = f"in a box of 40 × 24 × 16, found too little. .*{way_out}"
        with pytest.raises(MemoryFailure, match=text), enough_memory(mine, volume()):
            exhausted()


def test_all_networks_of_an_ensemble_count(model):
    pair = Ensemble([segmenter(model), segmenter(model, window=(8, 8, 8))])
    scan = volume()
    assert least_bytes(pair, scan) > least_bytes(segmenter(model), scan)
    with pytest.raises(MemoryFailure, match="in windows of 16 × 16 × 16 and 8 × 8 × 8"), enough_memory(pair, scan):
        exhausted()


LIMITED = """
import resource, warnings
warnings.filterwarnings("ignore")
import mcc_keras as mk
import keras, numpy as np
from mcc_keras.errors import MemoryFailure
from mcc_keras.runs.window import Window
from mcc_keras.segmentation.segment import predict
from mcc_keras.segmentation.segmenter import Segmenter
from mcc_keras.volumes import Volume

inputs = keras.Input((None, None, None, 1))
model = keras.Model(inputs, keras.layers.Conv3D(1, 1, activation="sigmoid")(keras.layers.Conv3D(64, 1)(inputs)))
segmenter = Segmenter(model, mk.Preprocessing(size=128, clip_percentiles=None), window=Window(size=128))
image = np.random.default_rng(0).normal(size=(128, 128, 128, 1)).astype("f4")
used = 4096 * int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (used + (400 << 20), -1))
try:
    predict(segmenter, Volume(image, np.eye(4), "scan.nii"))
except MemoryFailure as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="no limit of memory for one process")
def test_a_process_with_a_limit_says_so():
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True)
    assert "scan.nii: expected memory for a scan of 128 × 128 × 128 voxels" in done.stdout
    assert "found about 0.5 GiB needed" in done.stdout
    assert "window_size=(" in done.stdout


def test_windows_are_those_of_runs_with_windows(write_run, model, tmp_path):
    run = write_run(tmp_path / "run", model, Preprocessing(size=SHAPE))
    assert parse_window([run], None) is None
    with pytest.raises(UsageError, match="`window_size` must be left out for a run that sees its whole box"):
        mk.segment(run, "scan.nii.gz", tmp_path / "mask.nii.gz", window_size=8)


def test_smaller_windows_are_kept_beside_the_mask_and_sizes_that_no_network_takes_are_refused(
    write_run, model, tmp_path
):
    run = write_run(tmp_path / "run", model, Preprocessing(size=SHAPE)).folder
    recipe = dataclasses.replace(read_run(run).recipe, window=Window(size=16))
    (run / RECIPE).write_text(recipe.to_json())
    write_volume(volume().array[..., 0], tmp_path / "scan.nii", affine=np.eye(4))
    with pytest.raises(
        UsageError, match=r"Received: window_size=\(9, 9, 9\). The nearest that works is window_size=\(8"
    ):
        mk.segment(run, tmp_path / "scan.nii", tmp_path / "mask.nii", window_size=9)
    masks = [mk.segment(run, tmp_path / "scan.nii", tmp_path / f"{n}.nii", window_size=n) for n in (None, 8)]
    assert [read_origin(mask).options.get("window_size") for mask in masks] == [None, [8, 8, 8]]
    small = Segmenter(model, Preprocessing(size=SHAPE), window=Window(size=8), flip_axes=recipe.flip_axes)
    expected = small.segment(volume().array, np.eye(4, dtype=np.float32))["mask"]
    assert np.array_equal(read_volume(masks[1]).array, expected)
