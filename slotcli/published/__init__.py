"""Weights under the authors' names brought to ours."""

from slotcli.published.importing import ImportReport, import_published
from slotcli.published.names import listed, published_names

__all__ = ["ImportReport", "import_published", "listed", "published_names"]
