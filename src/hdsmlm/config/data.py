"""What a run learns from: the simulator, and folders of binned recordings, with weights."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from hdsmlm.config.base import Section

SIMULATED = "simulated"
"""Name of the simulator among the sources."""


class SimulatedSource(Section):
    """Scenes of virtual microscopes, drawn afresh."""

    weight: float = Field(1.0, ge=0)
    """How often a scene comes from the simulator, relative to the weights of the others."""


class BinnedSource(Section):
    """A folder that ``hdsmlm bin`` wrote: a real sparse movie, added up to a dense one."""

    folder: Path
    """The folder; a relative path starts where the program is called."""
    name: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """Name in tables and in the record of the run; null takes that of the folder."""
    weight: float = Field(1.0, gt=0)
    """How often a scene comes from this folder, relative to the weights of the others."""
    rotate: bool | None = None
    """Whether patches are turned by 90 degrees as well as mirrored; null: unless the folder says
    that its PSF is astigmatic, since a turned one would mean another depth."""

    @property
    def title(self) -> str:
        """Name in tables."""
        return self.name or self.folder.name or "binned"


class DataConfig(Section):
    """The sources of a run and their weights."""

    simulated: SimulatedSource = SimulatedSource()
    """The simulator, with the ranges of the section ``simulation``."""
    binned: tuple[BinnedSource, ...] = ()
    """Folders of binned recordings."""

    @property
    def weights(self) -> tuple[float, ...]:
        """Share of the scenes that each source gives: the simulator first; the sum is 1."""
        raw = (self.simulated.weight, *(source.weight for source in self.binned))
        return tuple(value / sum(raw) for value in raw)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sources, in the order of :attr:`weights`."""
        return (SIMULATED, *(source.title for source in self.binned))

    def without_places(self) -> DataConfig:
        """Return the same mixture without the places of its folders, for what is passed on."""
        named = tuple(
            source.model_copy(update={"folder": Path(source.title), "name": source.title})
            for source in self.binned
        )
        return self.model_copy(update={"binned": named})

    @model_validator(mode="after")
    def _usable(self) -> DataConfig:
        if not self.binned and self.simulated.weight == 0:
            raise ValueError("no source is left: simulated.weight is 0 and binned is empty")
        names = self.names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"two sources are called {', '.join(twice)}; give each its own name, e.g. "
                "{folder: binned/cell2, name: cell2}"
            )
        return self
