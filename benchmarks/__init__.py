"""Side by side with others, in one run: `python -m benchmarks.all`; or preference, preparation, overhead."""
