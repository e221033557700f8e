"""Who holds which device: leases in one SQLite file per machine and user.

A lease belongs to a process (its number and its start time, since numbers are used again). When the
process is gone, however it ended, its leases are gone with the next look: nothing has to be cleaned
up, and nothing can leak. Taking one is a transaction: two searches never get the same memory.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hdsmlm.compute.device import DeviceState, Lease, Need, Placement
from hdsmlm.compute.holder import Holder
from hdsmlm.compute.inventory import Inventory
from hdsmlm.compute.placement import check_possible, place
from hdsmlm.errors import OutputError
from hdsmlm.io.writing import writing

FOLDER_VARIABLE = "HDSMLM_LEASES"
"""Environment variable that names another folder; it must lie on a disk of the machine itself."""

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS leases (id INTEGER PRIMARY KEY, device TEXT, memory_bytes INTEGER, "
    "slots INTEGER, process INTEGER, started REAL, title TEXT)"
)
_POLL_S = 0.5


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


class Balancer:
    """Gives devices to processes.

    Parameters
    ----------
    inventory : Inventory
        Looks at the devices.
    folder : Path, optional
        Folder of the leases; default that of this machine and user.
    """

    def __init__(self, inventory: Inventory, folder: Path | None = None) -> None:
        self._inventory = inventory
        self._path = (folder or lease_folder()) / "leases.db"

    def states(self) -> tuple[DeviceState, ...]:
        """Return all devices with the leases of living processes."""
        with self._transaction() as database:
            return self._states(database)

    def try_acquire(
        self, need: Need, title: str = "", process: int | None = None
    ) -> Placement | None:
        """Take devices for a process (default: this one); None while there is no room.

        Raises
        ------
        ConfigError
            When not even empty devices could hold the task.
        """
        holder = Holder.of(process)
        with self._transaction() as database:
            states = self._states(database)
            check_possible(need, states)
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
        return placement

    def release(self, process: int | None = None) -> None:
        """Give back all that a process (default: this one) holds."""
        with self._transaction() as database:
            database.execute(
                "DELETE FROM leases WHERE process = ?",
                (os.getpid() if process is None else process,),
            )

    @contextmanager
    def lease(
        self, need: Need, title: str = "", sleep: Callable[[float], None] = time.sleep
    ) -> Iterator[Placement]:
        """Wait for devices, hold them for the block, give them back."""
        while (placement := self.try_acquire(need, title)) is None:
            sleep(_POLL_S)
        try:
            yield placement
        finally:
            self.release()

    def _states(self, database: sqlite3.Connection) -> tuple[DeviceState, ...]:
        leases = _living(database)
        devices = self._inventory.read({lease.process for lease in leases})
        return tuple(
            DeviceState(device, tuple(lease for lease in leases if lease.device == device.name))
            for device in devices
        )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(self._path, timeout=60.0, isolation_level=None)
        try:
            database.execute("BEGIN IMMEDIATE")
            database.execute(_SCHEMA)
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
