"""What devices there are: NVIDIA GPUs through NVML, and the processor."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from hdsmlm.compute.device import CPU, Device

VISIBLE = "CUDA_VISIBLE_DEVICES"
TASKS_PER_GPU = 4
"""Tasks that may share a GPU where their memory allows: more only slow each other down."""


class Inventory(Protocol):
    """Looks at the devices of this machine."""

    def read(self, holders: Collection[int]) -> tuple[Device, ...]:
        """Return the devices now; the processes ``holders`` are those with leases."""


class CpuInventory:
    """The processor as one device: its cores are slots, its memory is the machine's."""

    def read(self, holders: Collection[int]) -> tuple[Device, ...]:
        """Return one device; memory of a holder includes that of its children."""
        import psutil

        memory = psutil.virtual_memory()
        return (
            Device(
                name=CPU,
                title="processor",
                total_bytes=memory.total,
                used_bytes=memory.total - memory.available,
                slots=usable_cores(),
                utilization=min(1.0, psutil.getloadavg()[0] / max(1, os.cpu_count() or 1)),
                processes={process: _resident_bytes(process) for process in holders},
            ),
        )


def usable_cores() -> int:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _resident_bytes(process: int) -> int:
    import psutil

    total = 0
    try:
        parent = psutil.Process(process)
        family = [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return 0
    for member in family:
        try:
            total += member.memory_info().rss
        except psutil.Error:
            continue
    return total


class NvmlInventory:
    """GPUs through NVML.

    A GPU that does not answer (it fell off the bus) is left out and named in :attr:`lost`.

    Parameters
    ----------
    library : module
        ``pynvml``, or an object with the same functions.
    tasks_per_gpu : int
        Slots of each GPU.
    environment : mapping
        Its ``CUDA_VISIBLE_DEVICES`` (numbers or UUIDs) limits what is seen.
    """

    def __init__(
        self,
        library: Any,
        tasks_per_gpu: int = TASKS_PER_GPU,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._nvml = library
        self._slots = tasks_per_gpu
        self._visible = environment.get(VISIBLE)
        self.lost: tuple[str, ...] = ()

    def read(self, holders: Collection[int]) -> tuple[Device, ...]:
        """Return the GPUs that answer."""
        del holders  # the driver lists all processes
        devices, lost = [], []
        with self._session() as ready:
            for index in range(self._nvml.nvmlDeviceGetCount() if ready else 0):
                try:
                    device = self._device(index)
                except self._nvml.NVMLError as error:
                    lost.append(f"GPU {index} does not answer: {error}")
                    continue
                if self._is_visible(index, device.name):
                    devices.append(device)
        self.lost = tuple(lost)
        return tuple(devices)

    @contextmanager
    def _session(self) -> Any:
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError:  # no driver on this machine
            yield False
            return
        try:
            yield True
        finally:
            self._nvml.nvmlShutdown()

    def _device(self, index: int) -> Device:
        nvml = self._nvml
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        return Device(
            name=_text(nvml.nvmlDeviceGetUUID(handle)),
            title=f"{index}: {_text(nvml.nvmlDeviceGetName(handle))}",
            total_bytes=int(memory.total),
            used_bytes=int(memory.used),
            slots=self._slots,
            utilization=self._optional(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu, 0)
            / 100,
            processes=self._processes(handle),
        )

    def _processes(self, handle: Any) -> dict[int, int]:
        nvml = self._nvml
        running: list[Any] = []
        for ask in (
            nvml.nvmlDeviceGetComputeRunningProcesses,
            nvml.nvmlDeviceGetGraphicsRunningProcesses,
        ):
            running += self._optional(lambda ask=ask: ask(handle), [])  # type: ignore[misc]
        return {int(one.pid): int(one.usedGpuMemory or 0) for one in running}

    def _optional(self, ask: Callable[[], Any], default: Any) -> Any:
        """Return an answer that some GPUs refuse to give; a lost GPU is still an error."""
        try:
            return ask()
        except self._nvml.NVMLError as error:
            if getattr(error, "value", None) == self._nvml.NVML_ERROR_NOT_SUPPORTED:
                return default
            raise

    def _is_visible(self, index: int, name: str) -> bool:
        if self._visible is None:
            return True
        wanted = [part.strip() for part in self._visible.split(",") if part.strip()]
        return any(part == str(index) or (part and name.startswith(part)) for part in wanted)


class Machine:
    """GPUs, then the processor."""

    def __init__(self, *parts: Inventory) -> None:
        self.parts = parts

    def read(self, holders: Collection[int]) -> tuple[Device, ...]:
        """Return all devices."""
        return tuple(device for part in self.parts for device in part.read(holders))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know: GPUs that do not answer, a missing library."""
        notes = [note for part in self.parts for note in getattr(part, "lost", ())]
        if not any(isinstance(part, NvmlInventory) for part in self.parts):
            notes.append("GPUs are not looked for: pip install 'hdsmlm[search]' brings NVML")
        return tuple(notes)


def this_machine(tasks_per_gpu: int = TASKS_PER_GPU) -> Machine:
    """Return the inventory of this machine: with GPUs where NVML's Python package is installed."""
    try:
        import pynvml
    except ImportError:
        return Machine(CpuInventory())
    return Machine(NvmlInventory(pynvml, tasks_per_gpu), CpuInventory())


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
