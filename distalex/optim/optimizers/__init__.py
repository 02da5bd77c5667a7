"""The optimizers that `optim.name` names, one in each file; `optim/optimizer.py` says what a file declares."""
