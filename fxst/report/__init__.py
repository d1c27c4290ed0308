"""Report pages: one HTML file with players, charts and tables that works offline.

The package knows recordings, parameter tables and text tables, and nothing of the commands that use it.
"""

from fxst.report.content import FigureTable, Page, ReportEntry, Track
from fxst.report.page import write_report
from fxst.report.recordings import InMemory, OnDisk, Recording, Survey

__all__ = ["FigureTable", "InMemory", "OnDisk", "Page", "Recording", "ReportEntry", "Survey", "Track", "write_report"]
