"""The parallel modes that `--parallel` names, one in each file; `Mode` in parallel/topology.py says what a file declares."""
