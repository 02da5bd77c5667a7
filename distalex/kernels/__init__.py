"""Arrays in, arrays out: the operations that PyTorch is slow at, for Numba and for Triton."""
