"""The files of a data set under names, whether they lie in a folder or in tar archives."""
