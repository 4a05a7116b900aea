"""Classifiers of timm of many families, small and with random weights that have been brought to life."""

from __future__ import annotations

from typing import Any, NamedTuple

import timm
import torch
from torch import nn

from model_zoo.loaded import LoadedModel, wrap
from model_zoo.preprocessing import Preprocessing

SPREAD = 1.5  # standard deviation of the logits over the pictures
CLASSES = 5


def pictures(count: int, channels: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Soft coloured patches with noise, `[count, channels, height, width]` in `[0, 1]`."""
    generator = torch.Generator().manual_seed(seed)
    patches = torch.rand(count, channels, 4, 4, generator=generator)
    noise = torch.rand(count, channels, height, width, generator=generator)
    return 0.7 * nn.functional.interpolate(patches, (height, width), mode="bilinear") + 0.3 * noise


@torch.no_grad()
def bring_to_life(network: nn.Module, pixels: torch.Tensor) -> nn.Module:
    """Random weights are often degenerate: residual branches that begin at zero, layer scales of 1e-6, heads of zeros, batch
    norms without statistics. Here branches count, statistics come from `pixels`, and logits over them differ by SPREAD."""
    for name, parameter in network.named_parameters():
        if float(parameter.abs().max()) > 1e-3 or name.endswith("bias"):
            continue
        if parameter.ndim < 2:
            parameter.uniform_(0.4, 0.6)
        else:
            parameter.normal_(0, (parameter[0].numel()) ** -0.5)
    network.eval()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train().momentum = 1.0
    network(pixels)
    logits = network.eval()(pixels)
    heads = [module for module in network.modules() if isinstance(module, (nn.Linear, nn.Conv2d)) and module.weight.shape[0] == CLASSES]
    for head in heads:
        head.weight *= SPREAD / logits.std()
        head.bias.sub_(logits.mean(0)).mul_(SPREAD / logits.std())
    return network


class Architecture(NamedTuple):
    """A network of timm: the side of its pictures in pixels, and what is asked for to make it small."""

    side: int = 64
    settings: dict[str, Any] = {}


def _narrow(side: int = 64, **settings: Any) -> Architecture:
    """A transformer of four blocks and 96 channels; patches, tokens and heads as they are in the full size."""
    return Architecture(side, {"img_size": side, "embed_dim": 96, "num_heads": 3, "depth": 4, **settings})


def _sized(side: int = 64, **settings: Any) -> Architecture:
    """A network that has to be told the size of its pictures."""
    return Architecture(side, {"img_size": side, **settings})


SWIN = {"embed_dim": 24, "depths": (1, 1, 2, 1)}
ARCHITECTURES = {
    # convolutions
    "vgg11": Architecture(settings={"mlp_ratio": 0.02}),
    "resnet18": Architecture(),
    "resnetv2_50": Architecture(),
    "nf_resnet26": Architecture(),
    "res2net50_14w_8s": Architecture(),
    "resnest14d": Architecture(),
    "skresnet18": Architecture(),
    "seresnext26ts": Architecture(),
    "repvgg_a0": Architecture(),
    "densenet121": Architecture(),
    "rdnet_tiny": Architecture(),
    "dpn48b": Architecture(),
    "dla46_c": Architecture(),
    "hrnet_w18_small": Architecture(),
    "inception_v3": Architecture(128),
    "legacy_xception": Architecture(),
    "xception41": Architecture(),
    "regnety_002": Architecture(),
    "cs3darknet_s": Architecture(),
    "selecsls42": Architecture(),
    "tresnet_m": Architecture(),
    "ese_vovnet19b_slim": Architecture(),
    "hgnetv2_b0": Architecture(),
    # convolutions that count every multiplication
    "mobilenetv2_050": Architecture(),
    "mobilenetv3_small_050": Architecture(),
    "mobilenetv4_conv_small_035": Architecture(),
    "tf_efficientnetv2_b0": Architecture(),
    "mnasnet_small": Architecture(),
    "hardcorenas_a": Architecture(),
    "ghostnet_050": Architecture(),
    "rexnet_100": Architecture(),
    "repvit_m0_9": Architecture(),
    "starnet_s050": Architecture(),
    "fasternet_t0": Architecture(),
    # convolutions built like transformers
    "convnext_atto": Architecture(settings={"conv_mlp": False}),  # as in the larger ones: linear layers, channels last
    "convnextv2_atto": Architecture(),
    "inception_next_atto": Architecture(),
    "mambaout_femto": Architecture(),
    "focalnet_tiny_srf": Architecture(),
    "poolformer_s12": Architecture(),
    # tokens
    "vit_tiny_patch16_224": _narrow(),
    "vit_small_patch14_reg4_dinov2": _narrow(56),
    "deit_tiny_distilled_patch16_224": _narrow(),
    "vit_relpos_small_patch16_224": _narrow(),
    "samvit_base_patch16_224": _narrow(global_attn_indexes=(1, 3)),
    "beit_base_patch16_224": _narrow(),
    "eva02_tiny_patch14_224": _sized(56, depth=4),
    "cait_xxs24_224": _sized(depth=4),
    "xcit_nano_12_p16_224": Architecture(),
    "convit_tiny": _sized(),
    "tnt_s_patch16_224": _sized(depth=4),
    "pit_ti_224": _sized(),
    "crossvit_9_240": _sized(120),
    "hiera_tiny_224": _sized(embed_dim=32),
    "mixer_s32_224": _sized(),
    "resmlp_12_224": _sized(),
    # windows and pyramids
    "swin_tiny_patch4_window7_224": _sized(**SWIN),
    "swinv2_tiny_window8_256": _sized(**SWIN),
    "swinv2_cr_tiny_224": _sized(**SWIN),
    "nest_tiny": _sized(),
    "gcvit_xxtiny": _sized(),
    "mvitv2_tiny": _sized(),
    "davit_tiny": Architecture(settings={"embed_dims": (32, 64, 96, 128), "num_heads": (1, 2, 3, 4)}),
    "pvt_v2_b0": Architecture(),
    "twins_svt_small": _sized(),
    "sequencer2d_s": Architecture(),
    # convolutions and attention together
    "coat_lite_tiny": _sized(),
    "coatnet_pico_rw_224": _sized(),
    "maxvit_rmlp_pico_rw_256": _sized(),
    "levit_128s": _sized(128),
    "efficientformer_l1": Architecture(224),
    "efficientformerv2_s0": _sized(),
    "efficientvit_b0": Architecture(),
    "efficientvit_m0": _sized(128),
    "mobilevit_xxs": Architecture(),
    "mobilevitv2_050": Architecture(),
    "edgenext_xx_small": Architecture(),
    "fastvit_t8": Architecture(),
    "visformer_tiny": _sized(),
    "swiftformer_xs": Architecture(),
    "shvit_s1": Architecture(128),
    "volo_d1_224": _sized(),
}


def network_of(name: str) -> tuple[nn.Module, Preprocessing]:
    """The network of this name, the same every time, its logits differing between pictures; and how it wants them."""
    side, settings = ARCHITECTURES[name]
    preprocessing = Preprocessing(3, (side, side), crop_fraction=1.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model(name, num_classes=CLASSES, **settings)
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
        bring_to_life(network, (pictures(8, 3, side, side) - mean) / std)
    return network, preprocessing


def build(name: str) -> LoadedModel:
    """The same as a model."""
    network, preprocessing = network_of(name)
    return wrap(network, key=f"random/{name}", title=name, preprocessing=preprocessing)


def family(name: str) -> str:
    """The module of timm that an architecture comes from."""
    return timm.model_entrypoint(name).__module__.rpartition(".")[2]
