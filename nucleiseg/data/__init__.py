"""From files, or drawings, to batches: readers, the cache of decoded samples, splits, samplers and loaders."""
