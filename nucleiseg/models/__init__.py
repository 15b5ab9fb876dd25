"""The networks: ResNet backbones, region proposals, RoI heads, and how they are put together and stored."""
