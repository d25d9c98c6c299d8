"""Makes the handbook that ships: PDFs with text, tables, charts and a scan, and questions about them."""
