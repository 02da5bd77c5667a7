"""What `data.name` may be, one data set or kind of source a file: facts as constants, and `open_source(config)`."""
