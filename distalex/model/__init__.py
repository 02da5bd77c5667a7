"""Networks and their layers, for one process: how processes divide them is in `parallel`."""
