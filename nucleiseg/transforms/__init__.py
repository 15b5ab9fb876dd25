"""From a reader's `Sample` to the image tensor and `Target` that the network takes."""
