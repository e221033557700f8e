"""Which devices a task gets: a pure function of what is free and what is wanted."""

from __future__ import annotations

from collections.abc import Sequence

from hdsmlm.compute.device import Device, DeviceState, Need, Placement
from hdsmlm.errors import ConfigError


def place(need: Need, states: Sequence[DeviceState]) -> Placement | None:
    """Return the devices for a task, or None while there is no room.

    A device is fit when memory AND slots are free. Of the fit ones the least loaded are taken (at
    equal load, in the order given). The GPUs of one task are different ones; the processor is one
    device, on which all processes of the task run. A task that can use
    GPUs goes to the processor only where there is no GPU at all: one that waits for a GPU is done
    sooner than one on the processor. A GPU that does not answer counts as there, with no room.

    Parameters
    ----------
    need : Need
        What is wanted.
    states : sequence of DeviceState
        All devices with the leases on them.
    """
    kind = [state for state in states if state.device.is_gpu == _wants_gpu(need, states)]
    fit = [state for state in kind if _fits(need, state)]
    count = _devices(need, states)
    if len(fit) < count:
        return None
    chosen = sorted(fit, key=lambda state: state.load)[:count]
    return Placement(tuple(state.device.name for state in chosen))


def needs_lost(need: Need, states: Sequence[DeviceState]) -> bool:
    """Whether a task has to wait for a GPU that does not answer, however idle the others become."""
    kind = [state for state in states if state.device.is_gpu == _wants_gpu(need, states)]
    answering = [DeviceState(_emptied(state)) for state in kind if not state.lost]
    return sum(_fits(need, state) for state in answering) < _devices(need, states)


def check_possible(need: Need, states: Sequence[DeviceState]) -> None:
    """Refuse a task that would wait for ever: no set of EMPTY devices could hold it.

    Raises
    ------
    ConfigError
        Says what was wanted and what the largest device has.
    """
    kind = [
        DeviceState(_emptied(state))
        for state in states
        if state.device.is_gpu == _wants_gpu(need, states)
    ]
    count = _devices(need, states)
    if sum(_fits(need, state) for state in kind) >= count:
        return
    largest = max((state.free_bytes for state in kind), default=0)
    slots = max((state.device.slots for state in kind), default=0)
    wanted = max((need.slots(state.device) for state in kind), default=1)
    memory = max((need.memory(state.device) for state in kind), default=need.memory_bytes)
    raise ConfigError(
        f"a task needs {count} device(s) with {memory / 2**30:.1f} GiB and "
        f"{wanted} slot(s) each, but of {len(kind)} the largest has {largest / 2**30:.1f} GiB "
        f"and {slots} slot(s); take a smaller batch, network or number of devices"
    )


def _wants_gpu(need: Need, states: Sequence[DeviceState]) -> bool:
    return need.gpu and any(state.device.is_gpu for state in states)


def _devices(need: Need, states: Sequence[DeviceState]) -> int:
    return need.devices if _wants_gpu(need, states) else 1


def _fits(need: Need, state: DeviceState) -> bool:
    return state.free_bytes >= need.memory(state.device) and state.free_slots >= need.slots(
        state.device
    )


def _emptied(state: DeviceState) -> Device:
    device = state.device
    return Device(device.name, device.title, device.total_bytes, 0, device.slots)
