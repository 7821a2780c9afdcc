from mutants import Mutant

FILE = "triton_nearest_code.py"
TESTS = "test_nearest_code.py::"

MUTANTS = [
    Mutant(
        bug="nearest_code: the last of equals wins",
        file=FILE,
        old="better = score < best",
        new="better = score <= best",
        test=TESTS + "test_ties_go_to_the_first_code",
    ),
    Mutant(
        bug="nearest_code: the norm of a code is not halved",
        file=FILE,
        old="norm * 0.5",
        new="norm * 1.0",
        test=TESTS + "test_it_agrees_with_brute_force",
    ),
    Mutant(
        bug="nearest_code: codes beyond the last one count",
        file=FILE,
        old='tl.where(known, norm * 0.5, float("inf"))',
        new="norm * 0.5",
        test=TESTS + "test_codes_that_are_not_there_never_win",
    ),
    Mutant(
        bug="nearest_code: a code's channels are as far apart as a row's",
        file=FILE,
        old="e1 = tl.load(e + codes_channel",
        new="e1 = tl.load(e + latents_channel",
        test=TESTS + "test_it_agrees_with_brute_force",
    ),
]
