"""Objects, mask tracks and slot vectors from unannotated videos."""

__version__ = "0.1.0"
