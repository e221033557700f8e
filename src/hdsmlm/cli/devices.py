"""``hdsmlm devices``."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    config: Annotated[
        str | None,
        typer.Option(help="Training configuration: also say what a run needs and where it fits."),
    ] = None,
) -> None:
    """Show GPUs and processor: free memory, load, processes of others, and who holds a lease."""
    from rich.console import Console
    from rich.table import Table

    from hdsmlm.compute.inventory import this_machine
    from hdsmlm.compute.leases import Balancer

    machine = this_machine()
    balancer = Balancer(machine)
    states = balancer.states()
    table = Table("device", box=None, pad_edge=False)
    for heading in ("memory", "used by others", "leased", "free", "slots", "busy"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("leases")
    for state in states:
        device = state.device
        held = "; ".join(
            f"{lease.title or 'task'} (process {lease.process}, {_gib(lease.memory_bytes)})"
            for lease in state.leases
        )
        table.add_row(
            device.title,
            _gib(device.total_bytes),
            _gib(state.foreign_bytes),
            _gib(state.held_bytes),
            _gib(state.free_bytes),
            f"{state.free_slots}/{device.slots}",
            f"{100 * device.utilization:.0f} %",
            "; ".join(part for part in (state.out, held) if part) or "-",
        )
    Console().print(table)
    for waiter in balancer.waiting():
        typer.echo(
            f"waits since {waiter.since_s:.0f} s: {waiter.title or 'a task'} (process "
            f"{waiter.process}) for {waiter.need.devices} x {_gib(waiter.need.memory_bytes)}"
        )
    for note in machine.notes:
        typer.echo(note)
    if config is not None:
        _say_fit(config, states)


def _say_fit(path: str, states: tuple) -> None:
    from pathlib import Path

    from hdsmlm.compute.device import Need
    from hdsmlm.compute.memory import estimate_memory
    from hdsmlm.compute.placement import place
    from hdsmlm.config.base import load_section
    from hdsmlm.config.run import RunConfig

    run = load_section(RunConfig, Path(path))
    devices = run.training.devices
    estimate = estimate_memory(run, gpu=True, devices=devices)
    on_each = f" on each of {devices} devices" if devices > 1 else ""
    typer.echo(
        f"{path}: {_gib(estimate.total_bytes)}{on_each} (state "
        f"{_gib(estimate.state_bytes)}, activations {_gib(estimate.activation_bytes)}, "
        f"work {_gib(estimate.work_bytes)}, runtime {_gib(estimate.runtime_bytes)})"
    )
    placement = place(Need(estimate.total_bytes, devices=devices), states)
    titles = {state.device.name: state.device.title for state in states}
    where = ", ".join(titles[name] for name in placement.devices) if placement else "wait"
    typer.echo(f"it would now go to: {where}")


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.2f} GiB"
