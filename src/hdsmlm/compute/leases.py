"""Who holds which device: leases in one SQLite file per machine and user.

A lease belongs to a process (its number and its start time, since numbers are used again). When the
process is gone, however it ended, its leases are gone with the next look: nothing has to be cleaned
up, and nothing can leak. Taking one is a transaction: two searches never get the same memory. The
driver is asked before it, so that a slow driver holds up nobody else; what leases reserve is read
inside it.

The file also keeps who waits (a task that has waited for a while is not overtaken any more), which
GPUs were there (one that vanishes is waited for, its tasks do not move to the processor) and which
of them failed a task (they rest, longer each time, so that a broken GPU does not eat every task).
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from hdsmlm.compute.device import Device, DeviceState, Lease, Need, Placement
from hdsmlm.compute.holder import Holder
from hdsmlm.compute.inventory import Inventory
from hdsmlm.compute.placement import check_possible, needs_lost, place
from hdsmlm.errors import DeviceLostError, OutputError
from hdsmlm.io.writing import writing

FOLDER_VARIABLE = "HDSMLM_LEASES"
"""Environment variable that names another folder; it must lie on a disk of the machine itself."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS leases (id INTEGER PRIMARY KEY, device TEXT, memory_bytes INTEGER,
    slots INTEGER, process INTEGER, started REAL, title TEXT);
CREATE TABLE IF NOT EXISTS waiting (id INTEGER PRIMARY KEY AUTOINCREMENT, since REAL, need TEXT,
    process INTEGER, started REAL, title TEXT);
CREATE TABLE IF NOT EXISTS gpus (scope TEXT, name TEXT, title TEXT, total_bytes INTEGER,
    slots INTEGER, seen REAL, PRIMARY KEY (scope, name));
CREATE TABLE IF NOT EXISTS faults (name TEXT PRIMARY KEY, number INTEGER, at REAL);
"""
_POLL_S = 0.5
OVERTAKE_S = 60.0
"""Waiting time after which a task is not overtaken by later ones of its kind."""
LOST_PATIENCE_S = 600.0
"""How long a task waits for a GPU that does not answer."""
_FORGET_S = 24 * 3600.0
"""A GPU that was not seen for so long is not waited for; a fault of so long ago is over."""
_REST_S, _LONGEST_REST_S = 60.0, 3600.0


@dataclass(frozen=True)
class Waiter:
    """A task that waits for devices.

    Parameters
    ----------
    title : str
        The task.
    process : int
        Who waits.
    since_s : float
        For how long.
    need : Need
        For what.
    """

    title: str
    process: int
    since_s: float
    need: Need


def lease_folder() -> Path:
    """Return the folder of the leases, on this machine's own disk, private to the user."""
    named = os.environ.get(FOLDER_VARIABLE)
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    folder = Path(named) if named else Path(tempfile.gettempdir()) / f"hdsmlm-{user}"
    with writing(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
        raise OutputError(
            f"{folder} belongs to somebody else; name a folder of yours in {FOLDER_VARIABLE}"
        )
    return folder


def rest_s(faults: int) -> float:
    """Return how long a GPU rests after so many faults in a row: a minute, doubled each time."""
    return min(_LONGEST_REST_S, _REST_S * 2.0 ** (faults - 1))


class Balancer:
    """Gives devices to processes.

    Parameters
    ----------
    inventory : Inventory
        Looks at the devices.
    folder : Path, optional
        Folder of the leases; default that of this machine and user.
    clock : callable, optional
        Seconds since 1970.
    """

    def __init__(
        self,
        inventory: Inventory,
        folder: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._inventory = inventory
        self._path = (folder or lease_folder()) / "leases.db"
        self._clock = clock

    def states(self) -> tuple[DeviceState, ...]:
        """Return all devices with the leases of living processes."""
        devices = self._devices()
        with self._transaction() as database:
            return self._states(database, devices)

    def waiting(self) -> tuple[Waiter, ...]:
        """Return the tasks that wait, the one that came first first."""
        with self._transaction() as database:
            return tuple(waiter for _, waiter in self._waiters(database))

    def try_acquire(
        self, need: Need, title: str = "", process: int | None = None
    ) -> Placement | None:
        """Take devices for a process (default: this one); None while there is no room.

        Raises
        ------
        ConfigError
            When not even empty devices could hold the task.
        """
        return self._attempt(need, title, Holder.of(process), queue=False)[0]

    def release(self, process: int | None = None) -> None:
        """Give back all that a process (default: this one) holds."""
        number = os.getpid() if process is None else process
        with self._transaction() as database:
            database.execute("DELETE FROM leases WHERE process = ?", (number,))

    @contextmanager
    def lease(
        self,
        need: Need,
        title: str = "",
        sleep: Callable[[float], None] = time.sleep,
        say: Callable[[str], None] | None = None,
    ) -> Iterator[Placement]:
        """Wait for devices, hold them for the block, give them back.

        Parameters
        ----------
        need : Need
            What is wanted.
        title : str
            For people: the task.
        sleep : callable
            Waits for some seconds.
        say : callable, optional
            Hears once why it waits.

        Raises
        ------
        ConfigError
            When not even empty devices could hold the task.
        DeviceLostError
            When the GPUs that it needs have not answered for ten minutes.
        """
        holder = Holder.of()
        began_s, lost_since_s, told = self._clock(), None, False
        try:
            while True:
                placement, states = self._attempt(need, title, holder, queue=True)
                if placement is not None:
                    break
                lost_since_s = (lost_since_s or self._clock()) if needs_lost(need, states) else None
                if lost_since_s is not None and self._clock() - lost_since_s > LOST_PATIENCE_S:
                    raise DeviceLostError(_lost_words(states))
                if say is not None and not told:
                    say(f"{title or 'the task'} waits for a device: {_room(states)}")
                told = True
                sleep(_POLL_S)
        finally:
            self._leave_queue(holder)
        if told and say is not None:
            say(f"{title or 'the task'} starts after {self._clock() - began_s:.0f} s")
        try:
            yield placement
        finally:
            self.release()

    def failed(self, placement: Placement) -> None:
        """Let the GPUs of a task that lost its device rest."""
        with self._transaction() as database:
            for name in placement.devices if placement.on_gpu else ():
                database.execute(
                    "INSERT INTO faults VALUES (?, 1, ?) ON CONFLICT (name) DO UPDATE "
                    "SET number = number + 1, at = excluded.at",
                    (name, self._clock()),
                )

    def worked(self, placement: Placement) -> None:
        """Forget the faults of the GPUs of a task that ended well."""
        with self._transaction() as database:
            for name in placement.devices:
                database.execute("DELETE FROM faults WHERE name = ?", (name,))

    def _attempt(
        self, need: Need, title: str, holder: Holder, queue: bool
    ) -> tuple[Placement | None, tuple[DeviceState, ...]]:
        devices = self._devices()
        with self._transaction() as database:
            states = self._states(database, devices)
            check_possible(need, states)
            placement = None
            if not queue or not self._is_behind(database, holder, need, states):
                placement = place(need, states)
            chosen = placement.devices if placement else ()
            for device in (state.device for state in states if state.device.name in chosen):
                database.execute(
                    "INSERT INTO leases (device, memory_bytes, slots, process, started, title) "
                    "VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        device.name,
                        need.memory(device),
                        need.slots(device),
                        holder.process,
                        holder.started,
                        title,
                    ),
                )
            if placement is None and queue:
                database.execute(
                    "INSERT INTO waiting (since, need, process, started, title) "
                    "SELECT ?, ?, ?, ?, ? WHERE NOT EXISTS "
                    "(SELECT 1 FROM waiting WHERE process = ?)",
                    (
                        self._clock(),
                        json.dumps(asdict(need)),
                        holder.process,
                        holder.started,
                        title,
                        holder.process,
                    ),
                )
        return placement, states

    def _is_behind(
        self,
        database: sqlite3.Connection,
        holder: Holder,
        need: Need,
        states: Sequence[DeviceState],
    ) -> bool:
        """Whether an earlier task of this kind has waited so long that it must be next.

        One that waits for a lost GPU holds up nobody.
        """
        for _, waiter in self._waiters(database):
            if waiter.process == holder.process:
                return False
            same_kind = waiter.need.gpu == need.gpu
            if same_kind and waiter.since_s > OVERTAKE_S and not needs_lost(waiter.need, states):
                return True
        return False

    def _waiters(self, database: sqlite3.Connection) -> list[tuple[int, Waiter]]:
        """Return the waiting tasks of living processes and forget the others."""
        found = []
        rows = database.execute(
            "SELECT id, since, need, process, started, title FROM waiting ORDER BY id"
        ).fetchall()
        for key, since, need, process, started, title in rows:
            if Holder(process, started).alive:
                waited_s = self._clock() - since
                found.append((key, Waiter(title, process, waited_s, Need(**json.loads(need)))))
            else:
                database.execute("DELETE FROM waiting WHERE id = ?", (key,))
        return found

    def _leave_queue(self, holder: Holder) -> None:
        with self._transaction() as database:
            database.execute("DELETE FROM waiting WHERE process = ?", (holder.process,))

    def _devices(self) -> tuple[Device, ...]:
        """Ask the driver, outside of any transaction."""
        with self._transaction() as database:
            holders = {lease.process for lease in _living(database)}
        return self._inventory.read(holders)

    def _states(
        self, database: sqlite3.Connection, devices: Sequence[Device]
    ) -> tuple[DeviceState, ...]:
        leases = _living(database)
        faults = self._faults(database)
        states = [
            DeviceState(
                device,
                tuple(lease for lease in leases if lease.device == device.name),
                faults.get(device.name, ""),
            )
            for device in devices
        ]
        return (*self._vanished(database, devices), *states)

    def _faults(self, database: sqlite3.Connection) -> dict[str, str]:
        """Return why devices rest, by name."""
        rests = {}
        for name, number, at in database.execute("SELECT name, number, at FROM faults").fetchall():
            left_s = at + rest_s(number) - self._clock()
            if left_s > 0:
                rests[name] = f"failed {number} task(s), rests for {left_s:.0f} s"
            elif left_s < -_FORGET_S:
                database.execute("DELETE FROM faults WHERE name = ?", (name,))
        return rests

    def _vanished(
        self, database: sqlite3.Connection, devices: Sequence[Device]
    ) -> list[DeviceState]:
        """Note the GPUs that are there; return those that were there before."""
        now, scope = self._clock(), self._inventory.scope
        gpus = [device for device in devices if device.is_gpu]
        database.executemany(
            "INSERT OR REPLACE INTO gpus VALUES (?, ?, ?, ?, ?, ?)",
            [(scope, gpu.name, gpu.title, gpu.total_bytes, gpu.slots, now) for gpu in gpus],
        )
        database.execute("DELETE FROM gpus WHERE seen < ?", (now - _FORGET_S,))
        there = {gpu.name for gpu in gpus}
        rows = database.execute(
            "SELECT name, title, total_bytes, slots FROM gpus WHERE scope = ?", (scope,)
        ).fetchall()
        return [
            DeviceState(Device(name, title, total, total, slots), (), "does not answer", lost=True)
            for name, title, total, slots in rows
            if name not in there
        ]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(self._path, timeout=60.0, isolation_level=None)
        try:
            database.execute("PRAGMA synchronous = OFF")  # a power cut ends all holders, too
            database.executescript(_SCHEMA)
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")
        finally:
            database.close()  # rolls back what was not committed


def _living(database: sqlite3.Connection) -> list[Lease]:
    """Return the leases of living processes and forget the others."""
    rows = database.execute(
        "SELECT id, device, memory_bytes, slots, process, started, title FROM leases ORDER BY id"
    ).fetchall()
    living = []
    for key, device, memory_bytes, slots, process, started, title in rows:
        if Holder(process, started).alive:
            living.append(Lease(device, memory_bytes, slots, process, title))
        else:
            database.execute("DELETE FROM leases WHERE id = ?", (key,))
    return living


def _room(states: Sequence[DeviceState]) -> str:
    parts = [
        f"{state.device.title} "
        + (state.out or f"has {state.free_bytes / 2**30:.1f} GiB, {state.free_slots} slot(s) free")
        for state in states
    ]
    return "; ".join(parts)


def _lost_words(states: Sequence[DeviceState]) -> str:
    titles = ", ".join(state.device.title for state in states if state.lost)
    return (
        f"GPU {titles} has not answered for {LOST_PATIENCE_S / 60:.0f} minutes; look at it with "
        "nvidia-smi, reset it or restart the machine, then go on with --retry-failed"
    )
