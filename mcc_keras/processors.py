"""What the processor can do, and the settings that let TensorFlow use it.

oneDNN computes 3-D convolutions many times faster than TensorFlow's own kernels. TensorFlow enables it by default only
on processors with AVX512_VNNI, AVX512_BF16, AVX_VNNI or AMX, and reads its settings once, while it is imported.
"""

import os
import platform
import sys
import warnings
from pathlib import Path

ONEDNN, GROWTH = "TF_ENABLE_ONEDNN_OPTS", "TF_FORCE_GPU_ALLOW_GROWTH"
OFF = ("0", "false")
# oneDNN's own limits below which it has no bfloat16; both names are its own.
CAPS, CAPS_WITHOUT_BFLOAT16 = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"), ("SSE41", "AVX", "AVX2", "AVX2_VNNI")
BFLOAT16 = {"avx512f", "avx_ne_convert", "bf16"}  # TensorFlow's own rule on x86; on ARM its name for the extension
INSTRUCTIONS = (
    *("sse4_2", "avx", "avx2", "fma", "avx_vnni", "avx_ne_convert"),
    *("avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8"),
    *("asimd", "asimddp", "sve", "i8mm", "bf16"),
)


def prepare_tensorflow():
    """Enable oneDNN and memory of GPUs as needed, unless the user has set the variables.

    Warns where TensorFlow is loaded already and runs without oneDNN, though its build has it and the user has not
    disabled it.
    """
    disabled = os.environ.get(ONEDNN, "1").lower() in OFF
    os.environ.setdefault(ONEDNN, "1")
    os.environ.setdefault(GROWTH, "true")
    if find_onednn() == "off" and not disabled:
        warnings.warn(
            "TensorFlow was imported before mcc_keras and runs without oneDNN on this processor. Training takes up to"
            " 24 times as long (a Dense V-Net step at 24³ on an AVX2 EPYC: 2.66 s instead of 0.11 s). Import mcc_keras"
            f" before keras and tensorflow, or set {ONEDNN}=1.",
            RuntimeWarning,
            stacklevel=3,  # the line that imports mcc_keras
        )


def find_onednn():
    """Return "on", "off" or "absent" for the TensorFlow that is loaded, or `None` where none is.

    The variable proves nothing: it may have been set after TensorFlow read it.
    """
    port = sys.modules.get("tensorflow.python.util._pywrap_util_port")
    operations = sys.modules.get("tensorflow.python.framework.op_def_registry")
    if port is None or operations is None:
        return None
    if port.IsMklEnabled():
        return "on"
    return "off" if operations.get("_MklNativeConv3D") else "absent"


def find_processor():
    """Return the name of the processor and its instruction sets that matter here, as Linux spells them."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine(), _keep(_instructions_by_numpy())
    lines = [line.partition(":") for line in text.splitlines()]
    fields = {name.strip().lower(): value.strip() for name, _, value in lines}
    name = fields.get("model name") or platform.processor() or platform.machine()
    return name, _keep((fields.get("flags") or fields.get("features", "")).split())


def _instructions_by_numpy():
    from numpy._core._multiarray_umath import __cpu_features__ as features

    return ["fma" if name == "FMA3" else name.lower() for name, present in features.items() if present]


def _keep(found):
    return tuple(name for name in INSTRUCTIONS if name in found)


def has_bfloat16(instructions, cap=None):
    """Return whether oneDNN computes in bfloat16 with these instruction sets; otherwise TensorFlow emulates it.

    Args:
        instructions: Names as `find_processor` returns them.
        cap: Value of `ONEDNN_MAX_CPU_ISA`, the limit of the instructions of oneDNN.

    Example:

    >>> has_bfloat16(("avx2", "avx512f")), has_bfloat16(("avx2", "avx512f"), cap="AVX2"), has_bfloat16(("avx2",))
    (True, False, False)
    """
    return bool(BFLOAT16 & set(instructions)) and (cap or "").upper() not in CAPS_WITHOUT_BFLOAT16


def find_cap():
    """Return the limit that the user has set on oneDNN's instruction sets, or `None`."""
    return next((os.environ[name] for name in CAPS if os.environ.get(name)), None)
