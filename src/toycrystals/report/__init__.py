"""One HTML page of a project's results: files are collected, put into words, tables and charts, and joined by a template."""
