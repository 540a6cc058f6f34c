"""A whole comparison: from its configuration to stages, and the stages run."""
