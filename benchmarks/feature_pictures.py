"""The case of feature visualisation: 64 filters of an early layer, beside the whole network for six of them, and beside lucent's loop.

lucent (Kiat 2020, github.com/greentfrapp/lucent), the port of the authors' program to torch, is written out here as its
`render_vis` does it by default: one picture at a time, a forward pass through the whole network with a hook on the
layer, the picture padded, moved, sized, turned and moved again, and torch's Adam.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import contextmanager

import torch
from torch.nn import functional

from benchmarks.cases import Case
from model_zoo.layers import Layer
from model_zoo.loaded import LoadedModel, wrap
from model_zoo.preprocessing import Preprocessing
from techniques.base import Run
from techniques.base.hooks import watching
from techniques.base.visualisation import Aim, Climb, maximise
from techniques.base.visualisation.images import COLOURS

FILTERS, FEW, STEPS, SIDE = 64, 6, 30, 128
LAYER = "features.2"  # the second convolution


def vgg16(device: str) -> LoadedModel:
    import timm

    torch.manual_seed(0)
    return wrap(timm.create_model("vgg16").to(device), key="vgg16", title="VGG-16, 128 px", preprocessing=Preprocessing(3, (224, 224)))


def whole_network(model: LoadedModel, layer: Layer, channels: range) -> None:
    """The bare passes for some channels at once: forward through everything, back from the layer."""
    pixels = torch.rand(len(channels), 3, SIDE, SIDE, device=model.device).requires_grad_(True)
    for _ in range(STEPS):
        with reading(model, layer) as seen:
            model.logits(pixels)
        torch.autograd.grad(sum(seen[0][row, channel].mean() for row, channel in enumerate(channels)), pixels)


def lucent(model: LoadedModel, layer: Layer, channel: int) -> None:
    """`render_vis(model, "layer:channel", thresholds=(STEPS,))` with its defaults, but for the size."""
    draw = random.Random(0)
    spectrum = (0.01 * torch.randn(1, 3, SIDE, SIDE // 2 + 1, 2, device=model.device)).requires_grad_(True)
    frequencies = torch.hypot(torch.fft.fftfreq(SIDE)[:, None], torch.fft.rfftfreq(SIDE)[None]).to(model.device)
    scale = (1 / frequencies.clamp(min=1 / SIDE))[..., None]
    colours = torch.tensor(COLOURS, device=model.device)
    colours = colours / colours.norm(dim=0).max()
    adam = torch.optim.Adam([spectrum], lr=0.05)
    for _ in range(STEPS):
        image = torch.fft.irfft2(torch.view_as_complex(scale * spectrum), s=(SIDE, SIDE), norm="ortho") / 4
        image = torch.sigmoid(torch.einsum("dc,nchw->ndhw", colours, image))
        with reading(model, layer) as seen:
            model.logits(transformed(image, draw))
        adam.zero_grad()
        (-seen[0][:, channel].mean()).backward()
        adam.step()


def transformed(image: torch.Tensor, draw: random.Random) -> torch.Tensor:
    """lucent's standard transformations: pad 12, jitter 8, scale by 0.9 to 1.1, rotate up to 10 degrees, jitter 4; back to the size."""
    image = jittered(functional.pad(image, (12,) * 4, value=0.5), 8, draw)
    image = functional.interpolate(image, scale_factor=1 + (draw.randrange(11) - 5) / 50, mode="bilinear", align_corners=False)
    angle = torch.tensor(draw.choice([*range(-10, 11), *[0] * 5])).deg2rad()
    turn = torch.stack([angle.cos(), -angle.sin(), angle * 0, angle.sin(), angle.cos(), angle * 0]).view(1, 2, 3).to(image)
    image = functional.grid_sample(image, functional.affine_grid(turn, list(image.shape), align_corners=False), align_corners=False)
    return functional.interpolate(jittered(image, 4, draw), (SIDE, SIDE), mode="bilinear", align_corners=False)


def jittered(image: torch.Tensor, by: int, draw: random.Random) -> torch.Tensor:
    top, left = draw.randrange(by), draw.randrange(by)
    return image[..., top : image.shape[2] - by + top, left : image.shape[3] - by + left]


@contextmanager
def reading(model: LoadedModel, layer: Layer):
    """Inside a pass, a list that receives the layer's output."""
    seen: list[torch.Tensor] = []
    with watching(model, [layer.name], lambda _name, output: seen.append(output)):
        yield seen


def feature_visualisation(device: str) -> Case:
    model = vgg16(device)
    layer = model.layer(LAYER)

    def ours() -> None:
        maximise(model, Aim.at_channels(layer, range(FILTERS)), Climb(steps=STEPS), Run(), size=(SIDE, SIDE))

    whole, one = f"the whole network, bare passes for {FEW}", "lucent's loop, for 1"
    others = {whole: lambda: whole_network(model, layer, range(FEW)), one: lambda: lucent(model, layer, 0)}
    title = f"Feature visualisation of {FILTERS} filters of the second convolution, {STEPS} steps ({model.title})"
    return Case(title, ours, others, {whole: 1.0})


FEATURE_PICTURES: dict[str, Callable[[str], Case]] = {"feature_visualisation": feature_visualisation}
