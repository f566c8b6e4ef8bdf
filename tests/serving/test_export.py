"""The exported SavedModel: the live model's masks, without mcc_keras, published whole or not at all."""

import json
import os
import resource
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from mcc_keras import errors
from mcc_keras.locks import owned
from mcc_keras.models import DenseVNet
from mcc_keras.preprocessing import Preprocessing
from mcc_keras.segmentation.segmenter import Segmenter, load_segmenter
from mcc_keras.serving import saved_model
from mcc_keras.serving.export import export_saved_model
from mcc_keras.task import Task

OBLIQUE = np.float32([[0, -0.9, 0.3, 10], [1.2, 0, 0, -20], [0, 0.4, 2.5, 5], [0, 0, 0, 1]])


def network(channels=1, classes=1, *layers):
    keras.utils.set_random_seed(5)
    head = keras.layers.Conv3D(classes, 3, padding="same", activation="softmax" if classes > 1 else "sigmoid")
    first = keras.layers.Conv3D(4, 3, padding="same", activation="tanh")
    return keras.Sequential([keras.Input((16, 16, 16, channels)), first, *layers, head])


def image_of(shape, seed=1):
    return np.random.default_rng(seed).normal(50, 20, shape).astype(np.float32)


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter(network(), Preprocessing(size=16), flip_axes=(0,))


@pytest.fixture(scope="module")
def version(segmenter, tmp_path_factory):
    return export_saved_model(segmenter, tmp_path_factory.mktemp("served") / "organ")


def test_the_mask_of_a_process_without_mcc_keras_is_the_live_mask(segmenter, version, tmp_path):
    image = image_of((13, 10, 7, 1))
    np.savez(tmp_path / "scan.npz", image=image, affine=OBLIQUE)
    program = """
import sys
import numpy as np
import tensorflow as tf
scan = {name: tf.constant(array) for name, array in np.load(sys.argv[2]).items()}
signatures = tf.saved_model.load(sys.argv[1]).signatures
mask = signatures["serving_default"](**scan)
np.savez(sys.argv[3], alone=mask["mask"], **signatures["serving_probability"](**scan))
assert not any(name.startswith("mcc_keras") for name in sys.modules)
"""
    paths = [str(path) for path in (version, tmp_path / "scan.npz", tmp_path / "answer.npz")]
    subprocess.run([sys.executable, "-c", program, *paths], check=True, cwd=tmp_path, capture_output=True)
    live = segmenter.answer(image, OBLIQUE)
    with np.load(tmp_path / "answer.npz") as answer:
        assert answer["mask"].dtype == np.uint8 and set(np.unique(answer["mask"])) == {0, 1}
        np.testing.assert_array_equal(answer["mask"], live["mask"])
        np.testing.assert_array_equal(answer["alone"], live["mask"])
        np.testing.assert_allclose(answer["probability"], live["probability"], rtol=0, atol=1e-6)


def test_names_types_and_shapes_of_the_signature_are_the_promised_ones(version):
    signatures = tf.saved_model.load(str(version)).signatures
    mask, probability = {"mask": (3, tf.uint8)}, {"probability": (4, tf.float32)}
    for name, expected in {"serving_default": mask, "serving_probability": mask | probability}.items():
        inputs = signatures[name].structured_input_signature[1]
        found = {key: (spec.shape.as_list(), spec.dtype) for key, spec in inputs.items()}
        outputs = {key: (spec.shape.rank, spec.dtype) for key, spec in signatures[name].structured_outputs.items()}
        assert found == {"image": ([None, None, None, 1], tf.float32), "affine": ([4, 4], tf.float32)}
        assert outputs == expected


@pytest.mark.parametrize("shape", [(9, 8, 7), (1, 9, 8, 7, 1), (9, 8, 7, 2)])
def test_a_wrong_rank_or_number_of_channels_is_an_error(version, shape):
    signature = tf.saved_model.load(str(version)).signatures["serving_default"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="not compatible with expected shape"):
        signature(image=tf.ones(shape), affine=tf.eye(4))


def test_versions_count_on_from_the_highest_and_nothing_there_is_touched(segmenter, tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "note").write_text("mine")
    (tmp_path / "old").mkdir()
    assert export_saved_model(segmenter, tmp_path) == tmp_path / "8"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["7", "8", "old"]
    assert (tmp_path / "7" / "note").read_text() == "mine"


def test_an_export_beside_another_is_refused_and_says_who_the_other_is(segmenter, tmp_path):
    with owned(tmp_path / ".lock", tmp_path), pytest.raises(errors.BusyError, match=f"process {os.getpid()}"):
        export_saved_model(segmenter, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_export_has_left_is_removed_by_the_next(segmenter, tmp_path):
    (tmp_path / ".0123abcd.aside.1").mkdir()
    (tmp_path / ".0123abcd.aside.1" / "saved_model.pb").touch()
    assert export_saved_model(segmenter, tmp_path).name == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_a_model_of_several_channels_and_classes_is_exported_with_its_label_values(tmp_path):
    segmenter = Segmenter(network(2, 3), Preprocessing(size=16, spacing_mm=1.5), task=Task(labels=((2,), (4,))))
    version = export_saved_model(segmenter, tmp_path)
    image = image_of((12, 9, 8, 2))
    signatures = tf.saved_model.load(str(version)).signatures
    answer = signatures["serving_probability"](image=image, affine=OBLIQUE)
    np.testing.assert_array_equal(answer["mask"], segmenter.segment(image, OBLIQUE)["mask"])
    np.testing.assert_array_equal(answer["mask"], signatures["serving_default"](image=image, affine=OBLIQUE)["mask"])
    assert set(np.unique(answer["mask"])) <= {0, 2, 4} and answer["probability"].shape == (12, 9, 8, 3)


def test_dense_vnet_passes_the_checks_of_the_export(tmp_path):
    segmenter = Segmenter(DenseVNet((16, 16, 16, 1), 1), Preprocessing(size=16))
    assert export_saved_model(segmenter, tmp_path).name == "1"


def test_a_run_folder_is_exported_with_a_card_of_what_it_is(write_run, tmp_path):
    preprocessing = Preprocessing(size=16, normalize="minmax")
    folder = write_run(tmp_path / "run", network(), preprocessing).folder
    version = export_saved_model(folder, tmp_path / "served")
    card = json.loads((version / "assets.extra" / "mcc_keras.json").read_text())
    assert Preprocessing.from_json(json.dumps(card["members"][0]["preprocessing"])) == preprocessing
    image = image_of((8, 9, 10, 1))
    answer = tf.saved_model.load(str(version)).signatures["serving_default"](image=image, affine=OBLIQUE)
    np.testing.assert_array_equal(answer["mask"], load_segmenter(folder).segment(image, OBLIQUE)["mask"])


def test_a_folder_without_a_run_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(errors.RunError, match="expected a finished run"):
        export_saved_model(tmp_path / "none", tmp_path / "served")
    assert not (tmp_path / "served").exists()


def test_what_can_be_refused_is_refused_before_tensorflow_is_loaded(tmp_path):
    (tmp_path / "file").touch()
    program = """
import sys, mcc_keras as mk
for run, folder in (("none", "served"), ("none", "gs://served"), ("none", "file")):
    try:
        mk.export_saved_model(run, folder)
    except mk.errors.MCCKerasError as error:
        print(type(error).__name__)
print("tensorflow" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["RunError", "UsageError", "OutputExistsError", "False"]


def test_a_server_that_looks_all_the_time_sees_a_version_whole_or_not_at_all(segmenter, tmp_path):
    halves, done = [], threading.Event()

    def look():
        while not done.is_set():
            for path in tmp_path.iterdir():
                if path.name.isdigit() and not (path / "variables" / "variables.index").exists():
                    halves.append(path)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        export_saved_model(segmenter, tmp_path)
    finally:
        done.set()
        looking.join()
    assert halves == [] and [path.name for path in tmp_path.iterdir()] == ["1"]


def test_a_graph_that_calls_python_is_refused_and_nothing_is_published(tmp_path):
    class Calls(keras.layers.Layer):
        def call(self, x):
            return tf.ensure_shape(tf.numpy_function(lambda y: y, [x], tf.float32), x.shape)

    segmenter = Segmenter(network(1, 1, Calls()), Preprocessing(size=16))
    with pytest.raises(errors.RunError, match="found PyFunc"):
        export_saved_model(segmenter, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_operations_that_touch_files_are_on_neither_list_but_in_the_checkpoint():
    harmful = {"ReadFile", "WriteFile", "PyFunc", "EagerPyFunc", "MatchingFiles", "PrintV2"}
    assert not harmful & (saved_model.COMPUTING | saved_model.CHECKPOINTING)
    assert not {"SaveV2", "RestoreV2", "MergeV2Checkpoints"} & saved_model.COMPUTING


def test_a_saved_model_that_gives_another_mask_is_told(version):
    volume = saved_model.awkward_volume(1)
    other = Segmenter(network(), Preprocessing(size=16)).answer(*volume)
    with pytest.raises(errors.MCCKerasError, match="must equal the live model. Found .* voxels"):
        saved_model._check_reloaded(version, volume, other)


def test_a_network_whose_weights_are_nan_is_not_published(tmp_path):
    diverged = network()
    diverged.layers[-1].bias.assign([np.nan])
    with pytest.raises(errors.MCCKerasError, match="expected finite weights, found NaN or infinite ones in .*bias"):
        export_saved_model(Segmenter(diverged, Preprocessing(size=16)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_environment_failure_and_leaves_nothing(segmenter, tmp_path):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))
    try:
        with pytest.raises(errors.EnvironmentFailure, match="Nothing was published"):
            export_saved_model(segmenter, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", ["gs://bucket/organ", "s3://bucket/organ"])
def test_remote_folders_are_refused(segmenter, folder):
    with pytest.raises(errors.UsageError, match="must lie on this machine"):
        export_saved_model(segmenter, folder)


def test_a_folder_with_spaces_and_letters_of_other_alphabets_works(segmenter, tmp_path):
    version = export_saved_model(segmenter, tmp_path / "próstata von 前列腺 1")
    assert tf.saved_model.load(str(version)).signatures


def test_the_warm_up_requests_are_answered_by_the_model(version):
    prediction_log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2", reason="extra `serving`")
    records = list(tf.data.TFRecordDataset(str(version / "assets.extra" / "tf_serving_warmup_requests")))
    signatures, answers = tf.saved_model.load(str(version)).signatures, {}
    for record in records:
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
        assert request.model_spec.name == "organ"
        answers[request.model_spec.signature_name] = signatures[request.model_spec.signature_name](**inputs)
    assert answers["serving_default"]["mask"].shape == (19, 14, 11)
    assert len(answers["serving_bytes"]["mask_bytes"].numpy()[0]) == 352 + 19 * 14 * 11


def test_the_folder_can_be_read_by_others(version):
    mask = os.umask(0)
    os.umask(mask)
    assert version.stat().st_mode & 0o777 == 0o777 & ~mask
