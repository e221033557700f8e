"""Devices that train one model together: each batch is shared, the steps are those of one device.

A loss is a function of sums over the batch, and its gradient is a sum too. So devices that add up
both take exactly the steps of one device that sees the whole batch; only the order in which
floating-point numbers are added differs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import keras
from numpy.typing import NDArray

from hdsmlm.config.run import RunConfig
from hdsmlm.errors import ConfigError

_AXIS = "batch"


class Rank(Protocol):
    """One process among those that train one model, and what it does with the others.

    ``rank`` is the number of this process among ``ranks``; rank 0 alone validates, records and
    writes. One process may drive several devices: then it sees whole batches.
    """

    rank: int
    ranks: int

    @property
    def total(self) -> Callable[[Any], Any] | None:
        """Adds up a tensor over all ranks, as the loss needs it; None where there is one rank."""

    @property
    def optimizer(self) -> type[keras.optimizers.Adam]:
        """Adam that adds up the gradients over all ranks before it clips them."""

    def scope(self) -> AbstractContextManager[Any]:
        """Return the context in which the model is built and trained."""

    def exchange(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Send row r to rank r, for all r; return the rows that came, row s from rank s."""

    def agree(self, reason: int) -> int:
        """Return the largest reason to stop that any rank gives after this step; 0 goes on."""


class Replicas(Rank, Protocol):
    """The devices of one run, as rank 0 has them."""

    def running(
        self, config: RunConfig, model: keras.Model, first_step: int
    ) -> AbstractContextManager[Any]:
        """Return the context in which all ranks train, from the state of this one's model."""


class OneProcess:
    """One device, alone."""

    rank = 0
    ranks = 1
    total = None

    @property
    def optimizer(self) -> type[keras.optimizers.Adam]:
        """Adam as it is."""
        return keras.optimizers.Adam

    def scope(self) -> AbstractContextManager[Any]:
        """Return a context that does nothing."""
        return nullcontext()

    def running(
        self, config: RunConfig, model: keras.Model, first_step: int
    ) -> AbstractContextManager[Any]:
        """Return a context that does nothing."""
        del config, model, first_step
        return nullcontext()

    def exchange(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the rows."""
        return rows

    def agree(self, reason: int) -> int:
        """Return the reason."""
        return reason


class JaxMesh(OneProcess):
    """Several devices of one JAX process: weights are copied to all, batches are cut.

    XLA compiles the step for the whole batch and adds the sums over the devices itself.

    Parameters
    ----------
    devices : int
        How many.

    Raises
    ------
    ConfigError
        When JAX has fewer.
    """

    def __init__(self, devices: int) -> None:
        found = keras.distribution.list_devices()
        check_enough(
            devices,
            len(found),
            "JAX",
            "on a processor, XLA_FLAGS=--xla_force_host_platform_device_count=N makes N of it",
        )
        mesh = keras.distribution.DeviceMesh((devices,), [_AXIS], found[:devices])
        self._distribution = keras.distribution.DataParallel(device_mesh=mesh)

    def scope(self) -> AbstractContextManager[Any]:
        """Return the context in which variables lie on all devices."""
        return self._distribution.scope()


def check_enough(wanted: int, found: int, library: str, hint: str) -> None:
    """Refuse more devices than there are.

    Raises
    ------
    ConfigError
        Names both numbers.
    """
    if wanted > found:
        raise ConfigError(
            f"training.devices is {wanted}, but {library} has {found} here; "
            f"set it to {found} or less ({hint})"
        )


def open_replicas(devices: int) -> Replicas:
    """Return the devices of a run, in this process as rank 0; nothing is started yet.

    Raises
    ------
    ConfigError
        When there are fewer.
    """
    if devices == 1:
        return OneProcess()
    if keras.backend.backend() == "jax":
        return JaxMesh(devices)
    from hdsmlm.training.processes import TorchProcesses

    return TorchProcesses(devices)
