"""Report on data and runs: data check, tables, charts, gallery and the HTML page."""
