"""The catalogue of models: what is known of each without a download, and what a search for it gives."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
import timm
from torchvision import models

from model_zoo import catalogue, sources
from model_zoo.choices import CHOICES
from model_zoo.tables import make

ROOT = Path(__file__).resolve().parents[1]
OFFERED = {row.key: row for row in catalogue.search("1k", limit=5000) + catalogue.search("torchvision", limit=5000)}
SMALL = 200_000_000  # bytes; building the shapes of larger networks takes seconds


def _some(keys, count: int) -> list[str]:
    return random.Random(0).sample(sorted(keys), count)


# The tables


@pytest.mark.parametrize("key", _some((key for key, row in OFFERED.items() if row.bytes < SMALL), 15))
def test_the_table_agrees_with_the_installed_libraries(key):
    source, _, name = key.partition("/")
    row = catalogue.entry(key)
    assert row is not None and (row.parameters, row.bytes) == (make.shapes_of_timm if source == "timm" else make.shapes_of_torchvision)(name)[1:]
    if source == "timm":
        config = timm.get_pretrained_cfg(name)
        assert (row.size, row.classes, row.licence) == (config.input_size[1:], config.num_classes, config.license or "")


@pytest.mark.parametrize("key", _some((row.key for row in catalogue.architectures() if row.bytes < SMALL), 15))
def test_the_table_of_architectures_agrees_with_the_installed_libraries(key):
    source, _, name = key.partition("/")
    (row,) = (row for row in catalogue.architectures() if row.key == key)
    assert (row.tensors, row.parameters, row.bytes) == (make.shapes_of_timm if source == "timm" else make.shapes_of_torchvision)(name)


def test_every_trained_classifier_of_timm_and_torchvision_is_in_the_table():
    trained = {f"timm/{name}" for name in timm.list_pretrained() if sources.classifies(timm.get_pretrained_cfg(name).num_classes)}
    known = {row.key for row in catalogue.search("timm", limit=5000)} | {row.key for row in catalogue.search("torchvision", limit=5000)}
    assert {key for key in known if key.startswith("timm/")} == trained
    assert {key for key in known if key.startswith("torchvision/")} == {f"torchvision/{name}" for name in models.list_models(module=models)}


def test_every_architecture_with_a_classifier_is_in_the_table():
    known = {row.key for row in catalogue.architectures()}
    names = {f"timm/{name}" for name in timm.list_models() if timm.get_pretrained_cfg(name, allow_unregistered=True).num_classes}
    assert known == names | {f"torchvision/{name}" for name in models.list_models(module=models)}


@pytest.mark.parametrize("name", ["digits", "imagenette"])
def test_the_bundled_models_are_as_large_as_the_table_says(name):
    model, row = sources.load_bundled(name), catalogue.entry(f"bundled/{name}")
    assert (model.bytes, model.preprocessing.size, model.classes) == (row.bytes, row.size, row.classes)


@pytest.mark.parametrize(("key", "top1"), [("timm/resnet50.a1_in1k", 81.21), ("torchvision/squeezenet1_0", 58.09), ("bundled/imagenette", None)])
def test_the_accuracy_is_the_one_its_library_publishes(key, top1):
    assert catalogue.entry(key).top1 == top1


def test_the_tables_are_small():
    assert sum(path.stat().st_size for path in (catalogue.ARCHITECTURES, catalogue.PRETRAINED)) < 250_000


def test_the_catalogue_needs_no_slow_package():
    code = (
        "import sys; from model_zoo import catalogue as c; c.search(''); c.search('resnat'); c.closest('x'); c.architectures();"
        "print([n for n in ('torch', 'timm', 'torchvision', 'huggingface_hub', 'numpy') if n in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip() == "[]"


# The curated list


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: choice.key)
def test_every_model_on_the_first_list_is_known_and_says_why_to_look_at_it(choice):
    row = catalogue.entry(choice.key)
    assert row is not None and row.about == choice.about and len(row.about.split()) > 6
    assert row.bytes < 600_000_000 and row.classes and row.family


def test_the_first_list_holds_the_classics():
    families = " ".join(f"{row.title} {row.family}" for row in catalogue.search(""))
    for name in ("ResNet-50", "VGG-16", "SqueezeNet", "MobileNet", "EfficientNet", "ConvNeXt", "DenseNet", "ViT", "DeiT", "Swin", "adversarially"):
        assert name in families


# Search


def test_nothing_typed_gives_the_curated_list_in_its_order():
    assert [row.key for row in catalogue.search("  ")] == [choice.key for choice in CHOICES]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("timm/resnet101.a1_in1k", "timm/resnet101.a1_in1k"),
        ("resnet101.a1_in1k", "timm/resnet101.a1_in1k"),
        ("ResNet-50", "timm/resnet50.a1_in1k"),
        ("resnet 50", "timm/resnet50.a1_in1k"),
        ("VGG-16", "timm/vgg16.tv_in1k"),
        ("vit tiny", "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"),
        ("tiny ViT patch16", "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"),
        ("SWIN_TINY", "timm/swin_tiny_patch4_window7_224.ms_in1k"),
        ("torchvision/alexnet", "torchvision/alexnet"),
        ("handwritten", "bundled/digits"),
        ("adversarially", "timm/inception_v3.tf_adv_in1k"),
        ("resnat50", "timm/resnet50.a1_in1k"),
        ("convnxt tiny", "timm/convnext_tiny.fb_in1k"),
        ("sqeezenet", "torchvision/squeezenet1_0"),
    ],
)
def test_what_somebody_types_finds_the_model_they_mean_first(text, first):
    assert catalogue.search(text)[0].key == first


def test_a_name_that_starts_with_the_text_goes_before_one_that_only_has_it():
    keys = [row.key for row in catalogue.search("resnet18", limit=5000)]
    starts = [key.partition("/")[2].startswith("resnet18") for key in keys]
    assert starts == sorted(starts, reverse=True) and True in starts and False in starts


def test_a_licence_and_an_input_size_can_be_asked_for():
    found = catalogue.search("apache vit 384px")
    assert found and all("apache" in row.licence and row.size == (384, 384) for row in found)


def test_no_more_than_the_limit_is_found_and_nothing_twice():
    assert len(catalogue.search("resnet", limit=7)) == 7
    keys = [row.key for row in catalogue.search("in1k", limit=5000)]
    assert len(keys) == len(set(keys))


def test_models_that_put_out_features_are_not_offered():
    assert catalogue.search("dinov3 vit 7b") == [] or all("7b" not in row.key for row in catalogue.search("dinov3 vit 7b"))
    assert catalogue.entry("timm/vit_base_patch32_clip_224.openai") is None


@pytest.mark.parametrize("text", ["zzzzqqq", "...", "<img src=x onerror=alert(1)>", "'; drop table", "\x00\x1b", "q" * 10_000, "名前"])
def test_what_is_no_model_finds_nothing(text):
    assert catalogue.search(text) == []


@pytest.mark.parametrize(
    "text",
    ["hf-hub:owner/some-model", "hf_hub:owner/some-model", " https://huggingface.co/owner/some-model ", "huggingface.co/owner/some-model/tree/main"],
)
def test_a_repository_of_the_hub_is_offered_by_its_name_or_address(text):
    (row,) = catalogue.search(text)
    assert (row.key, row.title, row.parameters, row.bytes, row.top1) == ("hf-hub:owner/some-model", "owner/some-model", 0, 0, None)


@pytest.mark.parametrize("text", ["hf-hub:", "hf-hub:owner", "hf-hub:../x", "hf-hub:a/b/c", "https://huggingface.co/", "https://huggingface.co/datasets"])
def test_what_is_no_repository_is_not_offered(text):
    assert catalogue.search(text) == []


def test_a_model_nearly_named_is_among_the_closest():
    assert "timm/resnet50.a1_in1k" in catalogue.closest("resnet50")
    assert "timm/resnet50.a1_in1k" in catalogue.closest("timm/resnet5O.a1_in1k")
    assert catalogue.closest("") == [] and len(catalogue.closest("timm/resnet")) == 3
