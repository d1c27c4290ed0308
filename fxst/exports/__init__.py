"""Tables as what other programs read: one file a format, and `formats.py`, which knows them all."""

from fxst.exports.formats import ALL, FORMATS, ExportFile, export_files, staged

__all__ = ["ALL", "FORMATS", "ExportFile", "export_files", "staged"]
