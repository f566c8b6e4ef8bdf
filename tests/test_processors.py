"""oneDNN is on wherever TensorFlow has it, in every order of imports; slow paths are warned of."""

import os
import subprocess
import sys
import warnings

import pytest

from mcc_keras.processors import GROWTH, ONEDNN, find_processor, has_bfloat16, prepare_tensorflow

CONVOLVE = """
import mcc_keras.processors, numpy, tensorflow
if mcc_keras.processors.find_onednn() == "absent":
    print("absent")
tensorflow.nn.conv3d(numpy.ones((1, 4, 4, 4, 1), "float32"), numpy.ones((3, 3, 3, 1, 1), "float32"), [1] * 5, "SAME")
"""
# To be off on a processor where TensorFlow turns oneDNN on, the variable is 0 while it is imported, and then deleted.
LOADED_WITHOUT = (
    f"import os; os.environ['{ONEDNN}'] = '0'; import tensorflow; del os.environ['{ONEDNN}']; import mcc_keras"
)


def run_python(code, **variables):
    """Run code in a fresh process without the variables that this one has set."""
    environment = {name: value for name, value in os.environ.items() if name not in (ONEDNN, GROWTH)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment | variables, capture_output=True, text=True, check=True)


def convolve(imports, **variables):
    """Return whether oneDNN computed a convolution, and how many warnings about it were printed."""
    finished = run_python(f"{imports}\n{CONVOLVE}", ONEDNN_VERBOSE="1", **variables)
    if "absent" in finished.stdout.splitlines():
        pytest.skip("this build of TensorFlow has no oneDNN")
    ran = any(",exec,cpu,convolution," in line for line in finished.stdout.splitlines())
    return ran, finished.stderr.count("runs without oneDNN")


def test_onednn_runs_where_mcc_keras_is_imported_first():
    assert convolve("import mcc_keras") == (True, 0)


def test_onednn_runs_or_one_warning_says_that_it_does_not_where_keras_is_imported_first():
    ran, warned = convolve("import keras, mcc_keras")
    assert warned == (0 if ran else 1)


def test_one_warning_is_printed_where_tensorflow_was_loaded_without_onednn():
    assert convolve(LOADED_WITHOUT) == (False, 1)


def test_onednn_stays_off_without_a_word_where_the_user_disabled_it():
    assert convolve("import tensorflow, mcc_keras", **{ONEDNN: "0"}) == (False, 0)


@pytest.mark.parametrize("value", ["0", "false", "1"])
def test_the_variables_that_the_user_has_set_are_kept(value, monkeypatch):
    for name in (ONEDNN, GROWTH):
        monkeypatch.setenv(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        prepare_tensorflow()
    assert (os.environ[ONEDNN], os.environ[GROWTH]) == (value, value)


def test_the_import_sets_both_variables_before_tensorflow_reads_them():
    finished = run_python(f"import mcc_keras, os; print(os.environ['{ONEDNN}'], os.environ['{GROWTH}'])")
    assert finished.stdout.split() == ["1", "true"]


@pytest.mark.parametrize(
    ("instructions", "cap", "expected"),
    [
        (("avx2", "avx512f"), None, True),
        (("avx2", "avx512f"), "AVX512_CORE", True),
        (("avx2", "avx512f", "avx512_bf16"), "avx2", False),
        (("avx2", "avx_vnni", "avx_ne_convert"), None, True),
        (("avx2", "avx_vnni", "avx_ne_convert"), "AVX2_VNNI", False),
        (("avx2", "avx_vnni"), None, False),
        (("asimd", "bf16"), None, True),
    ],
)
def test_bfloat16_needs_its_instructions_and_no_cap_below_them(instructions, cap, expected):
    assert has_bfloat16(instructions, cap) is expected


def test_the_processor_has_a_name():
    name, instructions = find_processor()
    assert name
    assert len(set(instructions)) == len(instructions)
