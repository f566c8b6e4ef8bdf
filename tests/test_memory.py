"""Memory agrees with what the kernel reports."""

from pathlib import Path

import pytest

from mcc_keras.memory import free_memory, total_memory


def test_the_memory_is_that_of_the_machine_or_less():
    if not Path("/proc/meminfo").is_file():
        pytest.skip("no /proc/meminfo on this system")
    kib = {line.split(":")[0]: line.split()[1] for line in Path("/proc/meminfo").read_text().splitlines()}
    most = int(kib["MemTotal"]) * 1024
    assert 0 < free_memory() <= most and 0.1 * 2**30 < total_memory() <= 1.001 * most
