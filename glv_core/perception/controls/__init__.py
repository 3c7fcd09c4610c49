"""Control images: what is done before, after and without a network. Frames are ``t h w 3`` uint8 RGB."""
