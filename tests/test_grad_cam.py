"""Grad-CAM: a closed form, agreement with captum and pytorch-grad-cam, transformers, every layer, nothing left behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import techniques
from model_zoo.loaded import wrap
from model_zoo.preprocessing import Preprocessing
from techniques.base import IncompatibleModel, ParameterError, Sample

LABELS = tuple("abcdefgh")
AS_IT_IS = {"mean": (0.0,) * 3, "std": (1.0,) * 3}  # pixels go into the network without normalisation


def sample_for(model, seed: int = 0) -> Sample:
    shape = (model.preprocessing.channels, *model.preprocessing.size)
    return Sample.from_pixels(torch.rand(shape, generator=torch.Generator().manual_seed(seed)), "noise")


def enlarge(maps: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    return nn.functional.interpolate(maps, size, mode="bilinear")[0, 0].detach().numpy()


def hooks_of(model) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.network.modules())


@pytest.fixture(scope="module")
def resnet():
    """timm's ResNet-18 with random weights, on 64 px."""
    import timm

    torch.manual_seed(0)
    network = timm.create_model("resnet18", num_classes=8, zero_init_last=False)  # or its blocks would hand on their input only
    return wrap(network, key="resnet18", labels=LABELS, preprocessing=Preprocessing(3, (64, 64), **AS_IT_IS))


@pytest.fixture(scope="module")
def pooled():
    """A 1 x 1 convolution, global average pooling, one linear layer: what class activation mapping was made for."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 8))
    return wrap(network, key="pooled", labels=LABELS, preprocessing=Preprocessing(3, (8, 8), **AS_IT_IS))


@pytest.fixture(scope="module")
def swin():
    """timm's Swin transformer in small: maps of shape height, width, channels."""
    from timm.models.swin_transformer import SwinTransformer

    torch.manual_seed(0)
    network = SwinTransformer(img_size=32, patch_size=2, window_size=4, embed_dim=16, depths=(2, 2), num_heads=(2, 2), num_classes=8)
    return wrap(network, key="swin", labels=LABELS, preprocessing=Preprocessing(3, (32, 32)))


def test_with_global_average_pooling_the_map_is_the_class_weights_times_the_maps(pooled):
    sample = sample_for(pooled)
    answer = techniques.run("grad_cam", sample, pooled, target="c", layer="0", signed=True)
    convolution, linear = pooled.network[0], pooled.network[3]
    maps = convolution(sample.pixels)[0]
    expected = torch.einsum("k,khw->hw", linear.weight[2], maps) / 64  # alpha is the weight over the number of cells
    assert np.allclose(answer.grad_cam.cell("c").values, expected.numpy(), atol=1e-6)
    assert answer.grad_cam.cell("c").values.sum() == pytest.approx(float(pooled.logits(sample.pixels)[0, 2] - linear.bias[2]), abs=1e-5)


@pytest.mark.parametrize("layer", ["layer4", "layer2.0.conv1", "layer3.1.bn2"])
@pytest.mark.parametrize("signed", [False, True])
def test_agrees_with_captum_on_a_residual_network(resnet, layer, signed):
    from captum.attr import LayerGradCam

    sample = sample_for(resnet)
    answer = techniques.run("grad_cam", sample, resnet, target=3, layer=layer, signed=signed)
    peer = LayerGradCam(resnet.logits, resnet.module(layer)).attribute(sample.pixels, target=3, relu_attributions=not signed)
    expected = enlarge(peer, (64, 64))
    assert np.abs(answer.grad_cam.cell("d").values - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


def test_agrees_with_captum_for_all_five_classes_of_a_small_network(tiny_models):
    from captum.attr import LayerGradCam

    model = tiny_models["cnn"]
    sample = sample_for(model)
    answer = techniques.run("grad_cam", sample, model)
    peer = LayerGradCam(model.logits, model.module(model.default_layer))
    for index, label in enumerate(model.labels):
        expected = enlarge(peer.attribute(sample.pixels, target=index, relu_attributions=True), (32, 32))
        assert np.abs(answer.grad_cam.cell(label).values - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


def test_agrees_with_pytorch_grad_cam_up_to_its_normalisation(resnet):
    peer = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    sample = sample_for(resnet)
    values = techniques.run("grad_cam", sample, resnet, target=3, layer="layer3").grad_cam.cell("d").values
    with peer.GradCAM(resnet.network, [resnet.module("layer3")]) as cam:
        expected = cam(sample.pixels.clone().requires_grad_(), [ClassifierOutputTarget(3)])[0]
    assert np.corrcoef(values.ravel(), expected.ravel())[0, 1] > 0.999  # it scales to [0, 1] before it enlarges


def slow_second_implementation(model, layer: str, pixels: torch.Tensor, target: int, to_maps) -> np.ndarray:
    """Equations 1 and 2 with a graph through the whole network, channel by channel."""
    kept = []
    handle = model.module(layer).register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    logit = model.logits(pixels.clone().requires_grad_())[0, target]
    handle.remove()
    gradient = to_maps(torch.autograd.grad(logit, kept[0])[0])
    output = to_maps(kept[0].detach())
    total = torch.zeros(output.shape[1:])
    for channel in range(len(output)):
        total += gradient[channel].mean() * output[channel]
    return enlarge(total.clamp(min=0)[None, None], pixels.shape[2:])


def test_patches_of_a_vision_transformer_are_laid_out_as_maps_without_the_class_token(tiny_models):
    model = tiny_models["transformer"]
    sample = sample_for(model)
    answer = techniques.run("grad_cam", sample, model, target=0)
    expected = slow_second_implementation(model, model.default_layer, sample.pixels, 0, lambda tokens: tokens[0, 1:].T.reshape(24, 4, 4))
    assert expected.max() > 0
    assert np.allclose(answer.grad_cam.cell("tench").values, expected, atol=1e-5)


def test_maps_of_a_swin_transformer_have_their_channels_last(swin):
    sample = sample_for(swin)
    layer = swin.layer()
    assert layer.channels_last and layer.grid == (8, 8)
    answer = techniques.run("grad_cam", sample, swin, target=0)
    expected = slow_second_implementation(swin, layer.name, sample.pixels, 0, lambda maps: maps[0].permute(2, 0, 1))
    assert np.allclose(answer.grad_cam.cell("a").values, expected, atol=1e-5)


def test_every_layer_of_a_residual_block_can_be_looked_at(resnet):
    """Batch norms too, whose output the block adds its input to in place."""
    sample = sample_for(resnet)
    layers = [layer.name for layer in resnet.spatial_layers() if layer.name.startswith("layer4.0")]
    assert "layer4.0.bn2" in layers
    for layer in layers:
        cells = techniques.run("grad_cam", sample, resnet, layer=layer).grad_cam.leaves()
        assert any(cell.values.any() for _, cell in cells), layer


def test_a_named_class_comes_first_and_the_five_most_probable_follow(resnet):
    sample = sample_for(resnet)
    order = resnet.logits(sample.pixels)[0].argsort(descending=True).tolist()
    top = [LABELS[index] for index in order[:5]]
    assert list(techniques.run("grad_cam", sample, resnet).grad_cam.positions()) == top
    assert list(techniques.run("grad_cam", sample, resnet, target=order[7]).grad_cam.positions()) == [LABELS[order[7]], *top]
    assert list(techniques.run("grad_cam", sample, resnet, target=order[2]).grad_cam.positions()) == [top[2], *top[:2], *top[3:]]


def test_two_classes_of_one_name_get_their_numbers():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    model = wrap(network, key="cranes", labels=("crane", "crane", "dog"), preprocessing=Preprocessing(3, (8, 8)))
    names = techniques.run("grad_cam", sample_for(model), model).grad_cam.positions()
    assert set(names) == {"crane (0)", "crane (1)", "dog"}


def test_the_signed_map_keeps_what_the_plain_one_cuts_off(tiny_model):
    sample = sample_for(tiny_model)
    plain = techniques.run("grad_cam", sample, tiny_model).grad_cam
    signed = techniques.run("grad_cam", sample, tiny_model, signed=True).grad_cam
    assert min(cell.values.min() for _, cell in plain.leaves()) >= 0
    assert min(cell.values.min() for _, cell in signed.leaves()) < 0
    assert all(cell.signed for _, cell in signed.leaves())


def test_all_classes_share_one_forward_pass(resnet):
    calls = []
    handle = resnet.network.register_forward_hook(lambda *_: calls.append(1))
    techniques.run("grad_cam", sample_for(resnet), resnet)
    handle.remove()
    assert len(calls) == 1


def test_a_layer_without_places_is_refused_with_one_that_has_them(resnet):
    with pytest.raises(IncompatibleModel, match=f"“fc” has no places .* such as “{resnet.default_layer}”"):
        techniques.run("grad_cam", sample_for(resnet), resnet, layer="fc")


def test_a_layer_behind_which_only_the_class_token_counts_is_refused(tiny_models):
    model = tiny_models["transformer"]
    with pytest.raises(IncompatibleModel, match="No place in the layer “norm” moves a logit here"):
        techniques.run("grad_cam", sample_for(model), model, layer="norm")


def test_a_model_without_spatial_layers_is_refused_before_the_run():
    model = wrap(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), key="flat", preprocessing=Preprocessing(3, (2, 2)))
    assert "Saliency and occlusion" in techniques.find("grad_cam").why_not(model)


def test_no_hook_and_no_gradient_is_left_after_success_a_wrong_layer_or_a_layer_that_raises(tiny_models, monkeypatch):
    model = tiny_models["cnn"]
    sample = sample_for(model)
    techniques.run("grad_cam", sample, model)
    assert hooks_of(model) == 0
    with pytest.raises(ParameterError, match="no layer"):
        techniques.run("grad_cam", sample, model, layer="nowhere")
    assert hooks_of(model) == 0

    def fail(*_):
        raise RuntimeError("broken layer")

    monkeypatch.setattr(model.module(model.head), "forward", fail)
    with pytest.raises(RuntimeError, match="broken layer"):
        techniques.run("grad_cam", sample, model)
    assert hooks_of(model) == 0
    assert all(parameter.grad is None for parameter in model.network.parameters())
