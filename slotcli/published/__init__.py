"""Imports the authors' weights under our names."""

from slotcli.published.importing import ImportReport, import_published
from slotcli.published.names import first_names, published_names
from slotcli.published.recognise import recognised

__all__ = ["ImportReport", "first_names", "import_published", "published_names", "recognised"]
