"""Figures as inline SVG, one idea a file, in the page's own colors and font.

Written here and not by matplotlib, whose SVG is five times as large: a page of hundred figures is to stay below 1.5 MB.
Read ``panel.py`` first. Imports the results' schema.
"""
