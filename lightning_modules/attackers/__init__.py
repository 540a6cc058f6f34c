"""What attackers train: priors, decoders, and what reads features without an image."""
