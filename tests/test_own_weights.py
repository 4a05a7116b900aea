"""A visitor's own weights: matched tensor by tensor, their architecture guessed, built into the same network, or refused in a sentence."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torchvision import models

from model_zoo import loaded
from model_zoo.bundled import IMAGENETTE
from model_zoo.checkpoints import build, doubt, equals, guess, match, preprocessing_of, read_class_names
from model_zoo.errors import Cancelled, ModelLoadError, UploadError

State = dict[str, torch.Tensor]


def shapes(state: State, prefix: str = "") -> dict[str, tuple[int, ...]]:
    return {prefix + name: tuple(tensor.shape) for name, tensor in state.items()}


def shapes_of(key: str, prefix: str = "", **options) -> dict[str, tuple[int, ...]]:
    """The state dict of a new network as its own library makes it, without memory."""
    library, _, name = key.partition("/")
    with torch.device("meta"):
        network = timm.create_model(name, **options) if library == "timm" else models.get_model(name, weights=None, **options)
    return shapes(network.state_dict(), prefix)


@pytest.fixture(scope="module")
def small() -> torch.nn.Module:
    """A ResNet-18 with 7 classes and 1 channel, whose statistics are not those of a new network."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = timm.create_model("resnet18", num_classes=7, in_chans=1)
        network.train()(torch.rand(4, 1, 64, 64))
    return network.eval()


@pytest.fixture
def saved(tmp_path) -> Callable[[State], Path]:
    def save(state: State) -> Path:
        path = tmp_path / "weights.safetensors"
        save_file({name: tensor.detach().clone().contiguous() for name, tensor in state.items()}, path)
        return path

    return save


@pytest.fixture
def built(saved):
    """Match and build a state dict as a visitor's file."""
    return lambda state, architecture: build(saved(state), match(shapes(state), architecture))


@torch.no_grad()
def differ(one: torch.nn.Module, other: torch.nn.Module, channels: int = 3, side: int = 64) -> float:
    """The largest difference between the logits of two networks for two pictures of noise."""
    noise = torch.rand(2, channels, side, side, generator=torch.Generator().manual_seed(0))
    return (one(noise) - other(noise)).abs().max().item()


# --- matching


def test_a_network_with_other_classes_and_channels_behind_a_prefix_gives_the_same_logits(small, built):
    state = {f"module.model.{name}": tensor for name, tensor in small.state_dict().items()}
    found = match(shapes(state), "timm/resnet18")
    assert (found.summary, found.classes, found.channels, found.size, found.share) == ("122 of 122 tensors matched", 7, 1, None, 1.0)
    assert found.prefix == "module.model." and found.complete and found.rows() == ()
    network, notes = built(state, "timm/resnet18")
    assert notes == ()
    assert differ(network, small, 1) <= 1e-5  # the same weights in the same library; room for another order of summation


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.", "net.", "module._orig_mod.model.network.", "a.b.c.d."])
def test_whatever_stands_before_all_names_is_cut_off(small, prefix):
    found = match(shapes(small.state_dict(), prefix), "timm/resnet18")
    assert (found.matched, found.prefix, found.unexpected) == (122, prefix, ())


def test_a_wrapper_in_the_middle_of_names_is_seen_through():
    old = {name.replace("features.", "features.module."): shape for name, shape in shapes_of("torchvision/vgg11").items()}
    found = match(old, "torchvision/vgg11")
    assert found.summary == "22 of 22 tensors matched" and found.prefix == ""


def test_a_backbone_behind_a_prefix_and_a_head_without_one_are_both_found(small):
    state = {name if name.startswith("fc.") else f"backbone.{name}": shape for name, shape in shapes(small.state_dict()).items()}
    found = match(state, "timm/resnet18")
    assert (found.matched, found.classes, found.prefix) == (122, 7, "backbone.")


def test_of_a_student_and_its_teacher_one_is_taken_and_the_other_listed(small):
    state = {**shapes(small.state_dict(), "teacher_network."), **shapes(small.state_dict(), "student.")}
    found = match(state, "timm/resnet18")
    assert (found.matched, found.prefix, found.surplus) == (122, "student.", 0)
    assert set(found.unexpected) == {name for name in state if name.startswith("teacher_network.")}
    assert guess(state)[0].architecture == "timm/resnet18"


def test_batch_counters_that_the_file_leaves_out_do_not_count(small, built):
    state = {name: tensor for name, tensor in small.state_dict().items() if "num_batches" not in name}
    assert match(shapes(state), "torchvision/resnet18").summary == "102 of 102 tensors matched"
    assert differ(built(state, "torchvision/resnet18").network, small, 1) <= 1e-5


def test_missing_unexpected_and_misshapen_tensors_are_listed_with_their_shapes(small):
    state = shapes(small.state_dict())
    state["layer1.0.conv1.weight"] = (64, 64, 5, 5)
    state["stranger"] = (3, 2)
    del state["bn1.bias"]
    found = match(state, "timm/resnet18")
    assert found.summary == "120 of 122 tensors matched"
    assert found.rows() == (
        ("layer1.0.conv1.weight", "another shape", "64 x 64 x 3 x 3", "64 x 64 x 5 x 5"),
        ("bn1.bias", "not in the file", "64", ""),
        ("stranger", "not in the architecture", "", "3 x 2"),
    )


def test_a_head_behind_a_dropout_is_taken_for_the_head_and_said_so(small, built):
    state = {name.replace("fc.", "fc.1."): tensor for name, tensor in small.state_dict().items()}
    found = match(shapes(state), "timm/resnet18")
    assert (found.matched, found.classes) == (122, 7)
    assert found.renamed == (("fc.weight", "fc.1.weight"), ("fc.bias", "fc.1.bias"))
    network, notes = built(state, "timm/resnet18")
    assert notes == ("fc.weight was taken from fc.1.weight; fc.bias was taken from fc.1.bias.",)
    assert differ(network, small, 1) <= 1e-5


def test_a_head_of_two_layers_is_not_mistaken_for_one_of_one(small, built):
    state = {name.replace("fc.", "fc.2."): tensor for name, tensor in small.state_dict().items()}
    state |= {"fc.0.weight": torch.eye(512), "fc.0.bias": torch.zeros(512)}
    assert match(shapes(state), "timm/resnet18").matched == 120
    with pytest.raises(UploadError, match="The file lacks fc.weight, fc.bias, without which timm/resnet18 would name classes at random and has fc.2"):
        built(state, "timm/resnet18")


@pytest.mark.parametrize(
    ("key", "options", "classes", "channels"),
    [
        ("timm/tresnet_m", {"in_chans": 1, "num_classes": 3}, 3, 1),  # its first convolution sees 16 pixels at a time
        ("timm/deit_tiny_distilled_patch16_224", {"num_classes": 9, "in_chans": 4}, 9, 4),  # two heads
        ("timm/naflexvit_base_patch16_gap", {"in_chans": 1, "num_classes": 2}, 2, 1),  # its first layer is linear
        ("timm/fastvit_t8", {"in_chans": 4, "num_classes": 1}, 1, 4),  # two first convolutions
        ("timm/crossvit_9_240", {"num_classes": 21_000}, 21_000, 3),
        ("torchvision/vgg11_bn", {"num_classes": 7}, 7, 3),
        ("torchvision/squeezenet1_1", {"num_classes": 7}, 7, 3),  # its head is a convolution
    ],
)
def test_classes_and_channels_are_read_from_heads_and_stems_of_every_make(key, options, classes, channels):
    found = match(shapes_of(key, **options), key)
    assert (found.classes, found.channels, found.share, found.unexpected) == (classes, channels, 1.0, ())


def test_position_embeddings_tell_another_size(built):
    original = timm.create_model("vit_tiny_patch16_224", img_size=96, num_classes=5).eval()
    found = match(shapes(original.state_dict()), "timm/vit_tiny_patch16_224")
    assert (found.size, found.classes, found.complete) == ((96, 96), 5, True)
    assert preprocessing_of(found).size == (96, 96)
    assert differ(built(original.state_dict(), "timm/vit_tiny_patch16_224").network, original, side=96) <= 1e-5
    state = shapes_of("torchvision/vit_b_32", image_size=96)
    assert match(state, "torchvision/vit_b_32").size == (96, 96)


def test_one_channel_is_normalised_by_the_average_of_the_colours(small):
    wanted = preprocessing_of(match(shapes(small.state_dict()), "timm/resnet18"))
    assert (wanted.channels, wanted.size) == (1, (224, 224))
    assert wanted.mean == pytest.approx([(0.485 + 0.456 + 0.406) / 3]) and wanted.std == pytest.approx([(0.229 + 0.224 + 0.225) / 3])


def test_what_torchvision_normalises_inside_a_pretrained_network_is_done_outside():
    found = match(shapes_of("torchvision/googlenet", aux_logits=False, init_weights=False), "torchvision/googlenet")
    pixels = torch.rand(2, 3, 32, 32)
    theirs = models.googlenet(weights=None, init_weights=False, transform_input=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    expected = theirs._transform_input((pixels - mean) / std)
    wanted = preprocessing_of(found)
    ours = (pixels - torch.tensor(wanted.mean).view(3, 1, 1)) / torch.tensor(wanted.std).view(3, 1, 1)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)  # two roundings of float32 more


def test_heads_that_answer_in_training_alone_are_left_out():
    found = match(shapes_of("torchvision/googlenet", init_weights=False), "torchvision/googlenet")
    assert (found.share, found.surplus) == (1.0, 0) and all(name.startswith("aux") for name in found.unexpected)


def test_networks_that_compute_while_they_are_built_need_no_memory_either():
    state = shapes(models.regnet_y_400mf(weights=None, num_classes=3).state_dict())
    assert match(state, "torchvision/regnet_y_400mf").classes == 3
    assert match(state, "torchvision/regnet_y_128gf").share < 0.5  # 2.6 GB, were it built


@pytest.mark.parametrize(
    "name",
    ["timm/resnet188", "resnet18", "", "timm/", "timm/hf-hub:a/b", "timm/local-dir:/etc", "torchvision/../x", "keras/resnet", "timm/" + "x" * 10_000],
)
def test_an_unknown_architecture_is_refused_in_a_short_sentence(name):
    with pytest.raises(ModelLoadError, match="There is no architecture") as refused:
        match({"fc.weight": (2, 2)}, name)
    assert len(str(refused.value)) < 400


def test_near_names_are_told_and_tags_are_no_part_of_an_architecture(small):
    with pytest.raises(ModelLoadError, match="Did you mean .*timm/resnet18"):
        match({}, "timm/resnet188")
    assert match(shapes(small.state_dict()), "timm/resnet18.a1_in1k").architecture == "timm/resnet18"


def test_an_architecture_that_puts_out_features_is_refused():
    with pytest.raises(ModelLoadError, match="puts out features"):
        match({}, "timm/eva02_tiny_patch14_224")


@pytest.mark.parametrize(
    "odd",
    [
        {"fc.weight": (10**9, 0)}, {"fc.weight": ()}, {"fc.weight": (0, 512)}, {"conv1.weight": (64, 10**12, 7, 7)}, {"conv1.weight": (0,)},
        {"." * 100_000: (1,), "a" * 10**6: (1,), "": (3,)}, {f"{'x.' * 100}{number}.weight": (1,) for number in range(20_000)},
    ],
    ids=["classes", "number", "none", "channels", "flat", "names", "many"],
)  # fmt: skip
def test_odd_shapes_and_names_match_badly_and_do_no_harm(small, saved, odd):
    found = match({**shapes(small.state_dict()), **odd}, "timm/resnet18")
    assert found.matched <= 122 and len(found.rows()) >= 1
    assert all(candidate.share > 0.5 for candidate in guess({**shapes(small.state_dict()), **odd}))


def test_a_position_embedding_for_a_huge_picture_builds_nothing():
    state = shapes_of("timm/vit_tiny_patch16_224")
    found = match({**state, "pos_embed": (1, 1 + 5000**2, 192)}, "timm/vit_tiny_patch16_224")
    assert found.size is None and found.wrong_shape == (("pos_embed", (1, 197, 192), (1, 1 + 5000**2, 192)),)


# --- building


def refused(built, state: State, architecture: str = "timm/resnet18") -> str:
    with pytest.raises(UploadError) as error:
        built(state, architecture)
    return str(error.value)


def test_weights_of_another_architecture_are_refused_with_the_right_one(built):
    state = timm.create_model("vit_tiny_patch16_224", num_classes=3).state_dict()
    assert refused(built, state) == ("Only 0 of 122 tensors match timm/resnet18. Did you mean timm/vit_tiny_patch16_224, of which 152 of 152 match?")


def test_a_larger_network_that_holds_all_tensors_of_a_smaller_one_is_not_taken_for_it(built):
    state = timm.create_model("resnet34").state_dict()
    assert match(shapes(state), "timm/resnet18").summary == "122 of 122 tensors matched, and the file has 96 more"
    assert refused(built, state) == (
        "The file has all 122 tensors of timm/resnet18, and 96 more, of a larger network. Did you mean timm/resnet34, of which 218 of 218 match?"
    )


def test_a_wrong_shape_is_refused_and_named(small, built):
    state = {**small.state_dict(), "layer4.1.conv2.weight": torch.zeros(512, 512, 1, 1)}
    text = refused(built, state)
    assert text.startswith("layer4.1.conv2.weight is 512 x 512 x 1 x 1 in the file and 512 x 512 x 3 x 3 in timm/resnet18.")


def test_half_of_the_tensors_is_not_enough(small, built):
    state = dict(list(small.state_dict().items())[:61])
    assert refused(built, state) == "Only 61 of 122 tensors match timm/resnet18. Choose the architecture that the weights were trained in."


def test_without_its_head_a_network_would_name_classes_at_random(small, built):
    state = {name: tensor for name, tensor in small.state_dict().items() if not name.startswith("fc.")}
    assert "The file lacks fc.weight, fc.bias, without which" in refused(built, state)


def test_a_few_missing_tensors_keep_seeded_numbers_and_are_named(small, built):
    state = {name: tensor for name, tensor in small.state_dict().items() if name not in ("bn1.bias", "layer2.0.conv1.weight")}
    first, again = built(state, "timm/resnet18"), built(state, "timm/resnet18")
    assert first.notes == ("The file lacks bn1.bias, layer2.0.conv1.weight; random numbers stand there.",)
    assert torch.equal(first.network.layer2[0].conv1.weight, again.network.layer2[0].conv1.weight)
    assert first.network.layer2[0].conv1.weight.std() > 0


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 0.02), (torch.bfloat16, 0.1), (torch.float64, 1e-5)])
def test_other_floats_are_taken_as_float32_and_said_so(small, built, dtype, tolerance):
    """Half precision keeps 11 bits of each weight and bfloat16 8: logits of size 1 move by about 2^-11 and 2^-8 per layer."""
    state = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in small.state_dict().items()}
    network, notes = built(state, "timm/resnet18")
    assert notes == (f"The file holds {str(dtype)[6:]} weights; they are computed with in float32.",)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert differ(network, small, 1) <= tolerance


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.uint8, torch.int64, torch.complex64], ids=str)
def test_weights_that_are_not_floating_point_are_refused(small, built, dtype):
    state = {**small.state_dict(), "fc.weight": small.fc.weight.detach().to(dtype)}
    assert refused(built, state).startswith(f"The weights are not floating point (fc.weight is {str(dtype)[6:]}).")


@pytest.mark.parametrize(("number", "word"), [(float("nan"), "NaN"), (float("inf"), "infinity"), (-float("inf"), "infinity")])
def test_a_weight_that_is_not_finite_is_refused_and_named(small, built, number, word):
    weight = small.layer3[0].conv2.weight.detach().clone()
    weight[1, 2, 0, 0] = number
    text = refused(built, {**small.state_dict(), "layer3.0.conv2.weight": weight})
    assert text.startswith(f"The network gives no valid numbers (first {word} in layer3.0.conv2.weight).")


def test_a_double_that_float32_cannot_hold_is_refused(small, built):
    text = refused(built, {**small.state_dict(), "fc.bias": torch.full((7,), 1e300, dtype=torch.float64)})
    assert "first infinity in fc.bias" in text


@pytest.mark.parametrize("spoil", [lambda name, tensor: -tensor if "running_var" in name else tensor, lambda name, tensor: tensor * 1e20])
def test_finite_weights_that_give_no_finite_logits_are_refused(small, built, spoil):
    state = {name: spoil(name, tensor) if tensor.is_floating_point() else tensor for name, tensor in small.state_dict().items()}
    assert refused(built, state).startswith("The network gives no valid numbers on a picture of noise")


def test_all_zero_weights_are_taken_with_a_warning(small, built):
    _, notes = built({name: torch.zeros_like(tensor) for name, tensor in small.state_dict().items()}, "timm/resnet18")
    assert len(notes) == 1 and notes[0].startswith("Every class gets the same score")


def test_a_network_that_does_not_look_at_the_picture_is_taken_with_a_warning(small, built):
    _, notes = built({**small.state_dict(), "fc.weight": torch.zeros(7, 512), "fc.bias": torch.arange(7.0)}, "timm/resnet18")
    assert len(notes) == 1 and notes[0].startswith("Two different pictures of noise get exactly the same scores")


def test_a_number_of_channels_that_no_picture_has_is_refused(built):
    state = timm.create_model("test_resnet", in_chans=12).state_dict()
    assert "with 12 channels" in refused(built, state, "timm/test_resnet")


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "levit_128", "test_efficientnet", "test_convnext"])
def test_tables_that_no_file_holds_are_computed_and_the_logits_the_same(built, name):
    original = timm.create_model(name, num_classes=4).eval()
    network = built(original.state_dict(), f"timm/{name}").network
    assert differ(network, original, side=original.pretrained_cfg["input_size"][-1]) <= 1e-5


def test_indices_from_a_file_are_not_trusted(built):
    original = models.swin_t(weights=None, num_classes=4).eval()
    state = original.state_dict()
    hostile = {name: tensor + 10**12 if "index" in name else tensor for name, tensor in state.items()}
    assert differ(built(hostile, "torchvision/swin_t").network, original, side=224) <= 1e-5


def test_building_leaves_the_random_numbers_of_everybody_else_alone(small, built):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    built(small.state_dict(), "timm/resnet18")
    assert torch.equal(torch.rand(3), expected)


def test_a_built_network_becomes_a_model_that_can_be_looked_into(small, saved):
    state = small.state_dict()
    found = match(shapes(state), "timm/resnet18")
    network, notes = build(saved(state), found)
    model = loaded.wrap(network, key="upload/x", preprocessing=preprocessing_of(found), notes=notes)
    assert (model.classes, model.preprocessing.channels, model.head) == (7, 1, "fc")


def test_squeezenet_from_a_visitor_answers_as_torchvision_loads_it(shared_folder, built):
    path = shared_folder / "torch_home" / "hub" / "checkpoints" / "squeezenet1_0-b66bff10.pth"
    if not path.is_file():
        pytest.skip("the weights of SqueezeNet are not there")
    state = torch.load(path, weights_only=True)
    original = models.squeezenet1_0(weights=None)
    original.load_state_dict(state)
    assert guess(shapes(state))[0].architecture == "torchvision/squeezenet1_0"
    assert match(shapes(state), "torchvision/squeezenet1_0").summary == "52 of 52 tensors matched"
    assert differ(built(state, "torchvision/squeezenet1_0").network, original.eval(), side=224) <= 1e-5


def test_the_bundled_photo_network_is_of_no_known_architecture_and_refused(built):
    state = load_file(IMAGENETTE.weights)  # a ResNet-18-D of half the width
    assert guess(shapes(state)) == []
    assert refused(built, state, "timm/resnet18d").startswith("Only 23 of 134 tensors match timm/resnet18d.")


# --- guessing

PLAIN: dict = {}
GUESSED = [
    ("timm/resnet18", {"num_classes": 7, "in_chans": 1}), ("timm/resnet50", PLAIN), ("timm/resnet26d", {"num_classes": 37}),
    ("timm/resnext50_32x4d", {"num_classes": 7}), ("timm/seresnet50", {"in_chans": 1}), ("timm/vgg16_bn", {"num_classes": 37}),
    ("timm/densenet121", {"num_classes": 7, "in_chans": 1}), ("timm/efficientnet_b0", {"num_classes": 1}),
    ("timm/mobilenetv2_100", {"num_classes": 37}),
    ("timm/mobilenetv3_large_100", PLAIN), ("timm/convnext_tiny", {"num_classes": 7}), ("timm/convnextv2_atto", {"in_chans": 1}),
    ("timm/vit_tiny_patch16_224", {"num_classes": 37, "in_chans": 1}), ("timm/vit_base_patch32_224", {"num_classes": 7}),
    ("timm/deit_base_distilled_patch16_224", {"num_classes": 7}), ("timm/swin_tiny_patch4_window7_224", {"num_classes": 37}),
    ("timm/beit_base_patch16_224", PLAIN), ("timm/mixer_b16_224", {"num_classes": 7}), ("timm/inception_v3", {"num_classes": 7}),
    ("timm/regnety_016", {"in_chans": 1}), ("timm/nfnet_f0", {"num_classes": 7}), ("timm/coat_tiny", {"num_classes": 37}), ("timm/pit_s_224", PLAIN),
    ("timm/levit_128", {"num_classes": 7}), ("timm/poolformer_s12", {"num_classes": 1}), ("timm/fastvit_t8", {"num_classes": 37}),
    ("timm/ghostnet_100", {"num_classes": 7}), ("timm/repvgg_a2", {"in_chans": 1}), ("timm/tresnet_m", {"num_classes": 7, "in_chans": 1}),
    ("torchvision/squeezenet1_0", {"num_classes": 7}), ("torchvision/alexnet", {"num_classes": 37}), ("torchvision/mobilenet_v2", {"num_classes": 7}),
    ("torchvision/vit_b_16", PLAIN), ("torchvision/swin_t", {"num_classes": 7}), ("torchvision/shufflenet_v2_x1_0", {"num_classes": 37}),
]  # fmt: skip


@pytest.mark.parametrize(("key", "options"), GUESSED, ids=[key for key, _ in GUESSED])
def test_the_architecture_is_guessed_from_names_and_shapes(key, options):
    state = shapes_of(key, "module." if len(key) % 2 else "", **options)
    found = guess(state)
    assert found[0].architecture == key and found[0].complete
    assert (found[0].classes, found[0].channels) == (options.get("num_classes", found[0].classes), options.get("in_chans", 3))


def test_architectures_with_the_same_tensors_are_all_offered_and_the_doubt_is_said():
    state = shapes_of("timm/efficientnet_b0")
    found = guess(state, limit=1)
    names = [candidate.architecture for candidate in found]
    assert names[:2] == ["timm/efficientnet_b0", "timm/tf_efficientnet_b0"] and equals(found) == found
    assert "timm/tf_efficientnet_b0" in doubt(found) and "same tensors" in doubt(found)
    assert doubt(guess(shapes_of("timm/convnext_tiny"))) is None


@pytest.mark.parametrize(
    ("key", "hint"), [("timm/tf_efficientnet_b0", "tf_efficientnet-b0_best.pth"), ("timm/deit_small_patch16_224", "my_DeiT_small_patch16_224.pth")]
)
def test_the_name_of_the_file_decides_between_equals(key, hint):
    assert guess(shapes_of(key, num_classes=7), hint=hint)[0].architecture == key
    assert guess(shapes_of("timm/resnet26d"), hint=hint)[0].architecture == "timm/resnet26d"  # and between nothing else


def test_timm_comes_before_torchvision_when_both_have_it():
    names = [found.architecture for found in guess(shapes_of("torchvision/resnet50"))]
    assert names[:2] == ["timm/resnet50", "torchvision/resnet50"]


def test_modules_that_are_called_like_a_wrapper_are_found():
    state = shapes_of("timm/iformer_t", "module.")
    assert "module.stages.0.blocks.0.mixer.module.0.c.weight" in state
    assert guess(state)[0].architecture == "timm/iformer_t" and guess(state)[0].complete and guess(state)[0].prefix == "module."


def test_a_guess_survives_missing_counters_and_a_head_of_two_layers():
    state = {name: shape for name, shape in shapes_of("timm/resnet34").items() if "num_batches" not in name}
    assert guess(state)[0].summary == "182 of 182 tensors matched"
    state |= {"fc.0.weight": (256, 512), "fc.0.bias": (256,), "fc.2.weight": (7, 256), "fc.2.bias": (7,)}
    del state["fc.weight"], state["fc.bias"]
    assert guess(state)[0].architecture == "timm/resnet34" and guess(state)[0].matched == 180


@pytest.mark.parametrize("state", [{}, {"a": (1,)}, {f"lstm.{number}.weight": (4, 4) for number in range(50)}], ids=["nothing", "one", "other"])
def test_tensors_of_no_known_architecture_give_no_guess(state):
    assert guess(state) == []


def test_a_guess_can_be_stopped():
    class Stopped:
        def check(self) -> None:
            raise Cancelled

    with pytest.raises(Cancelled):
        guess(shapes_of("timm/resnet18"), run=Stopped())


# --- names of classes


@pytest.fixture
def names_in(tmp_path):
    def read(content: str | bytes, name: str = "names.txt", classes: int = 2) -> tuple[str, ...]:
        path = tmp_path / "list"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_class_names(path, name, classes)

    return read


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "cat\ndog\n"), ("a.txt", "\ufeffcat\r\n\r\ndog"), ("a.TXT", "0 cat\n1 dog"), ("a.names", "1: cat\n2: dog"),
        ("a.csv", "index,name\n1,dog\n0,cat\n"), ("a.csv", "name;id\ncat;0\ndog;1"), ("a.csv", '"cat",0\n"dog",1'), ("a.csv", "cat\ndog"),
        ("a.csv", "label\ncat\ndog"), ("a.csv", "Nummer,Tier\n2,dog\n1,cat"), ("a.csv", "id,wnid,class name\n0,n01,cat\n1,n02,dog"),
        ("a.tsv", "0\tcat\n1\tdog"),
        ("a.json", '["cat", "dog"]'), ("a.json", '{"0": "cat", "1": "dog"}'), ("a.json", '{"dog": 1, "cat": 0}'),
        ("a.json", '{"id2label": {"1": "dog", "0": "cat"}, "x": 3}'),
        ("a.json", '{"0": ["n01", "cat"], "1": ["n02", "dog"]}'), ("a.json", '{"label2id": {"cat": 0, "dog": 1}}'),
    ],
)  # fmt: skip
def test_names_are_read_from_every_usual_list(names_in, name, content):
    assert names_in(content, name) == ("cat", "dog")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "cat\ncat", ("cat (0)", "cat (1)")),
        ("a.txt", "Käse\nfrühes Brot".encode("latin-1"), ("Käse", "frühes Brot")),
        ("a.txt", "1984\n2001", ("1984", "2001")),
        ("a.csv", '"maillot, tank suit"\n"a ""big"" dog"', ("maillot, tank suit", 'a "big" dog')),
        ("a.csv", "0,maillot, tank suit\n1,dog", ("maillot, tank suit", "dog")),
        ("a.csv", "1,9\n0,7", ("7", "9")),
        ("a.json", '{"1": 0, "2": 1}', ("1", "2")),
        ("a.json", "[3, 8]", ("3", "8")),
        ("a.txt", "x" * 500 + "\na quiet\u202e dog\x07 in a line so long", ("x" * 200, "a quiet  dog  in a line so long")),
        ("a.json", '["", "<b>"]', ("class 0", "<b>")),
    ],
)  # fmt: skip
def test_odd_names_are_kept_apart_and_cleaned(names_in, name, content, expected):
    assert names_in(content, name) == expected


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.txt", "a\n" * 9, "The list has 9 names, the network 10 classes."),
        ("a.txt", "a", "The list has 1 name, the network 10 classes."),
        ("a.txt", "", "is empty"), ("a.csv", ",,\n,,", "is empty"), ("a.txt", "x\n" * 600_000, "larger than 1 MB"),
        ("a.txt", "x\n" * 40_000, "40,000 names"),
        ("a.txt", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not text"), ("a.txt", "cat\ndog".encode("utf-16"), "not text"),
        ("a.json", "<!DOCTYPE html><p>404", "web page"),
        ("a.json", "{", "not valid JSON"), ("a.json", "[" * 100_000, "not valid JSON"), ("a.json", '{"a":' * 100_000, "not valid JSON"),
        ("a.json", "[1" + "0" * 900_000 + "]", "not valid JSON"), ("a.json", "NaN", "another kind"), ("a.json", "[1.5, true]", "another kind"),
        ("a.json", '{"a": {"b": 1}}', "another kind"),
        ("a.json", '{"0": "a", "5": "b"}', "5 stands where 1 belongs"), ("a.csv", "0,a\n0,b", "0 stands where 1 belongs"),
        ("a.csv", "a" * 200_000, "not valid CSV"),
    ],
    ids=lambda value: value[:12] if isinstance(value, str) else "bytes",
)  # fmt: skip
def test_what_is_no_list_of_this_length_is_refused_in_a_sentence(names_in, name, content, sentence):
    with pytest.raises(UploadError, match=sentence):
        names_in(content, name, 10)


def test_mutated_lists_give_names_or_a_sentence(names_in):
    generator = random.Random(0)
    lists = [
        ("a.csv", b'id,name\n0,"cat, big"\n1,dog\n2,b\xc3\xa4r\n'),
        ("a.json", b'{"id2label": {"0": "cat", "1": ["dog"], "2": 3}}'),
        ("a.txt", b"0 cat\r\n1 dog\n2 x"),
    ]
    for _ in range(1500):
        name, content = generator.choice(lists)
        mutated = bytearray(content)
        for _ in range(generator.randint(1, 6)):
            place = generator.randrange(len(mutated))
            kind = generator.randrange(4)
            if kind == 0:
                mutated[place] = generator.randrange(256)
            elif kind == 1:
                del mutated[place : place + generator.randint(1, 4)]
            elif kind == 2:
                mutated[place:place] = generator.choice([b'"', b",", b"\n", b"[", b"{", b"\r", b"\0", b"99999999999", b"\xff", b";", b"-1", b"1e9"])
            else:
                mutated[place:place] = mutated[generator.randrange(len(mutated)) :][:20]
            mutated = mutated or bytearray(b"x")
        try:
            names = names_in(bytes(mutated), name, 3)
        except UploadError as error:
            assert str(error).startswith("The ") and len(str(error)) < 300
        else:
            assert len(set(names)) == 3 and all(0 < len(name) <= 210 for name in names)
