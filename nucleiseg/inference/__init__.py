"""Predict with a trained network: inputs, scale, box-local masks, results in pixels of the source image."""
