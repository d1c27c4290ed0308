"""A page to listen to: one HTML file with players, curves and tables, which needs no network.

It knows recordings, parameter tables and grids of text, and nothing of what they were made for.
"""

from fxst.report.content import FigureTable, Page, ReportEntry, Track
from fxst.report.page import write_report
from fxst.report.recordings import InMemory, OnDisk, Recording, Survey

__all__ = ["FigureTable", "InMemory", "OnDisk", "Page", "Recording", "ReportEntry", "Survey", "Track", "write_report"]
