"""Nuclei instance segmentation with Mask R-CNN: PyTorch Lightning + Hydra, detectron2's numerics, honest metrics."""

__version__ = "0.1.0"
