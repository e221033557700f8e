"""A stand-in for ``pynvml`` with as many GPUs as a test wants."""

from dataclasses import dataclass, field
from types import SimpleNamespace

GIB = 2**30


class NvmlError(Exception):
    """As NVML raises it."""

    def __init__(self, value, text):
        super().__init__(text)
        self.value = value


@dataclass
class Gpu:
    total: int = 16 * GIB
    utilization: int = 0
    processes: dict = field(default_factory=dict)  # process -> bytes
    lost: bool = False
    tells_utilization: bool = True
    tells_processes: bool = True
    title: str = "Fake H200"


class FakeNvml:
    NVMLError = NvmlError
    NVML_ERROR_NOT_SUPPORTED = 3
    NVML_ERROR_NO_PERMISSION = 4

    def __init__(self, *gpus, driver=True):
        self.gpus = list(gpus)
        self.driver = driver
        self.counts = True
        self.sessions = 0

    def nvmlInit(self):  # noqa: N802
        if not self.driver:
            raise NvmlError(9, "Driver Not Loaded")
        self.sessions += 1

    def nvmlShutdown(self):  # noqa: N802
        self.sessions -= 1

    def nvmlDeviceGetCount(self):  # noqa: N802
        if not self.counts:
            raise NvmlError(999, "Unknown Error")
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        return index

    def _gpu(self, handle):
        if self.gpus[handle].lost:
            raise NvmlError(15, "GPU is lost")
        return self.gpus[handle]

    def nvmlDeviceGetMemoryInfo(self, handle):  # noqa: N802
        gpu = self._gpu(handle)
        used = sum(gpu.processes.values())
        return SimpleNamespace(total=gpu.total, used=used, free=gpu.total - used)

    def nvmlDeviceGetUUID(self, handle):  # noqa: N802
        return f"GPU-{handle:04d}".encode()

    def nvmlDeviceGetName(self, handle):  # noqa: N802
        return self.gpus[handle].title

    def nvmlDeviceGetUtilizationRates(self, handle):  # noqa: N802
        gpu = self._gpu(handle)
        if not gpu.tells_utilization:
            raise NvmlError(3, "Not Supported")
        return SimpleNamespace(gpu=gpu.utilization, memory=0)

    def nvmlDeviceGetComputeRunningProcesses(self, handle):  # noqa: N802
        if not self._gpu(handle).tells_processes:
            raise NvmlError(4, "Insufficient Permissions")
        listed = self._gpu(handle).processes.items()
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in listed]

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle):  # noqa: N802
        raise NvmlError(3, "Not Supported")
