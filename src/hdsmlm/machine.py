"""What this process may use of the machine: cores and memory, within the limits of a container.

Linux limits a container by control groups: version 2 has ``cpu.max`` (microseconds of processor
time per period) and ``memory.max`` / ``memory.current`` in one folder per group, version 1 has
``cpu.cfs_quota_us``, ``cpu.cfs_period_us``, ``memory.limit_in_bytes`` and
``memory.usage_in_bytes`` under one folder per controller. A process obeys its own group and all
groups above it. Source: the kernel's documentation, ``admin-guide/cgroup-v1`` and ``cgroup-v2``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")
_UNLIMITED_BYTES = 2**60
"""Version 1 writes "no limit" as the largest multiple of a page that fits into 63 bits."""
THREADS_VARIABLE = "OMP_NUM_THREADS"
"""Threads that a process may start, as numerical libraries understand it."""


@dataclass(frozen=True)
class Memory:
    """Memory of the machine, or of the container.

    Parameters
    ----------
    total_bytes, used_bytes : int
        In all, and in use.
    """

    total_bytes: int
    used_bytes: int


def usable_cores() -> int:
    """Return the cores that this process may use: its affinity and its container's quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min(cores, _quota_cores(_OWN_GROUPS, _GROUPS)))


def own_cores() -> int:
    """Return the cores that are meant for this process: those of ``OMP_NUM_THREADS`` where set."""
    wanted = os.environ.get(THREADS_VARIABLE, "").split(",")[0].strip()
    return min(usable_cores(), int(wanted)) if wanted.isdigit() and int(wanted) else usable_cores()


def memory() -> Memory:
    """Return total and used memory, within the limits of the container."""
    import psutil

    found = psutil.virtual_memory()
    total, used = found.total, found.total - found.available
    for limit, current in _memory_limits(_OWN_GROUPS, _GROUPS):
        if limit - current < total - used:  # the group is the tighter bound on what is still free
            total, used = min(limit, found.total), min(current, limit)
    return Memory(total, used)


def _quota_cores(own_groups: Path, groups: Path) -> int:
    """Return the cores that the quota of processor time amounts to, rounded up."""
    cores = math.inf
    for folder in _folders(own_groups, groups, "cpu"):
        quota, period = (*_words(folder / "cpu.max"), "", "")[:2]
        if not quota:
            quota = next(iter(_words(folder / "cpu.cfs_quota_us")), "")
            period = next(iter(_words(folder / "cpu.cfs_period_us")), "")
        if quota.isdigit() and period.isdigit() and int(quota) and int(period):
            cores = min(cores, math.ceil(int(quota) / int(period)))
    return int(min(cores, 2**16))


def _memory_limits(own_groups: Path, groups: Path) -> Iterator[tuple[int, int]]:
    """Yield limit and use in bytes of each group that has a limit."""
    for folder in _folders(own_groups, groups, "memory"):
        for limit_name, use_name in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit = next(iter(_words(folder / limit_name)), "")
            use = next(iter(_words(folder / use_name)), "")
            if limit.isdigit() and use.isdigit() and int(limit) < _UNLIMITED_BYTES:
                yield int(limit), max(0, int(use) - _reclaimable(folder))


def _reclaimable(folder: Path) -> int:
    """Return the bytes of cached files, which the kernel takes back when memory is wanted."""
    words = _words(folder / "memory.stat")
    pairs = dict(zip(words[::2], words[1::2], strict=False))
    return int(pairs.get("inactive_file", pairs.get("total_inactive_file", "0")))


def _folders(own_groups: Path, groups: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's group and of those above it, for one controller.

    A line of /proc/self/cgroup is ``0::/path`` (version 2) or ``n:cpu,cpuacct:/path`` (version 1).
    Inside a container the path may be that of the host: then only the root is there to read.
    """
    try:
        lines = own_groups.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and controller not in controllers.split(","):
            continue
        root = groups / controller if controllers else groups
        relative = Path(path.lstrip("/"))
        for part in (relative, *relative.parents):
            if ".." not in part.parts:
                yield root / part


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        return []
