"""Kernels, arrays in and arrays out, for operations that PyTorch is slow at: Numba on a CPU, Triton on a GPU."""
