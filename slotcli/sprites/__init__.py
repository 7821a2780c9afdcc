"""Sprite clips: images with alpha that move over photographs, with labels."""
