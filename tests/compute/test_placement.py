"""Placement never gives what is not there, prefers idle devices, and spreads and shares as told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdsmlm.compute.device import CPU, RESERVE_BYTES, Device, DeviceState, Lease, Need
from hdsmlm.compute.placement import check_possible, place
from hdsmlm.errors import ConfigError

GIB = 2**30


def _gpu(name, total=16, used=0, slots=4, leases=(), utilization=0.0, processes=None):
    device = Device(name, name, total * GIB, used * GIB, slots, utilization, processes or {})
    return DeviceState(device, tuple(leases))


devices = st.lists(
    st.builds(
        lambda total, used, slots, utilization: (total, min(used, total), slots, utilization),
        st.integers(1, 80),
        st.integers(0, 80),
        st.integers(1, 5),
        st.floats(0, 1),
    ),
    min_size=1,
    max_size=5,
)
needs = st.lists(
    st.builds(
        lambda memory, count: Need(memory_bytes=memory * GIB // 4, devices=count),
        st.integers(0, 200),
        st.integers(1, 3),
    ),
    max_size=12,
)


@given(devices, needs)
def test_never_more_memory_or_slots_than_there_are(described, wanted):
    states = [
        DeviceState(Device(f"GPU-{k}", "", total * GIB, used * GIB, slots, busy))
        for k, (total, used, slots, busy) in enumerate(described)
    ]
    for process, need in enumerate(wanted):
        loads = {state.device.name: state.load for state in states}
        fit = {
            s.device.name for s in states if s.free_bytes >= need.memory_bytes and s.free_slots >= 1
        }
        placement = place(need, states)
        if placement is None:
            assert len(fit) < need.devices
            continue
        chosen = placement.devices
        assert len(set(chosen)) == need.devices  # data-parallel copies are on different devices
        assert set(chosen) <= fit
        left_out = fit - set(chosen)
        assert all(loads[a] <= loads[b] for a in chosen for b in left_out)
        states = [
            DeviceState(s.device, (*s.leases, Lease(s.device.name, need.memory_bytes, 1, process)))
            if s.device.name in chosen
            else s
            for s in states
        ]
    for state in states:
        device = state.device
        leased = sum(lease.memory_bytes for lease in state.leases)
        if state.leases:
            assert leased + device.used_bytes + RESERVE_BYTES <= device.total_bytes + (
                RESERVE_BYTES if leased == 0 else 0
            )
        assert len(state.leases) <= device.slots


def test_the_idle_gpu_comes_first_and_a_busy_one_last():
    states = [
        _gpu("busy", utilization=0.9),
        _gpu("crowded", used=12),
        _gpu("idle"),
    ]
    assert place(Need(GIB), states).devices == ("idle",)
    assert place(Need(GIB, devices=2), states).devices == ("idle", "crowded")


def test_small_tasks_share_a_gpu_until_its_slots_are_used():
    states = [_gpu("one", slots=2, leases=[Lease("one", GIB, 1, 7)])]
    assert place(Need(GIB), states).devices == ("one",)
    full = [_gpu("one", slots=2, leases=[Lease("one", GIB, 1, 7), Lease("one", GIB, 1, 8)])]
    assert place(Need(GIB), full) is None


def test_a_lease_counts_with_what_its_process_uses_or_reserved_whichever_is_more():
    lease = Lease("one", 4 * GIB, 1, process=7)
    modest = _gpu("one", used=1, leases=[lease], processes={7: GIB})
    greedy = _gpu("one", used=9, leases=[lease], processes={7: 9 * GIB})
    hidden = _gpu("one", used=3, leases=[lease])  # a container hides whose the 3 GiB are
    assert modest.foreign_bytes == 0
    assert modest.free_bytes == 12 * GIB - RESERVE_BYTES
    assert greedy.free_bytes == 7 * GIB - RESERVE_BYTES
    assert hidden.free_bytes == 9 * GIB - RESERVE_BYTES


def test_processor_only_without_gpu_and_by_cores():
    cpu = DeviceState(Device(CPU, "processor", 32 * GIB, 4 * GIB, slots=4))
    need = Need(GIB, cores=3)
    assert place(need, [cpu, _gpu("g")]).devices == ("g",)
    assert place(need, [cpu, _gpu("g", used=16)]) is None  # it waits for the GPU
    assert place(need, [cpu]).devices == (CPU,)
    assert place(Need(GIB, cores=3, gpu=False), [cpu, _gpu("g")]).devices == (CPU,)
    held = DeviceState(cpu.device, (Lease(CPU, GIB, 3, 7),))
    assert place(need, [held]) is None
    assert place(Need(GIB, cores=1), [held]).devices == (CPU,)


def test_processes_of_one_task_share_the_processor():
    cpu = DeviceState(Device(CPU, "processor", 32 * GIB, 4 * GIB, slots=4))
    need = Need(GIB, cores=1, devices=3)
    assert place(need, [cpu]).devices == (CPU,)
    assert place(need, [cpu]).environment(need)["OMP_NUM_THREADS"] == "3"
    assert (need.slots(cpu.device), need.memory(cpu.device)) == (3, 3 * GIB)
    assert place(need, [DeviceState(cpu.device, (Lease(CPU, GIB, 2, 7),))]) is None
    assert place(Need(10 * GIB, devices=3), [cpu]) is None  # 30 GiB, and 4 are in use
    with pytest.raises(ConfigError, match=r"33\.0 GiB"):
        check_possible(Need(11 * GIB, devices=3), [cpu])


def test_what_never_fits_is_refused_with_numbers():
    states = [_gpu("g", leases=[Lease("g", 15 * GIB, 1, 7)])]
    check_possible(Need(8 * GIB), states)  # later, when the other is done
    with pytest.raises(ConfigError, match=r"20\.0 GiB.*largest has 15\.8 GiB"):
        check_possible(Need(20 * GIB), states)
    with pytest.raises(ConfigError, match="2 device"):
        check_possible(Need(GIB, devices=2), states)


def test_environment_keeps_a_process_on_its_devices():
    need = Need(GIB, cores=2)
    gpus = place(Need(GIB, devices=2), [_gpu("a"), _gpu("b")])
    assert gpus.environment(need)["CUDA_VISIBLE_DEVICES"] == "a,b"
    cpu = place(need, [DeviceState(Device(CPU, "", 8 * GIB, 0, 4))])
    assert gpus.environment(need)["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert gpus.environment(need)["OMP_NUM_THREADS"] == "2"
    assert cpu.environment(need) == {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "2"}


def test_a_whole_gpu_is_shared_with_nobody():
    whole = Need(GIB, whole=True)
    idle, shared = _gpu("a", utilization=1.0), _gpu("b", leases=[Lease("b", GIB, 1, 1)])
    assert place(whole, [idle, shared]).devices == ("a",)  # though it is busy with others' work
    assert place(whole, [shared]) is None
    taken = _gpu("a", leases=[Lease("a", GIB, whole.slots(idle.device), 1)])
    assert place(Need(GIB), [taken]) is None
    assert place(whole, [taken, _gpu("c")]).devices == ("c",)
