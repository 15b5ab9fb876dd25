"""Backbones, which turn images into feature maps, and the families that use them: C4, DC5, FPN."""
