"""The product's figures, measured: each `bench_*` module has `run()`, which prints one table."""
