"""Plans of runs: what a run would do, how long it would take, and whether it fits."""
