"""Memory agrees with what the kernel reports."""

import subprocess
import sys
from pathlib import Path

import pytest

from mcc_keras import memory
from mcc_keras.memory import free_memory, held_memory, total_memory

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="limits are read as Linux has them")


def test_the_memory_is_that_of_the_machine_or_less():
    if not Path("/proc/meminfo").is_file():
        pytest.skip("no /proc/meminfo on this system")
    kib = {line.split(":")[0]: line.split()[1] for line in Path("/proc/meminfo").read_text().splitlines()}
    most = int(kib["MemTotal"]) * 1024
    assert 0 < free_memory() <= most and 0.1 * 2**30 < total_memory() <= 1.001 * most
    assert 1 << 20 < held_memory() < most
    assert free_memory(swap=True) >= 0.9 * free_memory()


@needs_linux
def test_a_job_has_what_its_limit_leaves_and_what_is_cached_of_files(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    (tmp_path / "memory.max").write_text("5000000\n")
    (tmp_path / "memory.current").write_text("3000000\n")
    assert (free_memory(), total_memory()) == (2_000_000, 5_000_000)
    (tmp_path / "memory.stat").write_text("anon 2000000\ninactive_file 700000\nactive_file 300000\n")
    assert free_memory() == 3_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory() > 3_000_000


@needs_linux
def test_the_limits_of_all_groups_above_a_process_count(tmp_path, monkeypatch):
    job = tmp_path / "slurm" / "job_7"
    job.mkdir(parents=True)
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    monkeypatch.setattr(memory, "_own_group", lambda: "/slurm/job_7")
    for folder, most in ((job, 4_000_000), (tmp_path / "slurm", 3_000_000)):
        (folder / "memory.max").write_text(str(most))
        (folder / "memory.current").write_text("1000000")
    assert (free_memory(), total_memory()) == (2_000_000, 3_000_000)


@needs_linux
def test_a_process_has_what_its_own_limit_leaves():
    code = "import resource; resource.setrlimit(resource.RLIMIT_AS, (600 << 20, -1))"
    code += "; from mcc_keras.memory import free_memory; print(free_memory())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 600 << 20
