"""CAM, HiResCAM, Grad-CAM++, XGrad-CAM, LayerCAM, Finer-CAM and Eigen-CAM: closed forms, and agreement with pytorch-grad-cam and torchcam."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import techniques
from model_zoo.loaded import wrap
from model_zoo.preprocessing import Preprocessing
from techniques.base import IncompatibleModel
from techniques.base.hooks import gradient_at, logits_from_layer
from techniques.base.results import panels
from techniques.finer_cam import with_rivals
from techniques.layer_cam import stages
from tests.attack_cases import squeezenet_and_photographs
from tests.cam_cases import AS_IT_IS, LABELS, enlarge, far, of_pytorch_grad_cam, of_torchcam, resnet, sample_for

CLOSE = 1e-4  # of the largest value: the same sums in float32 in another order, and small numbers that libraries add to denominators
OF_ALL_CLASSES = ("cam", "hires_cam", "grad_cam_plus_plus", "xgrad_cam", "layer_cam")


@pytest.fixture(scope="module")
def model():
    return resnet()


@pytest.fixture(scope="module")
def flat():
    """A convolution and one linear layer over all of its values: the network HiResCAM's guarantee is about."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 64, 8))
    return wrap(network, key="flat", labels=LABELS, preprocessing=Preprocessing(3, (8, 8), **AS_IT_IS))


def first_map(name: str, *arguments, **settings) -> np.ndarray:
    """The map of the class that is explained: the first panel, or its first cell."""
    answer = next(iter(panels(techniques.run(name, *arguments, **settings)).values()))
    return next(answer.leaves())[1].values if hasattr(answer, "leaves") else answer.values


@pytest.mark.parametrize("layer", ["layer4", "layer2.1.act2"])
@pytest.mark.parametrize(
    ("name", "peer"),
    [("hires_cam", "HiResCAM"), ("xgrad_cam", "XGradCAM"), ("grad_cam_plus_plus", "GradCAMPlusPlus"), ("layer_cam", "LayerCAM")],
)
def test_agrees_with_pytorch_grad_cam(model, name, peer, layer):
    library = pytest.importorskip("pytorch_grad_cam")
    sample = sample_for(model)
    expected = of_pytorch_grad_cam(getattr(library, peer), model, layer, sample, 3)
    cells = techniques.run(name, sample, model, target=3, layer=layer)[0].cells
    signed = first_map(name, sample, model, target=3, layer=layer, signed=True) if name in ("hires_cam", "xgrad_cam") else cells["d"].values
    expected = expected if name in ("hires_cam", "xgrad_cam") else expected.clip(0)
    # it adds 1e-6 to the denominator of Grad-CAM++, which is of the size of squared gradients
    assert far(signed, expected) < (0.01 if name == "grad_cam_plus_plus" else CLOSE)
    assert np.corrcoef(signed.ravel(), expected.ravel())[0, 1] > 0.999


@pytest.mark.parametrize("layer", ["layer4", "layer2.1.act2"])
@pytest.mark.parametrize(("name", "peer"), [("xgrad_cam", "XGradCAM"), ("layer_cam", "LayerCAM")])
def test_agrees_with_torchcam(model, name, peer, layer):
    """Not in Grad-CAM++: torchcam 0.5 divides a copy of alpha, so that its weights are sums of relu(g)^3, without a denominator."""
    library = pytest.importorskip("torchcam.methods")
    sample = sample_for(model)
    expected = of_torchcam(getattr(library, peer), model, layer, sample, 3)
    assert far(first_map(name, sample, model, target=3, layer=layer), expected) < CLOSE


def test_cam_agrees_with_torchcam_and_with_the_head_itself(model):
    library = pytest.importorskip("torchcam.methods")
    sample = sample_for(model)
    found = techniques.run("cam", sample, model, target=3, signed=True).cam.cell("d").values
    with torch.no_grad():
        maps = model.network.forward_features(sample.pixels)[0]
    assert far(found, enlarge(torch.einsum("k,khw->hw", model.network.fc.weight[3], maps), model)) < CLOSE
    assert far(found, of_torchcam(library.CAM, model, "layer4", sample, 3, fc_layer="fc")) < CLOSE


def test_the_mean_of_a_class_activation_map_is_the_logit_less_the_bias(model):
    sample = sample_for(model)
    logits = model.logits(sample.pixels)[0]
    for name, cell in techniques.run("cam", sample, model, signed=True).cam.leaves():
        index = LABELS.index(name[0])
        expected = float(logits[index] - model.network.fc.bias[index])
        assert cell.values.mean() == pytest.approx(expected, rel=1e-3)  # enlarging by whole factors keeps the mean but for the border


@pytest.mark.parametrize("name", ["cnn", "single_logit", "several_labels"])
def test_cam_takes_the_weights_of_heads_of_every_kind(tiny_models, name):
    """One logit is two classes and a label has its opposite: their maps are each other's negatives, at half the weight."""
    model = tiny_models[name]
    sample = sample_for(model)
    cells = techniques.run("cam", sample, model, signed=True, target=0).cam.cells
    weight = model.network[5].weight[0] / (1 if name == "cnn" else 2) * (-1 if name == "single_logit" else 1)
    with torch.no_grad():
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (model.preprocessing.mean, model.preprocessing.std))
        maps = model.network[:3]((sample.pixels - mean) / std)
    expected = enlarge(torch.einsum("k,khw->hw", weight, maps[0]), model)
    assert far(cells[model.labels[0]].values, expected) < CLOSE


def test_squeezenets_last_maps_are_class_activation_maps_ready_made(shared_folder):
    model, (sample, *_) = squeezenet_and_photographs(shared_folder)
    target = model.target(None, sample.pixels)
    found = first_map("cam", sample, model)
    with torch.no_grad():
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (model.preprocessing.mean, model.preprocessing.std))
        network = model.network
        maps = network.classifier[:3](network.features((sample.pixels - mean) / std))[0, target]
    assert far(found, enlarge(maps, model)) < CLOSE


def test_cam_says_what_a_network_lacks_and_what_to_take(tiny_models, flat):
    why_not = techniques.find("cam").why_not
    for model in (flat, tiny_models["transformer"], tiny_models["one_channel"]):
        assert why_not(model).startswith("it needs a network that averages its last maps") and "Grad-CAM works without" in why_not(model)


def test_cam_refuses_a_map_per_class_that_is_not_averaged():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten())
    model = wrap(network, key="maximum", preprocessing=Preprocessing(3, (8, 8)))
    with pytest.raises(IncompatibleModel, match="depend on more than the mean of the maps"):
        techniques.run("cam", sample_for(model), model)


def test_the_signed_map_of_hirescam_adds_up_to_the_logit_less_the_bias(flat):
    sample = sample_for(flat)
    found = first_map("hires_cam", sample, flat, target=2, layer="1", signed=True)
    assert found.sum() == pytest.approx(float(flat.logits(sample.pixels)[0, 2] - flat.network[3].bias[2]), abs=1e-4)


def test_the_signed_map_of_xgrad_cam_adds_up_to_gradient_times_activation(model):
    """The sensitivity axiom of its paper; on a layer behind a ReLU, in cells of the layer, not of the picture."""
    sample = sample_for(model)
    found = first_map("xgrad_cam", sample, model, target=2, layer="layer3", signed=True)
    logits, output = logits_from_layer(model, "layer3", sample.pixels)
    expected = float((gradient_at(logits[0, 2], output) * output).sum())
    assert found.mean() * output[0, 0].numel() == pytest.approx(expected, rel=1e-3)  # enlarging keeps the mean but for the border


def test_xgrad_cam_leaves_out_channels_whose_values_cancel():
    from techniques.xgrad_cam import _weights

    maps = torch.tensor([[[[1.0, -1.0]], [[1.0, 2.0]]]])
    weights = _weights(maps, torch.tensor([[[[1.0, 0.0]], [[3.0, 0.0]]]]))
    assert weights.flatten().tolist() == [0.0, 1.0]


def test_grad_cam_plus_plus_weighs_by_its_closed_form():
    from techniques.grad_cam_plus_plus import _weights

    maps = torch.rand(1, 6, 3, 4, generator=torch.Generator().manual_seed(0))
    gradients = torch.randn(2, 6, 3, 4, generator=torch.Generator().manual_seed(1))
    alpha = gradients**2 / (2 * gradients**2 + maps.sum((2, 3), keepdim=True) * gradients**3)
    assert torch.allclose(_weights(maps, gradients), (alpha * gradients.relu()).sum((2, 3), keepdim=True), atol=1e-5)


@pytest.mark.parametrize("name", OF_ALL_CLASSES)
def test_five_classes_share_one_forward_pass(model, name):
    calls = []
    handle = model.network.register_forward_hook(lambda *_: calls.append(1))
    answer = techniques.run(name, sample_for(model), model)
    handle.remove()
    assert len(calls) == (2 if name == "layer_cam" else 1)  # its earlier stages take a second one, with a graph
    assert len(answer[0].cells) == 5


@pytest.mark.parametrize("name", [*OF_ALL_CLASSES, "finer_cam", "eigen_cam", "score_cam", "ablation_cam"])
def test_a_model_without_places_is_told_so(name):
    model = wrap(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), key="flat", preprocessing=Preprocessing(3, (2, 2)))
    assert techniques.find(name).why_not(model) == "no layer of this model has places in the picture. Saliency and occlusion need none."


def test_stages_are_the_outermost_modules_of_each_grid(model):
    assert [stage.name for stage in stages(model)] == ["layer4", "layer3", "layer2", "layer1", "act1"]


def test_each_stage_of_layer_cam_is_the_map_of_that_layer_alone(model):
    sample = sample_for(model)
    answer = techniques.run("layer_cam", sample, model, target=3)
    for stage in ("layer1", "layer3"):
        alone = first_map("layer_cam", sample, model, target=3, layer=stage)
        assert far(answer.by_stage.cell(stage).values, alone) < CLOSE
    scaled = [np.tanh(2 * cell.values / cell.values.max()) for _, cell in answer.by_stage.leaves()]
    assert np.allclose(answer.all_stages.values, np.max(scaled, 0), atol=1e-6)


def test_a_network_with_one_grid_has_no_stages_to_compare(tiny_models):
    answer = techniques.run("layer_cam", sample_for(tiny_models["transformer"]), tiny_models["transformer"])
    assert answer.by_stage is None and answer.all_stages is None


@pytest.mark.parametrize(("rivals", "strength"), [(3, 0.6), (1, 1.0)])
def test_finer_cam_agrees_with_torchcam(model, rivals, strength):
    library = pytest.importorskip("torchcam.methods")
    sample = sample_for(model)
    target = model.target(None, sample.pixels)
    found = first_map("finer_cam", sample, model, rivals=rivals, strength=strength, against="the nearest logits", signed=False)
    expected = of_torchcam(library.FinerCAM, model, "layer4", sample, target, gamma=strength, num_references=rivals)
    assert far(found, expected) < CLOSE


def test_finer_cam_agrees_with_pytorch_grad_cam_against_one_class(model):
    library = pytest.importorskip("pytorch_grad_cam")
    sample = sample_for(model)
    with library.FinerCAM(model.network, [model.module("layer4")]) as peer:
        expected = peer(sample.pixels.clone().requires_grad_(), alpha=0.5, comparison_categories=[1])[0]
    found = first_map("finer_cam", sample, model, rivals=1, strength=0.5, signed=False)
    # it scales to [0, 1] before it enlarges; and it weighs several classes by their probability, and lets the gradient through these weights
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99


def test_finer_cam_of_no_strength_is_grad_cam(model):
    sample = sample_for(model)
    expected = techniques.run("grad_cam", sample, model, target=5, signed=True).grad_cam.cell("f").values
    assert far(first_map("finer_cam", sample, model, target=5, strength=0.0), expected) < CLOSE


def test_one_class_against_another_is_the_negative_of_the_other_way_round(model):
    sample = sample_for(model)
    first, second = (LABELS[index] for index in model.logits(sample.pixels)[0].argsort(descending=True)[:2])
    there, back = (techniques.run("finer_cam", sample, model, target=one, strength=1.0).one_by_one for one in (first, second))
    assert np.allclose(there.cell(second).values, -back.cell(first).values, atol=1e-5)


def test_rivals_are_the_most_probable_classes_or_those_with_the_nearest_logits(model):
    logits = torch.tensor([[9.0, 1.0, 1.1, 0.8, 7.0, -3.0, 0.0, 2.0]])
    assert with_rivals(model, logits, 1, "the most probable") == [1, 0, 4, 7, 2, 3]
    assert with_rivals(model, logits, 1, "the nearest logits") == [1, 2, 3, 6, 7, 5]
    assert with_rivals(model, logits, None, "the most probable") == with_rivals(model, logits, None, "the nearest logits")


@pytest.mark.parametrize("layer", ["layer4", "layer2.1.act2"])
def test_centred_eigen_cam_agrees_with_pytorch_grad_cam_up_to_its_sign(model, layer):
    library = pytest.importorskip("pytorch_grad_cam")
    sample = sample_for(model)
    found = first_map("eigen_cam", sample, model, layer=layer, centred=True)
    expected = of_pytorch_grad_cam(library.EigenCAM, model, layer, sample, 0)
    assert min(far(found, expected), far(found, -expected)) < 1e-3  # two decompositions in float32


def test_behind_a_relu_eigen_cam_is_never_below_zero_and_as_close_to_the_layer_as_one_pattern_can_be(model):
    """The largest singular vectors of a matrix without negative numbers have none; and they are its best approximation of rank one."""
    from techniques.base.class_maps import maps_of_layer
    from techniques.eigen_cam import first_component

    maps, _ = maps_of_layer(sample_for(model), model, model.layer("layer3"))
    values, share = first_component(maps, centred=False)
    assert values.min() >= -1e-5 and not techniques.run("eigen_cam", sample_for(model), model, layer="layer3").eigen_cam.signed
    assert float(values.square().sum() / maps.square().sum()) == pytest.approx(share, rel=1e-4)
    other = maps.flatten(1).T @ nn.functional.normalize(torch.rand(len(maps), generator=torch.Generator().manual_seed(0)), dim=0)
    assert float(values.square().sum()) > float(other.square().sum())
