"""Leases over a fake NVML: mixed loads, foreign processes, a lost GPU, dead holders, races."""

import subprocess
import sys
import threading

import psutil
import pytest
from fake_nvml import GIB, FakeNvml, Gpu

from hdsmlm.compute.device import CPU, Need
from hdsmlm.compute.holder import Holder, held, is_held
from hdsmlm.compute.inventory import CpuInventory, Machine, NvmlInventory, this_machine
from hdsmlm.compute.leases import Balancer, lease_folder
from hdsmlm.errors import ConfigError, DeviceLostError, OutputError
from hdsmlm.machine import memory


@pytest.fixture
def sleeper():
    """Return a function that starts a process that only sleeps."""
    started = []

    def start():
        process = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def _balancer(nvml, folder, environment=None):
    return Balancer(NvmlInventory(nvml, environment=environment or {}), folder)


def test_inventory_tells_loads_and_foreign_processes():
    nvml = FakeNvml(
        Gpu(processes={4242: 6 * GIB}, utilization=75),
        Gpu(total=80 * GIB, tells_utilization=False),
    )
    first, second = NvmlInventory(nvml, environment={}).read(())
    assert (first.used_bytes, first.utilization) == (6 * GIB, 0.75)
    assert first.processes == {4242: 6 * GIB}
    assert (second.total_bytes, second.utilization) == (80 * GIB, 0.0)
    assert nvml.sessions == 0  # every session was closed


def test_only_visible_gpus_are_seen():
    nvml = FakeNvml(Gpu(), Gpu(), Gpu())
    names = [d.name for d in NvmlInventory(nvml, environment={}).read(())]
    for text, expected in (("2,0", {names[0], names[2]}), (names[1], {names[1]}), ("", set())):
        seen = NvmlInventory(nvml, environment={"CUDA_VISIBLE_DEVICES": text}).read(())
        assert {device.name for device in seen} == expected


def test_no_driver_is_no_gpu():
    assert NvmlInventory(FakeNvml(Gpu(), driver=False), environment={}).read(()) == ()


def test_tasks_go_where_there_is_room_beside_foreign_processes(tmp_path, sleeper):
    nvml = FakeNvml(Gpu(processes={4242: 14 * GIB}), Gpu(), Gpu(processes={4343: 7 * GIB}))
    balancer = _balancer(nvml, tmp_path)
    got = [balancer.try_acquire(Need(5 * GIB), "t", sleeper().pid).devices[0] for _ in range(4)]
    assert sorted(got) == ["GPU-0001", "GPU-0001", "GPU-0001", "GPU-0002"]
    assert balancer.try_acquire(Need(5 * GIB), "t", sleeper().pid) is None
    assert balancer.try_acquire(Need(GIB), "t", sleeper().pid).devices == ("GPU-0002",)
    assert balancer.try_acquire(Need(3 * GIB), "t", sleeper().pid) is None


def test_a_killed_holder_holds_nothing(tmp_path, sleeper):
    balancer = _balancer(FakeNvml(Gpu()), tmp_path)
    holder = sleeper()
    assert balancer.try_acquire(Need(12 * GIB), "first", holder.pid) is not None
    assert balancer.try_acquire(Need(12 * GIB), "second") is None
    (state,) = balancer.states()
    assert state.leases[0].title == "first"
    holder.kill()
    holder.wait()
    assert balancer.try_acquire(Need(12 * GIB), "second") is not None
    balancer.release()
    assert balancer.states()[0].leases == ()


def test_a_reused_process_number_is_another_holder():
    now = Holder.of()
    assert now.alive
    assert not Holder(now.process, now.started - 60).alive


def test_a_gpu_that_disappears_is_left_out_and_named(tmp_path):
    nvml = FakeNvml(Gpu(), Gpu(processes={4242: GIB}))
    inventory = NvmlInventory(nvml, environment={})
    balancer = Balancer(inventory, tmp_path)
    assert balancer.try_acquire(Need(GIB)).devices == ("GPU-0000",)
    nvml.gpus[0].lost = True
    lost, other = balancer.states()
    assert (lost.device.name, lost.lost, lost.free_slots) == ("GPU-0000", True, 0)
    assert (other.device.name, other.out) == ("GPU-0001", "")
    assert "GPU 0 does not answer" in inventory.lost[0]
    balancer.release()
    assert balancer.try_acquire(Need(GIB)).devices == ("GPU-0001",)
    balancer.release()
    nvml.gpus[0].lost = False
    assert [state.out for state in balancer.states()] == ["", ""]


class Clock:
    def __init__(self):
        self.now_s = 1e9

    def __call__(self):
        return self.now_s

    def sleep(self, seconds):
        self.now_s += 20 * seconds


def test_a_task_waits_for_a_lost_gpu_and_does_not_move_to_the_processor(tmp_path):
    nvml, clock = FakeNvml(Gpu()), Clock()
    machine = Machine(NvmlInventory(nvml, environment={}), CpuInventory())
    balancer = Balancer(machine, tmp_path, clock)
    assert balancer.try_acquire(Need(GIB)).devices == ("GPU-0000",)
    balancer.release()
    nvml.gpus[0].lost = True
    assert balancer.try_acquire(Need(GIB)) is None
    assert balancer.try_acquire(Need(GIB, gpu=False)).devices == (CPU,)
    balancer.release()

    said = []
    with (
        pytest.raises(DeviceLostError, match="0: Fake H200 has not answered for 10 minutes"),
        balancer.lease(Need(GIB), "trial", clock.sleep, said.append),
    ):
        pass
    assert said[0].startswith("trial waits for a device: 0: Fake H200 does not answer")
    assert balancer.waiting() == ()

    def mend(seconds):
        clock.sleep(seconds)
        nvml.gpus[0].lost = False

    nvml.gpus[0].lost = True
    with balancer.lease(Need(GIB), "trial", mend) as placement:
        assert placement.devices == ("GPU-0000",)
    nvml.counts = False  # the driver itself has a fault: the same
    assert balancer.try_acquire(Need(GIB)) is None
    clock.now_s += 25 * 3600  # taken out of the machine, a day ago
    assert balancer.try_acquire(Need(GIB)).devices == (CPU,)
    balancer.release()


def test_a_gpu_hidden_from_this_process_is_not_lost(tmp_path):
    nvml = FakeNvml(Gpu(), Gpu())
    assert len(_balancer(nvml, tmp_path).states()) == 2
    one = _balancer(nvml, tmp_path, {"CUDA_VISIBLE_DEVICES": "1"})
    assert [state.device.name for state in one.states()] == ["GPU-0001"]
    assert _balancer(nvml, tmp_path, {"CUDA_VISIBLE_DEVICES": ""}).states() == ()


def test_a_gpu_that_failed_a_task_rests_longer_each_time(tmp_path):
    clock = Clock()
    balancer = Balancer(NvmlInventory(FakeNvml(Gpu(), Gpu()), environment={}), tmp_path, clock)
    first = balancer.try_acquire(Need(GIB))
    assert first.devices == ("GPU-0000",)
    balancer.release()
    balancer.failed(first)
    assert "rests for 60 s" in balancer.states()[0].out
    for _ in range(2):  # the other one takes them all, though it is the busier one
        assert balancer.try_acquire(Need(GIB)).devices == ("GPU-0001",)
    balancer.release()
    clock.now_s += 61
    assert balancer.states()[0].out == ""
    balancer.failed(first)
    assert "rests for 120 s" in balancer.states()[0].out
    clock.now_s += 121
    balancer.worked(first)
    balancer.failed(first)
    assert "rests for 60 s" in balancer.states()[0].out


def test_a_large_task_is_not_overtaken_for_ever(tmp_path, sleeper):
    clock = Clock()
    balancer = Balancer(NvmlInventory(FakeNvml(Gpu()), environment={}), tmp_path, clock)
    small = [sleeper() for _ in range(3)]
    assert balancer.try_acquire(Need(6 * GIB), "small", small[0].pid)
    later = []

    def nap(seconds):
        clock.sleep(seconds)
        waited_s = balancer.waiting()[0].since_s
        if waited_s < 60 and not later:
            later.append(balancer._attempt(Need(6 * GIB), "s", Holder.of(small[1].pid), True)[0])
        elif (
            waited_s > 60 and len(later) == 1
        ):  # a third one comes after a minute: there is room, but not for it
            small[1].kill()
            small[1].wait()
            later.append(balancer._attempt(Need(6 * GIB), "s", Holder.of(small[2].pid), True)[0])
        elif len(later) == 2 and small[0].poll() is None:
            small[0].kill()
            small[0].wait()

    with balancer.lease(Need(14 * GIB), "large", nap) as placement:
        assert placement.devices == ("GPU-0000",)
        assert later[0] is not None
        assert later[1] is None
        assert [waiter.title for waiter in balancer.waiting()] == ["s"]


def test_refused_questions_are_no_fault(tmp_path):
    nvml = FakeNvml(Gpu(processes={4242: 6 * GIB}, tells_processes=False))
    (device,) = NvmlInventory(nvml, environment={}).read(())
    assert (device.used_bytes, device.processes) == (6 * GIB, {})


def test_doubtful_numbers_of_gpus_are_said():
    nvml = FakeNvml(Gpu(), Gpu(title="Fake A2"), Gpu())

    def seen(**environment):
        inventory = NvmlInventory(nvml, environment=environment)
        return len(inventory.read(())), inventory.lost

    assert seen(CUDA_VISIBLE_DEVICES="0,2") == (2, ())
    assert seen(CUDA_VISIBLE_DEVICES="0,-1,2") == (1, ())  # CUDA stops there too
    n, doubts = seen(CUDA_VISIBLE_DEVICES="0,1")
    assert (n, "PCI_BUS_ID" in doubts[0]) == (2, True)
    assert seen(CUDA_VISIBLE_DEVICES="0,1", CUDA_DEVICE_ORDER="PCI_BUS_ID") == (2, ())
    assert "MIG" in seen(CUDA_VISIBLE_DEVICES="MIG-1234")[1][0]


def test_leases_of_threads_at_once_never_overlap(tmp_path, sleeper):
    balancer = _balancer(FakeNvml(Gpu(), Gpu()), tmp_path)
    holders = [sleeper().pid for _ in range(6)]
    got = []

    def take(process):
        got.append(balancer.try_acquire(Need(6 * GIB), "t", process))

    threads = [threading.Thread(target=take, args=(process,)) for process in holders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(placement is not None for placement in got) == 4  # two of 6 GiB on each of 16
    assert all(state.held_bytes <= 12 * GIB for state in balancer.states())


def test_waiting_ends_when_there_is_room_and_the_lease_with_the_block(tmp_path, sleeper):
    balancer = _balancer(FakeNvml(Gpu()), tmp_path)
    holder = sleeper()
    balancer.try_acquire(Need(12 * GIB), "first", holder.pid)
    naps = []

    def nap(seconds):
        naps.append(seconds)
        if len(naps) == 2:
            holder.kill()
            holder.wait()

    with balancer.lease(Need(12 * GIB), "second", nap) as placement:
        assert placement.devices == ("GPU-0000",)
        assert balancer.states()[0].leases[0].title == "second"
    assert len(naps) == 2
    assert balancer.states()[0].leases == ()


def test_what_fits_no_device_is_refused_at_once(tmp_path):
    with pytest.raises(ConfigError, match="smaller batch"):
        _balancer(FakeNvml(Gpu(total=4 * GIB)), tmp_path).try_acquire(Need(5 * GIB))


def test_the_processor_takes_tasks_by_cores_with_the_same_code(tmp_path):
    balancer = Balancer(Machine(NvmlInventory(FakeNvml(driver=False), environment={}),
                                CpuInventory()), tmp_path)  # fmt: skip
    (state,) = balancer.states()
    cores = state.device.slots
    assert state.device.total_bytes == memory().total_bytes <= psutil.virtual_memory().total
    placement = balancer.try_acquire(Need(2**20, cores=cores), "all cores")
    assert placement.devices == (CPU,)
    assert balancer.try_acquire(Need(2**20, cores=1)) is None
    balancer.release()


def test_this_machine_has_a_processor():
    assert this_machine().read(())[-1].name == CPU


def test_lease_folder_is_private_and_can_be_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HDSMLM_LEASES", str(tmp_path / "own"))
    folder = lease_folder()
    assert folder == tmp_path / "own"
    assert folder.stat().st_mode & 0o077 == 0


def test_a_folder_has_one_holder(tmp_path):
    code = (
        "import sys, time; from pathlib import Path\n"
        "from hdsmlm.compute.holder import held\n"
        "with held(Path(sys.argv[1])):\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(600)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline().strip() == "ready"
        assert is_held(tmp_path)
        with pytest.raises(OutputError, match=f"process {other.pid}"), held(tmp_path):
            pass
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    with held(tmp_path):  # the system has dropped the lock of the killed one
        assert is_held(tmp_path)
    assert not is_held(tmp_path)
