"""What is trained and shipped: the network, how it says "none of them", its calibration, its run on disk, its export."""
