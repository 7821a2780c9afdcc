"""First seeds of the rendered scenes that are kept for evaluation; training stays below them."""

# Seeds of rendered scenes, by use. Training stays below the first; TEST is never used for training
# or selection; the clips in samples/ are from SAMPLES.
VALIDATION_SEEDS = 1_000_000_000


TEST_SEEDS = 2_000_000_000


SAMPLE_SEEDS = 3_000_000_000
