from mutants import Mutant

FILE = "triton_mask_argmax.py"
TESTS = "test_mask_argmax.py::"

MUTANTS = [
    Mutant(
        bug="mask_argmax: corners are aligned",
        file=FILE,
        old="* ratio - 0.5, 0.0)",
        new="* ratio, 0.0)",
        test=TESTS + "test_it_agrees_with_interpolation",
    ),
    Mutant(
        bug="mask_argmax: the weights of the columns are swapped",
        file=FILE,
        old="top_right, inside, 0.0).to(tl.float32) * fx",
        new="top_right, inside, 0.0).to(tl.float32) * (1.0 - fx)",
        test=TESTS + "test_it_agrees_with_interpolation",
    ),
    Mutant(
        bug="mask_argmax: nothing holds the second row inside the grid",
        file=FILE,
        old="return low, tl.minimum(low + 1, length - 1), centre",
        new="return low, low + 1, centre",
        test=TESTS + "test_it_agrees_with_interpolation",
    ),
    Mutant(
        bug="mask_argmax: the last of equals wins",
        file=FILE,
        old="better = share > best",
        new="better = share >= best",
        test=TESTS + "test_a_tie_goes_to_the_first_slot",
    ),
]
