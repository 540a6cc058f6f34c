"""Engines that carry out a study's stages, all behind `base.Executor`."""
