"""Attention maps and rollout: the weights are those that the blocks use, a slow second implementation, which networks have none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import timm
import torch
from torch import nn

import techniques
from model_zoo.loaded import LoadedModel, wrap
from model_zoo.preprocessing import Preprocessing
from techniques.attention_rollout import rollout
from techniques.base import IncompatibleModel, Sample
from techniques.base.attention import Attention, attention_of, attention_weights
from tests.timm_models import build


def sample_for(model: LoadedModel, seed: int = 0) -> Sample:
    shape = (model.preprocessing.channels, *model.preprocessing.size)
    return Sample.from_pixels(torch.rand(shape, generator=torch.Generator().manual_seed(seed)), "noise")


@pytest.fixture(scope="module")
def vits() -> dict[str, LoadedModel]:
    """Small vision transformers: plain, with a distillation token, with registers, without a class token but with relative
    positions, with learnt position biases, and with rotated queries and keys."""
    names = ("vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "vit_small_patch14_reg4_dinov2", "vit_relpos_small_patch16_224",
             "beit_base_patch16_224", "eva02_tiny_patch14_224")  # fmt: skip
    return {name: build(name) for name in names}


def torchvision_transformer() -> LoadedModel:
    """torchvision's own, whose blocks hold torch's MultiheadAttention."""
    from torchvision.models import VisionTransformer

    torch.manual_seed(0)
    network = VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=4)
    nn.init.normal_(network.heads.head.weight)
    return wrap(network, key="torchvision/vit", preprocessing=Preprocessing(3, (32, 32)))


def inputs_and_outputs(model: LoadedModel, name: str, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    seen = []
    handle = model.module(name).register_forward_hook(lambda _module, inputs, output: seen.append((inputs[0], output)))
    with torch.no_grad():
        model.logits(pixels)
    handle.remove()
    return seen[0]


VITS = ("vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "vit_small_patch14_reg4_dinov2", "vit_relpos_small_patch16_224",
        "beit_base_patch16_224", "eva02_tiny_patch14_224")  # fmt: skip


@pytest.mark.parametrize("name", VITS)
def test_the_weights_that_are_read_make_what_the_block_puts_out(vits, name):
    """Weights times values, through the block's own projection, is the block's output, in every layer."""
    model = vits[name]
    pixels = sample_for(model).pixels
    layers, count, _ = attention_of(model, pixels)
    assert len(layers) == count == 4
    for attention in layers:
        module = model.module(attention.layer)
        tokens, expected = inputs_and_outputs(model, attention.layer, pixels)
        values = values_of(module, tokens).unflatten(-1, (len(attention.weights), -1)).transpose(1, 2)
        mixed = (attention.weights[None] @ values).transpose(1, 2).flatten(2)
        mixed = module.norm(mixed) if isinstance(getattr(module, "norm", None), nn.Module) else mixed
        assert torch.allclose(module.proj(mixed), expected, atol=1e-5 * max(1, float(expected.abs().max())))  # the same sums in another order


def values_of(module: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """The values `[1, tokens, heads * width]` of an attention module of timm."""
    if getattr(module, "qkv", None) is None:
        return module.v_proj(tokens)
    out = nn.functional.linear(tokens, module.qkv.weight)
    bias = module.qkv.bias if module.qkv.bias is not None else None
    if bias is not None:
        out = out + bias
    elif getattr(module, "q_bias", None) is not None:
        out = out + torch.cat([module.q_bias, torch.zeros_like(module.q_bias), module.v_bias])
    return out.chunk(3, -1)[2]


def test_rows_of_every_layer_and_head_add_up_to_one(vits):
    for model in vits.values():
        for attention in attention_of(model, sample_for(model).pixels)[0]:
            assert torch.allclose(attention.weights.sum(-1), torch.ones(()), atol=1e-5)


@pytest.mark.parametrize(("mask", "causal", "scale"), [(None, False, None), ("float", False, 0.3), ("bool", False, None), (None, True, None)])
def test_the_weights_are_those_of_torchs_fused_step(mask, causal, scale):
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 2, 5, 4) for _ in range(3))
    mask = {"float": torch.randn(5, 5), "bool": torch.rand(5, 5) < 0.7, None: None}[mask]
    if mask is not None and mask.dtype == torch.bool:
        mask |= torch.eye(5, dtype=torch.bool)  # a row with nothing allowed has no weights
    expected = nn.functional.scaled_dot_product_attention(query, key, value, mask, is_causal=causal, scale=scale)
    weights = attention_weights(query, key, value, mask, is_causal=causal, scale=scale)
    assert torch.allclose(weights @ value, expected, atol=1e-6)


def test_torchs_own_attention_modules_are_read():
    model = torchvision_transformer()
    sample = sample_for(model)
    (attention, _), count, logits = attention_of(model, sample.pixels)
    assert count == 2 and attention.weights.shape == (2, 17, 17) and (attention.prefix, attention.grid) == (1, (4, 4))
    with torch.no_grad():
        assert torch.allclose(logits, model.logits(sample.pixels), atol=1e-6)  # listening takes another way through the same sums
    tokens, _ = inputs_and_outputs(model, attention.layer, sample.pixels)
    _, expected = model.module(attention.layer)(tokens, tokens, tokens, need_weights=True, average_attn_weights=False)
    assert torch.allclose(attention.weights, expected[0], atol=1e-6)


def test_the_first_map_is_where_the_class_token_looks_in_the_last_layer(vits):
    model = vits["deit_tiny_distilled_patch16_224"]
    sample = sample_for(model)
    answer = techniques.run("attention_maps", sample, model)
    weights = attention_of(model, sample.pixels)[0][-1].weights
    places = weights.mean(0)[0, 2:].reshape(1, 1, 4, 4)  # a class token and a distillation token come first
    expected = nn.functional.interpolate(places, (64, 64), mode="bilinear")[0, 0]
    assert np.allclose(answer.last_layer.values, expected.numpy(), atol=1e-6)
    assert answer.by_layer.positions() == tuple(f"blocks.{number}.attn" for number in range(4))
    assert answer.by_layer.positions("blocks.0.attn") == ("all heads", "head 1", "head 2", "head 3")


def test_seen_from_all_patches_it_is_the_mean_over_their_rows(vits):
    model = vits["vit_tiny_patch16_224"]
    sample = sample_for(model)
    head = techniques.run("attention_maps", sample, model, seen_from="all patches").by_layer.cell("blocks.1.attn", "head 2")
    rows = attention_of(model, sample.pixels)[0][1].weights[1, 1:, 1:].mean(0).reshape(1, 1, 4, 4)
    assert np.allclose(head.values, nn.functional.interpolate(rows, (64, 64), mode="bilinear")[0, 0].numpy(), atol=1e-6)


def test_without_a_class_token_both_ways_of_seeing_are_that_of_the_patches(vits):
    model = vits["vit_relpos_small_patch16_224"]
    first, second = (techniques.run("attention_maps", sample_for(model), model, seen_from=seen) for seen in ("class token", "all patches"))
    assert np.array_equal(first.last_layer.values, second.last_layer.values)
    assert "the patches, on average" in first.last_layer.caption


def test_the_note_tells_what_goes_to_tokens_without_a_place(vits):
    model = vits["vit_small_patch14_reg4_dinov2"]
    answer = techniques.run("attention_maps", sample_for(model), model)
    weights = attention_of(model, sample_for(model).pixels)[0][-1].weights
    share = 100 * float(weights[:, 0, :5].sum(-1).mean())
    assert f"go {share:.0f} % of the attention in the last layer, blocks.3.attn" in answer.note.text


def slow_rollout(layers: list[np.ndarray]) -> list[list[float]]:
    """Abnar and Zuidema's equations in plain loops."""
    count = layers[0].shape[1]
    total = [[float(row == column) for column in range(count)] for row in range(count)]
    for weights in layers:
        mean = weights.mean(0)
        mixed = [[0.5 * mean[row, column] + 0.5 * (row == column) for column in range(count)] for row in range(count)]
        total = [[math.fsum(mixed[row][k] * total[k][column] for k in range(count)) for column in range(count)] for row in range(count)]
    return total


@pytest.mark.parametrize("name", VITS)
def test_rollout_agrees_with_a_slow_second_implementation(vits, name):
    model = vits[name]
    sample = sample_for(model)
    layers = attention_of(model, sample.pixels)[0]
    total = np.array(slow_rollout([layer.weights.numpy() for layer in layers]))
    prefix = layers[0].prefix
    row = total[0] if name != "vit_relpos_small_patch16_224" else total.mean(0)
    expected = nn.functional.interpolate(torch.tensor(row[prefix:].reshape(1, 1, 4, 4)), model.preprocessing.size, mode="bilinear")[0, 0]
    found = techniques.run("attention_rollout", sample, model).rollout.values
    assert np.allclose(found, expected.numpy(), atol=1e-6)  # float64 against float32


@pytest.mark.parametrize("heads", ["mean", "max", "min"])
def test_rows_of_a_rollout_add_up_to_one_however_the_heads_are_joined(heads):
    generator = torch.Generator().manual_seed(0)
    layers = [Attention(str(number), torch.rand(3, 5, 5, generator=generator).softmax(-1), 1, (2, 2)) for number in range(4)]
    for mixed in rollout(layers, heads):
        assert torch.allclose(mixed.sum(-1), torch.ones(5), atol=1e-6) and mixed.min() >= 0


def test_nothing_but_its_own_patch_reaches_a_token_that_attends_to_itself_alone():
    layers = [Attention("0", torch.eye(5).expand(2, 5, 5), 1, (2, 2))] * 3
    assert torch.allclose(rollout(layers)[-1], torch.eye(5))


@pytest.mark.parametrize("name", ["attention_maps", "attention_rollout"])
def test_a_network_without_attention_is_refused_with_what_to_take_instead(name, tiny_models):
    assert techniques.find(name).why_not(tiny_models["cnn"]) == "it has no layers with attention heads. Grad-CAM and LayerCAM work without."


def test_attention_within_windows_is_refused():
    from timm.models.swin_transformer import SwinTransformer

    network = SwinTransformer(img_size=64, patch_size=2, window_size=4, embed_dim=16, depths=(2, 2), num_heads=(2, 2), num_classes=8)
    model = wrap(network, key="swin", preprocessing=Preprocessing(3, (64, 64)))
    for name in ("attention_maps", "attention_rollout"):
        assert techniques.find(name).why_not(model).startswith("its attention looks within windows")


def test_where_only_some_layers_look_over_the_whole_picture_maps_show_them_and_rollout_says_why_not():
    model = build("cait_xxs24_224")  # four layers among patches, two of the class token alone
    answer = techniques.run("attention_maps", sample_for(model), model)
    assert len(answer.by_layer.positions()) == 6
    assert techniques.find("attention_rollout").why_not(model).startswith("not all of its attention layers look from every place")


def test_attention_between_channels_is_not_taken_for_one_between_places():
    model = build("edgenext_xx_small")
    with pytest.raises(IncompatibleModel, match="No attention layer of .* looks over all places"):
        techniques.run("attention_maps", sample_for(model), model)


def test_listening_changes_no_answer_and_leaves_no_hook(vits):
    model = vits["vit_tiny_patch16_224"]
    pixels = sample_for(model).pixels
    with torch.no_grad():
        before = model.logits(pixels)
    _, _, heard = attention_of(model, pixels)
    assert torch.equal(before, heard)
    assert not any(module._forward_hooks for module in model.network.modules())
    assert all(module.fused_attn == timm.layers.use_fused_attn() for module in model.network.modules() if hasattr(module, "fused_attn"))
