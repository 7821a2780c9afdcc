"""Sprite clips: pictures with alpha that move over photographs, with labels."""
