"""Docstrings and comments use the field's terms: old tics of this house must not come back."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "slotcli"
_COUNTED = "bit|figure|frame|image|line|metre|number|panel|pixel|radian|round|second|step|tick"
_PER = "channel|clip|frame|lane|level|nanosecond|pixel|position|row|second|side|slot|step|tick"
# A regular expression, and the terms to use instead.
STANDARD_TERMS = {
    r"\bwhat (rests|moves)\b|\bat rest\b": "static background, moving foreground",
    r"\bclean signal": "x0 prediction",
    r"\bnudge|\bhints? at\b": "auxiliary loss, pseudo-label",
    r"\bpictures?\b": "image, frame",
    r"\b(a|the|its|slot's|slots'|mean|mixture's) shares?\b|\bshares? of\b": (
        "mask, mixture probability, fraction"
    ),
    r"(?<!in )(?<!in-)\bplaces?\b": "position, pixel, index, path",
    r"(?<!hand-)\bdrawn\b|\bdrew\b": "sampled, rendered, decoded, plotted",
    r"\bstretch(es)?\b": "segment, split",
    r"\bso many(eth)?\b|\bso manieth\b": "the parameter's name; every N-th",
    r"\b(goes|go|gone|went) on\b|\bcarried on\b|\btaken up\b": "continues, resumes, carried over",
    r"\b(is|are|was|were) (told|said)\b": "reported, logged, given",
    r"\b(be|is) had\b": "available",
    r"\btakes? no notice\b|\bnot asked\b": "ignores",
    r"\bif need be\b": "if missing",
    r"\bto the (same |last )?bits?\b": "bitwise identical",
    rf"\b({_COUNTED})s an? ({_PER})\b": "per",
    r"(?-i:^(In what|Of what|What|Which|How)\b)": "a noun, or a verb in the third person",
    r"\bunderstand nothing\b": "trivial baselines",
    r"\bsnap(s|ped)?\b": "quantise",
    r"\banew\b": "again",
    r"\bside by side\b": "in one batch, joined",
    r"\blaid out\b": "broadcast",
    r"\bmoved to the \w+s?'s? side\b": "absorbed into",
    r"\bnever formed\b|\bnobody forms\b": "never materialised",
    r"\b(looked|looks|look|looking) into\b": "opened, listed",
    r"\bat (hand|work on)\b": "current, in use",
    r"\bforetells?\b|\btells? of\b": "determines, shows",
    r"\bstands? (beside|in|where|there|for|side)\b": "is in, is beside",
    r"\bnobody\b": "the passive, or the reason",
    r"\bthe very\b": "the same",
    r"\bpass(ed|es) over\b": "skipped",
    r"\bevaluations of the (network|denoiser)\b": "function evaluations",
}


def _prose(source: str) -> Iterator[tuple[int, str]]:
    """Line number and text of every comment and docstring, without code in backticks.

    Docstrings of commands are their help pages; the help of options is not read here.
    """
    texts = [
        (token.start[0], token.string.lstrip("# "))
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    ]
    texts += [
        (node.lineno, node.value.value)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]
    for line, text in texts:
        yield line, re.sub("`[^`]*`", "``", " ".join(text.split()))


def _tics(text: str) -> list[str]:
    return [
        f"{match[0]!r}: use {terms}"
        for pattern, terms in STANDARD_TERMS.items()
        if (match := re.search(pattern, text, re.IGNORECASE))
    ]


def test_a_tic_is_found_outside_of_code() -> None:
    source = '"""Draws `pictures`."""\nrate = 1  # frames a second, drawn anew\n'
    found = [(line, len(_tics(text))) for line, text in _prose(source)]
    assert found == [(2, 3), (1, 0)]


def test_docstrings_and_comments_use_standard_terms() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 300
    found = [
        f"{path.relative_to(PACKAGE.parent)}:{line}: {tic}"
        for path in files
        for line, text in _prose(path.read_text(encoding="utf-8"))
        for tic in _tics(text)
    ]
    assert not found, "\n".join(found)
