"""Records of devices: what there is, what is in use, what is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hdsmlm.machine import THREADS_VARIABLE

CPU = "cpu"
"""Name of the one device that stands for all processor cores."""

RESERVE_BYTES = 256 * 2**20
"""Memory of a GPU that is never given away: the display, other contexts, rounding."""


@dataclass(frozen=True)
class Device:
    """A GPU, or the processor, as it was when looked at.

    Parameters
    ----------
    name : str
        Unique and lasting: the UUID of a GPU, ``"cpu"`` for the processor.
    title : str
        For people, e.g. ``"NVIDIA H200"``.
    total_bytes, used_bytes : int
        Memory in all, and in use by anyone.
    slots : int
        Tasks that may share a GPU; cores of the processor.
    utilization : float
        Share of time it is busy, 0 to 1.
    processes : mapping of int to int
        Memory by process number, where the driver tells it.
    """

    name: str
    title: str
    total_bytes: int
    used_bytes: int
    slots: int
    utilization: float = 0.0
    processes: Mapping[int, int] = field(default_factory=dict)

    @property
    def is_gpu(self) -> bool:
        """Whether it is a GPU."""
        return self.name != CPU


@dataclass(frozen=True)
class Need:
    """What a task wants.

    Parameters
    ----------
    memory_bytes : int
        On each device.
    cores : int
        Cores: slots of the processor; beside a GPU, of which it takes one slot, so many threads.
    devices : int
        Different GPUs: more than one for data parallelism. On the processor, so many processes
        that share its cores.
    gpu : bool
        Whether it can use GPUs; without one it takes the processor.
    whole : bool
        Whether it shares its GPUs with no other task.
    """

    memory_bytes: int
    cores: int = 1
    devices: int = 1
    gpu: bool = True
    whole: bool = False

    def slots(self, device: Device) -> int:
        """Return the slots that it takes of a device."""
        if device.is_gpu:
            return device.slots if self.whole else 1
        return max(self.cores, self.devices)

    def memory(self, device: Device) -> int:
        """Return the bytes that it takes of a device: on the processor, those of all processes."""
        return self.memory_bytes if device.is_gpu else self.memory_bytes * self.devices


@dataclass(frozen=True)
class Lease:
    """Memory and slots of one device that one process holds.

    Parameters
    ----------
    device : str
        Name of the device.
    memory_bytes, slots : int
        What is held.
    process : int
        Holder.
    title : str
        For people: the task.
    """

    device: str
    memory_bytes: int
    slots: int
    process: int
    title: str = ""


@dataclass(frozen=True)
class DeviceState:
    """A device and the leases on it.

    A lease counts with what it reserved or what its process uses, whichever is more. Where the
    driver hides processes (containers), memory of our own tasks counts twice: too little is given
    away, never too much.

    Parameters
    ----------
    device : Device
        The device.
    leases : tuple of Lease
        Those on it.
    out : str
        Why nothing of it is given away now: it does not answer, or it failed a task a while ago;
        "" for a device in service.
    lost : bool
        Whether it is out because it does not answer.
    """

    device: Device
    leases: tuple[Lease, ...] = ()
    out: str = ""
    lost: bool = False

    @property
    def foreign_bytes(self) -> int:
        """Memory in use that no lease explains."""
        holders = {lease.process for lease in self.leases}
        own = sum(used for process, used in self.device.processes.items() if process in holders)
        return max(0, self.device.used_bytes - own)

    @property
    def held_bytes(self) -> int:
        """Memory that the leases stand for."""
        reserved: dict[int, int] = {}
        for lease in self.leases:
            reserved[lease.process] = reserved.get(lease.process, 0) + lease.memory_bytes
        used = self.device.processes
        return sum(max(amount, used.get(process, 0)) for process, amount in reserved.items())

    @property
    def free_bytes(self) -> int:
        """Memory that can be given away."""
        free = self.device.total_bytes - RESERVE_BYTES - self.foreign_bytes - self.held_bytes
        return max(0, free)

    @property
    def free_slots(self) -> int:
        """Slots that can be given away."""
        if self.out:
            return 0
        return max(0, self.device.slots - sum(lease.slots for lease in self.leases))

    @property
    def load(self) -> float:
        """0 for an idle device: the larger share of memory or slots, plus its utilization."""
        slots = 1 - self.free_slots / max(1, self.device.slots)
        memory = 1 - self.free_bytes / max(1, self.device.total_bytes)
        return max(slots, memory) + self.device.utilization


@dataclass(frozen=True)
class Placement:
    """The devices that a task gets, in order."""

    devices: tuple[str, ...]

    @property
    def on_gpu(self) -> bool:
        """Whether these are GPUs."""
        return self.devices != (CPU,)

    def environment(self, need: Need) -> dict[str, str]:
        """Return the variables that keep a process on these devices and to its cores."""
        threads = {THREADS_VARIABLE: str(max(need.cores, need.devices))}
        if not self.on_gpu:
            return {"CUDA_VISIBLE_DEVICES": "", **threads}
        return {
            "CUDA_VISIBLE_DEVICES": ",".join(self.devices),
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            **threads,
        }
