"""Limits of containers, from files as the kernel writes them."""

import os

import pytest

from hdsmlm import machine

GIB = 2**30


@pytest.fixture
def groups(tmp_path):
    """Return a function that lays out a control group tree and the groups of this process."""

    def lay(own, files):
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "own", tmp_path / "cgroup"

    return lay


def test_version_2_obeys_the_tightest_group_above(groups):
    own = groups(
        "0::/pod/box\n",
        {
            "pod/box/cpu.max": "max 100000\n",
            "pod/cpu.max": "250000 100000\n",
            "pod/box/memory.max": f"{4 * GIB}\n",
            "pod/box/memory.current": f"{3 * GIB}\n",
            "pod/box/memory.stat": f"anon 5\ninactive_file {GIB}\n",
            "pod/memory.max": "max\n",
            "pod/memory.current": f"{9 * GIB}\n",
        },
    )
    assert machine._quota_cores(*own) == 3  # 2.5, rounded up
    assert list(machine._memory_limits(*own)) == [(4 * GIB, 2 * GIB)]


def test_version_1_and_the_root_of_a_container(groups):
    own = groups(
        "4:cpu,cpuacct:/docker/abc\n5:memory:/docker/abc\n0::/\n",
        {
            "cpu/cpu.cfs_quota_us": "50000\n",
            "cpu/cpu.cfs_period_us": "100000\n",
            "memory/memory.limit_in_bytes": f"{2 * GIB}\n",
            "memory/memory.usage_in_bytes": f"{GIB}\n",
        },
    )
    assert machine._quota_cores(*own) == 1
    assert list(machine._memory_limits(*own)) == [(2 * GIB, GIB)]


def test_no_limit_is_none(groups, tmp_path):
    own = groups(
        "4:cpu:/\n5:memory:/\n",
        {
            "cpu/cpu.cfs_quota_us": "-1\n",
            "cpu/cpu.cfs_period_us": "100000\n",
            "memory/memory.limit_in_bytes": "9223372036854771712\n",
            "memory/memory.usage_in_bytes": "1\n",
        },
    )
    assert machine._quota_cores(*own) > 1000
    assert list(machine._memory_limits(*own)) == []
    assert machine._quota_cores(tmp_path / "none", tmp_path) > 1000


def test_a_limit_of_memory_bounds_what_is_free(monkeypatch):
    whole = machine.memory()
    assert 0 < whole.used_bytes < whole.total_bytes
    limit = whole.total_bytes // 4
    monkeypatch.setattr(machine, "_memory_limits", lambda *_: iter([(limit, limit // 2)]))
    found = machine.memory()
    free = min(limit // 2, whole.total_bytes - whole.used_bytes)
    assert found.total_bytes - found.used_bytes == pytest.approx(free, rel=0.1)


def test_threads_that_were_named_are_the_own_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert 1 <= machine.own_cores() == machine.usable_cores() <= (os.cpu_count() or 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert machine.own_cores() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert machine.own_cores() == machine.usable_cores()
