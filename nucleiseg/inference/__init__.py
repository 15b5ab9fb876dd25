"""From a network to predictions in source-image pixels: box-local masks, inputs, the predictor."""
