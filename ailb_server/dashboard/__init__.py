"""The dashboard: a page of plain files, served as they are."""
