"""Where work runs: devices and their memory, who holds them, and runners for tasks."""

from hdsmlm.compute.device import Device, DeviceState, Lease, Need, Placement
from hdsmlm.compute.task import Outcome, Runner, Status, Task

__all__ = [
    "Device",
    "DeviceState",
    "Lease",
    "Need",
    "Outcome",
    "Placement",
    "Runner",
    "Status",
    "Task",
]
