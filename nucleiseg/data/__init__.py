"""Data sets: readers, synthetic images, the cache of decoded samples, splits, samplers and loaders."""
