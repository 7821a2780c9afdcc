"""Objects, mask tracks and slot vectors from videos nobody annotated."""

__version__ = "0.1.0"
