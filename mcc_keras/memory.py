"""How much memory there is: of the machine, and of the container or job that a process runs in."""

import os
from pathlib import Path

GIB = 2**30
_GROUPS = Path("/sys/fs/cgroup")
_CACHES = ("inactive_file", "active_file", "slab_reclaimable")  # of `memory.stat`: given back where memory is needed


def total_memory():
    """Return the bytes of memory of this machine, or of the container or job where that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [_number(folder / "memory.max") for folder in _control_groups()]
    limits.append(_number(_GROUPS / "memory" / "memory.limit_in_bytes"))
    return min([total, *(limit for limit in limits if limit is not None)])


def free_memory(*, swap=False):
    """Return the bytes that this process can still take: of the machine, container or job, or up to its own limit.

    If the system does not report free memory, the total memory of the machine. What is cached of files counts as free.

    Args:
        swap: Whether the free memory on disk counts as well.
    """
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text("ascii").splitlines())
        free, on_disk = (int(lines[name].split()[0]) * 1024 for name in ("MemAvailable", "SwapFree"))
    except (OSError, KeyError, ValueError):  # not Linux
        return total_memory()
    more = on_disk if swap else 0
    return max(0, min([free + more, *(left + more for left in _left_of_groups()), *_left_of_process()]))


def held_memory():
    """Return the bytes that this process holds, without what is read from files; 0 where the system does not tell."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text("utf-8").splitlines())
        return int(lines["RssAnon"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return 0


def _left_of_groups():
    """Return what the limit of each control group of this process leaves."""
    for folder in _control_groups():
        most, used = _number(folder / "memory.max"), _number(folder / "memory.current")
        if most is not None and used is not None:
            yield most - used + _cached(folder)


def _left_of_process():
    """Return what the limit of this process (`ulimit -v`) leaves, if it has one."""
    import resource  # here, since Windows, where nothing above gets so far, has none

    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY:
        yield most - int(Path("/proc/self/statm").read_text("ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _control_groups():
    """Return the folders of the control groups of this process, its own first; version 2 alone."""
    folder = _GROUPS / _own_group().lstrip("/")
    inside = [parent for parent in folder.parents if parent.is_relative_to(_GROUPS)]
    return [each for each in (folder, *inside) if each.is_dir()]


def _own_group():
    """Return the path of this process's control group in the tree of version 2; "/" without one."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return "/"
    return next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "/")


def _cached(folder):
    try:
        lines = (line.split() for line in (folder / "memory.stat").read_text("ascii").splitlines())
        return sum(int(value) for name, value in lines if name in _CACHES)
    except (OSError, ValueError):
        return 0


def _number(path):
    """Return the number that a file of a control group holds, None where there is none or no limit."""
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):  # no control group, or "max"
        return None
