"""The networks: ResNet trunks, region proposals, RoI heads, and how they are put together and stored."""
