"""Start, watch and stop a run: command line, driver, recovery, report."""
