"""What devices there are: NVIDIA GPUs through NVML, and the processor."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from contextlib import contextmanager
from itertools import takewhile
from operator import itemgetter
from typing import Any, Protocol

from hdsmlm.compute.device import CPU, Device
from hdsmlm.machine import memory, usable_cores

VISIBLE = "CUDA_VISIBLE_DEVICES"
TASKS_PER_GPU = 4
"""Tasks that may share a GPU where their memory allows: more only slow each other down."""


class Inventory(Protocol):
    """Looks at the devices of this machine.

    ``scope`` says which of the machine's devices may be seen at all: a device that was there before
    in the same scope, and is not now, is lost.
    """

    @property
    def scope(self) -> str:
        """Which devices may be seen."""

    def read(self, holders: Collection[int]) -> tuple[Device, ...]:
        """Return the devices now; the processes ``holders`` are those with leases."""


class CpuInventory:
    """The processor as one device: its cores are slots, its memory is the machine's.

    Both within the limits of the container, where there is one.
    """

    scope = ""

    def read(self, holders: Collection[int]) -> tuple[Device, ...]:
        """Return one device; memory of a holder includes that of its children."""
        import psutil

        found = memory()
        return (
            Device(
                name=CPU,
                title="processor",
                total_bytes=found.total_bytes,
                used_bytes=found.used_bytes,
                slots=usable_cores(),
                utilization=min(1.0, psutil.getloadavg()[0] / max(1, os.cpu_count() or 1)),
                processes={process: _resident_bytes(process) for process in holders},
            ),
        )


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
        self._by_bus = environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
        self.scope = "all" if self._visible is None else self._visible
        self.lost: tuple[str, ...] = ()

    def read(self, holders: Collection[int]) -> tuple[Device, ...]:
        """Return the GPUs that answer."""
        del holders  # the driver lists all processes
        devices: list[Device] = []
        lost: list[str] = []
        with self._session() as ready:
            for index in range(self._count(lost) if ready else 0):
                try:
                    device = self._device(index)
                except self._nvml.NVMLError as error:
                    lost.append(f"GPU {index} does not answer: {error}")
                    continue
                if self._is_visible(index, device.name):
                    devices.append(device)
        self.lost = (*lost, *self._doubts(devices))
        return tuple(devices)

    def _count(self, lost: list[str]) -> int:
        try:
            return int(self._nvml.nvmlDeviceGetCount())
        except self._nvml.NVMLError as error:
            lost.append(f"the GPUs cannot be counted: {error}")
            return 0

    def _doubts(self, devices: Collection[Device]) -> list[str]:
        """Say where CUDA_VISIBLE_DEVICES may mean other GPUs than those that were understood."""
        parts = self._visible_parts()
        doubts = []
        names = {device.title.split(": ", 1)[-1] for device in devices}
        if any(part.isdigit() for part in parts) and len(names) > 1 and not self._by_bus:
            doubts.append(
                f"{VISIBLE} numbers GPUs of different kinds: CUDA counts the fastest first, NVML "
                "by bus; set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name the GPUs by their UUID"
            )
        if any(part.startswith("MIG") for part in parts):
            doubts.append(f"{VISIBLE} names a part of a GPU (MIG): parts are not placed on")
        return doubts

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
            silent = (self._nvml.NVML_ERROR_NOT_SUPPORTED, self._nvml.NVML_ERROR_NO_PERMISSION)
            if getattr(error, "value", None) in silent:
                return default
            raise

    def _is_visible(self, index: int, name: str) -> bool:
        if self._visible is None:
            return True
        return any(part == str(index) or name.startswith(part) for part in self._visible_parts())

    def _visible_parts(self) -> list[str]:
        """Return the entries before the first that is none, such as -1: there CUDA stops too."""
        parts = [part.strip() for part in (self._visible or "").split(",")]
        right = (part.isdigit() or part.startswith(("GPU", "MIG")) for part in parts)
        return [part for part, _ in takewhile(itemgetter(1), zip(parts, right, strict=True))]


class Machine:
    """GPUs, then the processor."""

    def __init__(self, *parts: Inventory) -> None:
        self.parts = parts

    @property
    def scope(self) -> str:
        """What may be seen."""
        return "/".join(part.scope for part in self.parts)

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
