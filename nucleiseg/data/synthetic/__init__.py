"""Synthetic H&E images with exact masks: what the demo trains on, and the tests."""
