"""Backbones, which turn images into feature maps, and the families that use them: C4, DC5, FPN."""

from nucleiseg.models.backbones import resnet, torchvision_models  # noqa: F401  they register their backbones
