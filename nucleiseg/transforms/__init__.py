"""Transform a reader's `Sample` into the image tensor and `Target` that the network takes."""
