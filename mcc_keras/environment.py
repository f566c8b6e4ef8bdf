"""What a result depends on besides code and data: versions, processor, devices, memory, threads, settings."""

import dataclasses
import json
import os
import platform
import re
from importlib import metadata
from pathlib import Path

from mcc_keras.memory import GIB, total_memory
from mcc_keras.processors import CAPS, GROWTH, ONEDNN, find_onednn, find_processor

PACKAGES = ("mcc_keras", "keras", "tensorflow", "numpy", "nibabel", "scikit-image")
# Settings by others that change speed or rounding.
VARIABLES = (
    *(ONEDNN, GROWTH, *CAPS, "XLA_FLAGS", "TF_XLA_FLAGS", "ATEN_CPU_CAPABILITY", "CUDA_VISIBLE_DEVICES"),
    *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "KERAS_BACKEND"),
)


@dataclasses.dataclass(frozen=True)
class Environment:
    """What `describe_environment` found; `str(environment)` is text to read.

    Args:
        versions: Package to version, Python among them.
        system: Operating system and machine.
        processor: Name of the processor.
        instructions: Its instruction sets that matter, as Linux spells them.
        cores: Physical cores that this process may use.
        threads: Hardware threads that this process may use.
        onednn: "on", "off", or "absent" where this build of TensorFlow has none.
        devices: Names of the devices that TensorFlow sees.
        memory_gib: Memory of the machine, or of the container, in GiB, `None` where the system does not report it.
        variables: Environment variables that are set and change speed or rounding.
        missing: Extra of the package to those of its packages that are not installed.

    Example:

    >>> environment = describe_environment()
    >>> environment.onednn in ("on", "off", "absent")
    True
    """

    versions: dict
    system: str
    processor: str
    instructions: tuple
    cores: int
    threads: int
    onednn: str
    devices: tuple
    memory_gib: float | None
    variables: dict
    missing: dict

    def header(self):
        """Return the first lines of the text, as a header for timings."""
        return "\n".join(self._lines()[:3])

    def __str__(self):
        """Return one line per subject."""
        return "\n".join(self._lines())

    def to_json(self):
        """Return the fields as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False)

    def _lines(self):
        memory = "unknown" if self.memory_gib is None else f"{self.memory_gib:.1f} GiB"
        extras = [f"{name} lacks {', '.join(missing)}" for name, missing in self.missing.items() if missing]
        complete = [name for name, missing in self.missing.items() if not missing]
        lines = {
            "versions": ", ".join(f"{name} {version}" for name, version in self.versions.items()),
            "processor": f"{self.processor}, cores {self.cores}, threads {self.threads}: {' '.join(self.instructions)}",
            "oneDNN": " ".join([self.onednn, *(f"{name}={value}" for name, value in self.variables.items())]),
            "devices": ", ".join(self.devices),
            "memory": memory,
            "system": self.system,
            "extras": "; ".join([f"installed: {', '.join(complete) or 'none'}", *extras]),
        }
        return [f"{name:<10} {value}" for name, value in lines.items()]


def describe_environment():
    """Describe the environment that a result depends on.

    TensorFlow is imported, since only TensorFlow itself knows whether oneDNN is on and which devices there are.

    Returns:
        An `Environment`.

    Example:

    >>> print(describe_environment().header())
    versions   python ..., mcc_keras ..., keras ..., tensorflow ..., numpy ...
    processor  ...
    oneDNN     ...
    """
    import joblib
    import tensorflow

    processor, instructions = find_processor()
    threads = joblib.cpu_count()  # of this process: affinity and quota count
    return Environment(
        versions={"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}},
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=processor,
        instructions=instructions,
        cores=min(threads, _count_cores() or threads),
        threads=threads,
        onednn=find_onednn(),
        devices=tuple(_name(tensorflow, device) for device in tensorflow.config.list_physical_devices()),
        memory_gib=_memory_gib(),
        variables={name: os.environ[name] for name in VARIABLES if name in os.environ},
        missing=_missing_of_extras(metadata.requires("mcc_keras") or []),
    )


def _name(tensorflow, device):
    details = tensorflow.config.experimental.get_device_details(device)
    return details.get("device_name", device.device_type)


def _count_cores():
    """Return the number of physical cores of the machine, or `None` where the system does not list them."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    places = [re.findall(r"^(?:physical|core) id\s*: (\d+)$", block, re.MULTILINE) for block in text.split("\n\n")]
    return len({tuple(place) for place in places if place}) or None


def _memory_gib():
    try:
        return round(total_memory() / GIB, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _missing_of_extras(requirements):
    """Return each extra with those of its packages that are not installed."""
    missing = {}
    for requirement in requirements:
        found = re.fullmatch(r"([\w.-]+).*;.*extra == ['\"]([\w-]+)['\"].*", requirement)
        if found:
            package, extra = found.groups()
            missing.setdefault(extra, [])
            if not _is_installed(package):
                missing[extra].append(package)
    return {extra: tuple(packages) for extra, packages in missing.items()}


def _is_installed(package):
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
