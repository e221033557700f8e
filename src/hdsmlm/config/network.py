"""Network section."""

from __future__ import annotations

from pydantic import Field, field_validator

from hdsmlm.config.base import Section


class NetworkConfig(Section):
    """3D U-Net that gives every pixel of every frame the probability of 0, 1, 2 or 3+ emitters."""

    widths: tuple[int, ...] = Field((24, 48, 96), min_length=2, max_length=5)
    """Channels of each resolution level, finest first; the last is the bottleneck."""
    stem_stride: int = Field(2, ge=1, le=2)
    """Pixels per side that the projection joins: 2 works at half resolution, 1 at full."""
    head_channels: int = Field(16, ge=4, le=256)
    """Channels of the full-resolution features that the last 1x1x1 convolution classifies."""
    time_kernel: int = Field(3, ge=1, le=5)
    """Frames that a temporal convolution sees; odd. Down blocks and bottleneck have one each."""
    factorized: bool = True
    """Space (1x3x3) and time (3x1x1) in separate convolutions; false: one 3x3x3 convolution."""

    up_time: bool = False
    """Up blocks mix frames too, by a residual convolution over ``time_kernel`` frames each."""

    @field_validator("time_kernel")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("must be odd, so that the window is centred on its frame")
        return value

    @field_validator("widths")
    @classmethod
    def _positive(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(width < 4 or width > 1024 for width in value):
            raise ValueError("each width must lie in 4..1024")
        return value

    @property
    def depth(self) -> int:
        """Number of down blocks."""
        return len(self.widths) - 1

    @property
    def spatial_multiple(self) -> int:
        """Height and width must be multiples of this; others are padded."""
        return self.stem_stride * 2**self.depth

    @property
    def receptive_frames(self) -> int:
        """Frames before and after a frame that its output depends on."""
        mixers = self.depth + 1 + (self.depth if self.up_time else 0)
        return (self.time_kernel // 2) * mixers

    @property
    def receptive_px(self) -> int:
        """Upper bound of the pixels to each side that an output pixel depends on.

        Each 3x3 convolution at stride s reaches s pixels further, each block has two of them, and a
        pixel shares the cells of all pooling grids that it lies in.
        """
        strides = [self.stem_stride * 2**level for level in range(self.depth + 1)]
        blocks = sum(2 * stride for stride in strides) + sum(2 * stride for stride in strides[:-1])
        stem = 1 if self.stem_stride == 1 else 1 + self.stem_stride // 2
        return blocks + stem + (self.spatial_multiple - 1)
