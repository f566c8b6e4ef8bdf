"""An export loads and answers in TensorFlow 2.20, as the newest release of TensorFlow Serving is built on it.

MCC_KERAS_TF220_PYTHON names an interpreter with tensorflow-cpu 2.20.0 and nothing of mcc_keras (make test-foreign).
"""

import os
import subprocess

import keras
import nibabel as nib
import numpy as np
import pytest
from nifti_files import save

from mcc_keras.preprocessing import Preprocessing
from mcc_keras.runs.window import Window
from mcc_keras.segmentation.segmenter import Segmenter
from mcc_keras.serving.export import export_saved_model

PYTHON = os.environ.get("MCC_KERAS_TF220_PYTHON")
pytestmark = pytest.mark.skipif(not PYTHON, reason="MCC_KERAS_TF220_PYTHON names no TensorFlow 2.20: make test-foreign")
NEAR = 1e-5  # distance of the deciding probability from the threshold within which two builds may differ
PROGRAM = """
import sys
import numpy as np
import tensorflow as tf
assert tf.__version__.startswith("2.20."), tf.__version__
given = np.load(sys.argv[2])
signatures = tf.saved_model.load(sys.argv[1]).signatures
data = [[open(path, "rb").read()] for path in sys.argv[4:]]
answer = signatures["serving_bytes"](scan_bytes=tf.constant(data))
voxels = {name: tf.constant(given[name]) for name in ("image", "affine")}
np.savez(
    sys.argv[3],
    files=np.array([np.frombuffer(each, np.uint8) for each in answer["mask_bytes"].numpy()]),
    errors=np.array(answer["error"].numpy().astype(str)),
    mask=signatures["serving_default"](**voxels)["mask"],
    probable=signatures["serving_probability"](**voxels)["probability"],
    box=signatures["serving_preprocessed"](box=tf.constant(given["box"]))["probability"],
)
"""


@pytest.fixture(scope="module", params=[None, Window(size=(8, 8, 8))], ids=["box", "windows"])
def segmenter(request):
    keras.utils.set_random_seed(5)
    layers = keras.layers
    inside = layers.Conv3D(4, 3, padding="same", activation="tanh")
    outside = layers.Conv3D(1, 3, padding="same", activation="sigmoid")
    size = request.param.size if request.param else (16, 16, 16)
    network = keras.Sequential([keras.Input((*size, 1)), inside, outside])
    return Segmenter(network, Preprocessing(size=16), window=request.param)


def test_the_older_tensorflow_gives_the_same_answers(segmenter, tmp_path):
    version = export_saved_model(segmenter, tmp_path / "served")
    array = np.random.default_rng(1).normal(100, 30, (13, 10, 7)).astype(np.int16)
    files = [save(tmp_path / "scan.nii.gz", array), save(tmp_path / "scan.nii", array)]
    scan = nib.load(files[0])
    image, affine = array[..., None].astype(np.float32), scan.affine.astype(np.float32)
    box = np.random.default_rng(2).normal(0, 1, segmenter.model.input_shape[1:]).astype(np.float32)
    np.savez(tmp_path / "given.npz", image=image, affine=affine, box=box)
    command = [PYTHON, "-c", PROGRAM, version, tmp_path / "given.npz", tmp_path / "answer.npz", *files]
    subprocess.run(list(map(str, command)), check=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": ""})
    live = segmenter.answer(image, affine)
    apart = np.abs(live["probability"].numpy()[..., 0] - segmenter.threshold) < NEAR
    with np.load(tmp_path / "answer.npz") as answer:
        np.testing.assert_array_equal(answer["errors"], ["", ""])
        np.testing.assert_allclose(answer["probable"], live["probability"], rtol=0, atol=1e-5)
        np.testing.assert_allclose(answer["box"], segmenter.predict(box), rtol=0, atol=1e-5)
        for mask in (answer["mask"], *(nib.Nifti1Image.from_bytes(f.tobytes()).get_fdata() for f in answer["files"])):
            differing = mask != live["mask"].numpy()
            assert not (differing & ~apart).any()
            print(f"{np.count_nonzero(differing)} of {mask.size} voxels differ")
