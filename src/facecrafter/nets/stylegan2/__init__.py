"""StyleGAN2 (Karras et al., CVPR 2020)."""
