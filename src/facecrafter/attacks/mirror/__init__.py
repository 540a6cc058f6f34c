"""MIRROR: attacks through a style-based generator (An et al., NDSS 2022)."""
