"""Results of benchmarks, made up, and how a benchmark refuses."""

from distalex.cli.main import main


def assert_refused(words, says, capsys):
    """`bench WORDS` ends with status 2 and one line on stderr that has `says`."""
    assert main(["bench", *words]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1, error


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
