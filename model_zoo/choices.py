"""The models that the page offers first. Any other key that a source knows works as well."""

from __future__ import annotations

from typing import NamedTuple

from model_zoo.bundled import DIGITS, IMAGENETTE


class Choice(NamedTuple):
    """A model by its key, with a title and one sentence about it."""

    key: str
    title: str
    about: str


CHOICES = (
    Choice("bundled/imagenette", IMAGENETTE.title, "A small residual network trained by this project; it works without a network."),
    Choice("bundled/digits", DIGITS.title, "A small convolutional network trained by this project; it works without a network."),
    Choice("torchvision/squeezenet1_0", "SqueezeNet 1.0", "2016: AlexNet's accuracy with a fiftieth of its parameters; no dense layer."),
    Choice("timm/vgg16.tv_in1k", "VGG-16", "2014: sixteen plain layers in a row; the classic of saliency maps and feature visualisation."),
    Choice("timm/inception_v3.tv_in1k", "Inception v3", "2015: filters of several sizes side by side."),
    Choice("timm/resnet18.a1_in1k", "ResNet-18", "2015: residual connections; small and quick."),
    Choice("timm/resnet50.a1_in1k", "ResNet-50", "2015: residual connections; the model most papers compare on, with a modern training recipe."),
    Choice("timm/densenet121.ra_in1k", "DenseNet-121", "2016: every layer sees the output of all layers before it."),
    Choice("timm/mobilenetv3_large_100.ra_in1k", "MobileNetV3", "2019: made for telephones by a search over architectures."),
    Choice("timm/efficientnet_b0.ra_in1k", "EfficientNet-B0", "2019: depth, width and resolution scaled together."),
    Choice("timm/convnext_tiny.fb_in1k", "ConvNeXt tiny", "2022: a convolutional network with the manners of a transformer."),
    Choice("timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k", "ViT tiny", "2020: a small vision transformer on 14 x 14 patches."),
    Choice("timm/deit_small_patch16_224.fb_in1k", "DeiT small", "2020: a vision transformer trained on ImageNet alone."),
    Choice("timm/swin_tiny_patch4_window7_224.ms_in1k", "Swin tiny", "2021: attention inside shifted windows, in four resolutions."),
    Choice("timm/mixer_b16_224.goog_in21k_ft_in1k", "MLP-Mixer", "2021: dense layers over patches and channels in turn; no attention."),
)
