"""The models that the page offers first. Any other key that a source knows works as well."""

from __future__ import annotations

from typing import NamedTuple

from model_zoo.bundled import DIGITS, IMAGENETTE


class Choice(NamedTuple):
    """A model by its key, with a title and one sentence on why to look at it."""

    key: str
    title: str
    about: str


CHOICES = (
    Choice("bundled/imagenette", IMAGENETTE.title, "Trained by this project and part of it: small, quick, and there without a network."),
    Choice("bundled/digits", DIGITS.title, "Small enough to follow every filter by eye; draw a digit and watch. There without a network."),
    Choice("timm/resnet50.a1_in1k", "ResNet-50", "2015: what most papers compare on, so your pictures can be held against theirs."),
    Choice("timm/vgg16.tv_in1k", "VGG-16", "2014: plain layers in a row; the classic of saliency maps and feature visualisation, and still the clearest."),
    Choice("torchvision/squeezenet1_0", "SqueezeNet 1.0", "2016: AlexNet's accuracy with a fiftieth of its parameters; its last layer is already a map of every class."),
    Choice("timm/mobilenetv3_large_100.ra_in1k", "MobileNetV3", "2019: made for telephones; see what a network looks at that has to count every multiplication."),
    Choice("timm/efficientnet_b0.ra_in1k", "EfficientNet-B0", "2019: depth, width and resolution grown together; channels are weighted anew for each picture."),
    Choice("timm/convnext_tiny.fb_in1k", "ConvNeXt tiny", "2022: convolutions built like a transformer; compare its maps with those of Swin, its model."),
    Choice("timm/densenet121.ra_in1k", "DenseNet-121", "2016: every layer sees the output of all before it, so early edges reach the decision directly."),
    Choice("timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k", "ViT tiny", "2020: no convolution; 14 x 14 patches that attend to each other, in its smallest form."),
    Choice("timm/deit_small_patch16_224.fb_in1k", "DeiT small", "2020: a vision transformer from ImageNet alone; does it look elsewhere than one with more data?"),
    Choice("timm/swin_tiny_patch4_window7_224.ms_in1k", "Swin tiny", "2021: attention inside windows that shift; look for the windows' borders in its maps."),
    Choice("timm/inception_v3.tf_in1k", "Inception v3", "2015: filters of several sizes side by side; the plain twin of the adversarially trained one below."),
    Choice(
        "timm/inception_v3.tf_adv_in1k",
        "Inception v3, adversarially trained",
        "2016: also trained on pictures that a single attack step had changed. It withstands FGSM better than its twin; PGD still fools it.",
    ),
    Choice(
        "timm/tf_efficientnet_b0.ap_in1k",
        "EfficientNet-B0, AdvProp",
        "2019: attacked pictures as extra lessons, with normalisation of their own, for accuracy on common damage; not made to withstand attacks.",
    ),
    Choice("timm/resnet18.a1_in1k", "ResNet-18", "2015: the smallest of its family; every technique is quick on it."),
    Choice("timm/mixer_b16_224.goog_in21k_ft_in1k", "MLP-Mixer", "2021: neither convolution nor attention, and yet it sees; where?"),
)
