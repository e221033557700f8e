"""The command line: parse, call a pipeline, show."""
