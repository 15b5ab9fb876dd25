"""The layers on pooled RoIs compute what torchvision's do."""

import pytest
import torch
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor

from nucleiseg.models.heads import MaskPredictor


@pytest.mark.parametrize("count", [3, 0])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_mask_predictor_is_a_deconvolution_and_a_convolution(count: int, layout: torch.memory_format) -> None:
    predictor = MaskPredictor(6, 5, num_classes=2).double().to(memory_format=layout)
    torch.nn.init.normal_(predictor.conv5_mask.bias)
    features = torch.randn(count, 6, 7, 4, dtype=torch.float64).to(memory_format=layout).requires_grad_()
    found, expected = predictor(features), MaskRCNNPredictor.forward(predictor, features)
    assert found.shape == (count, 2, 14, 8)
    torch.testing.assert_close(found, expected)
    inputs, direction = [features, *predictor.parameters()], torch.randn_like(expected)
    gradients = zip(
        torch.autograd.grad(found, inputs, direction), torch.autograd.grad(expected, inputs, direction), strict=True
    )
    for gradient, wanted in gradients:
        torch.testing.assert_close(gradient, wanted)
