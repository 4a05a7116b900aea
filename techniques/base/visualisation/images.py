"""A picture as numbers that are good to climb on: each step moves broad shapes as easily as fine grain, and colours as they
occur in photographs.

Olah, Mordvintsev and Schubert 2017, doi:10.23915/distill.00007, section "Preconditioning and parameterization": the numbers are
the Fourier coefficients of the picture, scaled by one over their frequency, in colours that are decorrelated over ImageNet,
and a sigmoid keeps every pixel between black and white. Either may be left out: then the numbers are pixels, or plain
colours. The colour matrix and the contrast of the noise are those of lucid, the authors' own program.

Departure: amplitudes fall as the power 1.3 of the frequency, not as its first, as steeply as those of many photographs
(Tolhurst, Tadmor and Chao 1992, doi:10.1111/j.1475-1313.1992.tb00296.x). Whole heads and wheels come out of fewer steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from model_zoo.deferred import torch

COLOURS = ((0.26, 0.09, 0.02), (0.27, 0.0, -0.05), (0.27, -0.09, 0.03))  # root of the covariance of red, green and blue over ImageNet
NOISE = 0.01  # standard deviation of the numbers at the start: a picture that is almost grey
CONTRAST = 4.0  # what the coefficients are divided by
STEEPNESS = 1.3  # how amplitudes fall with the frequency
WAVE = 10.0  # pixels of the wave that has the amplitude it would have with a steepness of 1
NEAREST = 1e-3  # how near to black or white a given picture may be: those are infinitely far away for the sigmoid


@dataclass(frozen=True, eq=False)
class Images:
    """Between numbers `[N, ...]` and pictures `[N, C, H, W]` in `[0, 1]`. Colours are decorrelated where there are three."""

    channels: int
    size: tuple[int, int]
    fourier: bool
    decorrelated: bool
    device: torch.device

    def start(self, generator: torch.Generator) -> torch.Tensor:
        """The numbers `[1, ...]` of one picture of faint noise; drawn on the CPU, so that a seed means the same on every device."""
        height, width = self.size
        shape = (height, width // 2 + 1, 2) if self.fourier else (height, width)
        return (NOISE * torch.randn(1, self.channels, *shape, generator=generator)).to(self.device)

    def pictures(self, numbers: torch.Tensor) -> torch.Tensor:
        """What the numbers show; differentiable."""
        values = numbers
        if self.fourier:
            spectrum = torch.view_as_complex(numbers.contiguous()) * self._scale
            values = torch.fft.irfft2(spectrum, s=self.size, norm="ortho") / CONTRAST
        return torch.sigmoid(self._coloured(values, self._colours))

    def numbers(self, pictures: torch.Tensor) -> torch.Tensor:
        """The numbers that show these pictures, but for what is nearer than NEAREST to black or white."""
        values = self._coloured(torch.logit(pictures, NEAREST), None if self._colours is None else self._colours.inverse())
        if not self.fourier:
            return values
        return torch.view_as_real(torch.fft.rfft2(values * CONTRAST, norm="ortho") / self._scale).contiguous()

    @cached_property
    def _scale(self) -> torch.Tensor:
        """What each wave's coefficient counts, `[H, W // 2 + 1]`: its length in pixels for a steepness of 1, at most the picture's longer side."""
        height, width = self.size
        frequencies = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None])
        waves = 1 / frequencies.clamp(min=1 / max(height, width))
        return (WAVE * (waves / WAVE) ** STEEPNESS).to(self.device)

    @cached_property
    def _colours(self) -> torch.Tensor | None:
        """From decorrelated colours to red, green and blue; the longest of its columns has length 1."""
        if not self.decorrelated or self.channels != 3:
            return None
        matrix = torch.tensor(COLOURS)
        return (matrix / matrix.norm(dim=0).max()).to(self.device)

    @staticmethod
    def _coloured(values: torch.Tensor, matrix: torch.Tensor | None) -> torch.Tensor:
        return values if matrix is None else torch.einsum("dc,nchw->ndhw", matrix, values)
