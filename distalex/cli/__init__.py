"""The command line: words and options in, one verb's work out."""
