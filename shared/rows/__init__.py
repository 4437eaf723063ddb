"""Rows of tables: single rows, pages of rows, and their sizes."""
