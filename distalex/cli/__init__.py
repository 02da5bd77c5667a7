"""The command line: from words and options to the work of one command."""
