"""Where policies come from: made on the spot, pretrained, and warm-started."""
