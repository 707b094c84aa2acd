"""One self-contained HTML page from one run record: nothing is loaded from anywhere, everything is escaped."""
