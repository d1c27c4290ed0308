"""Parameter tables for other programs: one file a format, and `formats.py`, which lists them."""

from fxst.exports.formats import ALL, FORMATS, ExportFile, export_files, staged

__all__ = ["ALL", "FORMATS", "ExportFile", "export_files", "staged"]
