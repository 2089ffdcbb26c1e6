"""Free memory: what the machine has, within the limits of control groups."""

import psutil
import pytest

from finetune.support import free_memory

MB = 2**20
MACHINE = 4000 * MB


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    class Memory:
        available = MACHINE

    monkeypatch.setattr(psutil, "virtual_memory", Memory)


def group(folder, names, most, used, inactive):
    folder.mkdir(parents=True, exist_ok=True)
    limit, usage, line = names
    (folder / limit).write_text(f"{most}\n")
    (folder / usage).write_text(f"{used * MB}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{line} {inactive * MB}\n")


def told(root, lines):
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(lines)


V2 = ("memory.max", "memory.current", "inactive_file")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def test_in_a_container_of_version_2_it_is_what_its_limit_leaves(tmp_path):
    told(tmp_path, "0::/\n")
    group(tmp_path / "sys/fs/cgroup", V2, 1000 * MB, 700, 200)
    assert free_memory(tmp_path) == 500 * MB


def test_in_a_container_of_version_1_it_is_what_its_limit_leaves(tmp_path):
    # The path is the host's, and not there within the container.
    told(tmp_path, "4:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc\n")
    group(tmp_path / "sys/fs/cgroup/memory", V1, 1000 * MB, 700, 100)
    assert free_memory(tmp_path) == 400 * MB


def test_the_narrowest_of_the_groups_around_it_counts(tmp_path):
    told(tmp_path, "0::/user.slice/shell.scope\n")
    slices = tmp_path / "sys/fs/cgroup/user.slice"
    group(slices, V2, 2000 * MB, 1200, 0)
    group(slices / "shell.scope", V2, "max", 900, 0)
    assert free_memory(tmp_path) == 800 * MB


@pytest.mark.parametrize("most", ["max", 10**18])
def test_without_a_limit_it_is_what_the_machine_has(tmp_path, most):
    told(tmp_path, "0::/\n")
    group(tmp_path / "sys/fs/cgroup", V2, most, 10, 0)
    assert free_memory(tmp_path) == MACHINE


def test_a_group_beyond_its_limit_has_nothing_left(tmp_path):
    told(tmp_path, "0::/\n")
    group(tmp_path / "sys/fs/cgroup", V2, 100 * MB, 150, 0)
    assert free_memory(tmp_path) == 0


def test_where_there_are_no_control_groups_it_is_what_the_machine_has(tmp_path):
    assert free_memory(tmp_path) == MACHINE
