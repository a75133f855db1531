"""What people look at: figures, templates, HTML pages rendered from stored data."""
