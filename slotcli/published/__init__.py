"""Imports the authors' weights under our names."""

from slotcli.published.importing import ImportReport, import_published
from slotcli.published.names import listed, published_names
from slotcli.published.recognise import recognised

__all__ = ["ImportReport", "import_published", "listed", "published_names", "recognised"]
