"""Write what was measured into README.md and docs/, from the JSON files in this folder: `python docs/benchmarks/tables.py`.

A table, or a sentence, stands between `<!-- table: NAME -->` and `<!-- end -->`, and NAME is a function of a module beside. With `--check`
nothing is written, and the exit status is 1 where a page says something else than its files.
"""

import re
import sys

from accuracy_tables import accuracies, beside_plain, cifar10, fine_tuning, initial_losses, sooner, taken_apart, tutorials_run
from cluster_tables import curve, faults, hosts, own_networks, predicted, same_run, soak
from gpu_tables import gpu_parts, gpu_rate, gpu_rates, on_a_gpu
from layer_tables import layers, linear, lrn, step
from paper_tables import ablations, columns_colour, depth, figure1, ten_views
from search_tables import search_best, search_first, search_hour, search_lossless
from speed_tables import augmenting, columns, loading, loading_ratios, measured, processors, small_batches, tutorial
from table_words import FOLDER

ROOT = FOLDER.parent.parent
PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
TABLES = {
    table.__name__: table
    for table in (
        *(cifar10, accuracies, tutorials_run, beside_plain, taken_apart, sooner, fine_tuning, initial_losses),
        *(ablations, depth, figure1, columns_colour, ten_views),
        *(search_first, search_lossless, search_hour, search_best),
        *(measured, processors, tutorial, columns, small_batches, loading, loading_ratios, augmenting),
        *(step, layers, linear, lrn, on_a_gpu, gpu_rate, gpu_rates, gpu_parts),
        *(hosts, curve, predicted, faults, soak, same_run, own_networks),
    )
}


def main() -> int:
    """Write the tables, or compare them with `--check`. Returns the exit status."""
    stale = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = page.read_text(encoding="utf-8")
        written = PLACE.sub(lambda place: f"{place[1]}\n{TABLES[place[2]]()}\n{place[3]}", text)
        if written != text:
            stale.append(page.name)
            if "--check" not in sys.argv:
                page.write_text(written, encoding="utf-8")
    if stale:
        print(f"{'stale' if '--check' in sys.argv else 'written'}: {', '.join(stale)}")
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
