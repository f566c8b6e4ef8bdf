"""How much memory there is: of the machine, and of the container that a process runs in."""

import os
from pathlib import Path

GIB = 2**30


def total_memory():
    """Return the bytes of memory of this machine, or of the container where that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = (_control_group(name) for name in ("memory.max", "memory/memory.limit_in_bytes"))
    return min([total, *(limit for limit in limits if limit is not None)])


def free_memory():
    """Return the bytes that this process can still take: of the machine, and of the container where that is less.

    If the system does not report free memory, the total memory of the machine.
    """
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text("ascii").splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):  # not Linux
        return total_memory()
    most, used = _control_group("memory.max"), _control_group("memory.current")
    return free if most is None or used is None else max(0, min(free, most - used))


def _control_group(name):
    """Return a number of the control group of this process, None where there is none or no limit."""
    try:
        return int((Path("/sys/fs/cgroup") / name).read_text("ascii"))
    except (OSError, ValueError):  # no control group, or "max"
        return None
