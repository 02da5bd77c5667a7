"""Results of benchmarks, made up."""


def measured(mode, repeat, batch, rate, sent=0):
    return {
        "parallel": mode,
        "repeat": repeat,
        "batch": batch,
        "images_per_second": rate,
        "comm_bytes": sent,
        "comm_exposed_fraction": 0.1,
        "data_wait_fraction": 0.01,
    }
