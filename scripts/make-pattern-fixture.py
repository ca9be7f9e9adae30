"""Writes test/fixtures/patterns.json: what Python's re.fullmatch says about many patterns and texts, and where it finds errors.

Usage: python3 scripts/make-pattern-fixture.py        (Python 3.11 to 3.13; the same version writes the same bytes)
"""

import json
import platform
import random
import re
import sys
import unicodedata
import warnings
from pathlib import Path

PATHS = [
    "model.layers.0.self_attn.q_proj",
    "model.layers.1.self_attn.v_proj",
    "model.layers.10.mlp.gate_proj",
    "model.layers.1.mlp.down_proj",
    "transformer.h.11.attn.c_attn",
    "lm_head",
    "model.embed_tokens",
    "",
]
PATH_PATTERNS = [
    r".*layers\.1\.(self_attn\.[ko]|mlp\.gate)_proj",
    r".*\.(q|v)_proj",
    r".*(q|k|v|o)_proj",
    r"model\.layers\.\d+\.self_attn\.[qkv]_proj",
    r"model\.layers\.(?:0|1)\..*",
    r"(?P<stem>model)\.layers\.(?P<index>[0-9]{1,2})\.mlp\.(?P<kind>gate|up|down)_proj",
    r"^model\..*$",
    r".*\.h\.[0-9]+\.attn\.c_attn",
    r"lm_head|.*embed_tokens",
    r"\Amodel\..*_proj\Z",
    r"model.layers.[0-1].*",
    r"(.*\.)?(q_proj)$",
    r"q_proj",
    r"[^.]+",
    r"\w+(\.\w+)*",
    r"",
    r".*",
    r"(?#all of them).*(?#really)",
]
TEXTS = ["", "a", "b", "y", "by", "ab", "ba", "aa", "aab", "abab", "aaaa", "bbbb", "a.b", "a1", "1", "_", "-", "a-b", "\n", "a\n", "a\nb", " ", "a b", "é", "٣", "\\", "]", "^", "{", "a{", "a{2", "a{,}", "{}", "\t", "\b", "😀", "a😀b"]
HAND = [
    "a", "ab", "a|b", "a|", "|a", "|", "a||b", "a*", "a+", "a?", "a*?", "a+?", "a??", "a{2}", "a{2,}", "a{,2}", "a{1,3}", "a{1,3}?", "a{,}", "a{0}", "a{0,0}",
    "a{", "a{2", "a{,", "a{}", "a{x}", "{", "{}", "}", "]", "a]", "(a)", "(?:a)", "()", "()*", "(?:)", "(?:)*", "(?:)+a", "(a*)*", "(a+)+", "(a|b)*", "(a|)*", "(|a)*", "(|a)+",
    "(?:|a)+b", "(?:a?){3}", "(?:a?){2,3}b", "(a*b*)*", "(a*)+b", "((a))", "((a)|b)+", "(?P<x>a)(?P<y>b)", "(?P<é>a)", "(?P<_1>a)", "^", "$", "^a$", "a^b", "a$b", "^^a$$", "(^a|b)*", "(?:^)*a", "(a$)*",
    "a$", "a$\n", "$\n", "\n$", "(?:a|\n)$\n?", "\\Aa", "a\\Z", "a\\Z\n", "\\ba\\b", "a\\Bb", "a\\b-\\bb", "\\B", "\\b", "a\\b\nb", "(\\b|a)*", "\\Ba",
    ".", "..", ".*", "a.b", "(?:.|\n)*", "\\.", "\\d", "\\D", "\\w", "\\W", "\\s", "\\S", "\\d+", "\\w+", "\\s+", "\\n", "\\t", "\\\\", "\\a", "\\f", "\\r", "\\v", "\\-", "\\]", "\\{", "\\é", "\\_", "\\ ",
    "\\x61", "\\u0061", "\\U00000061", "\\U0001f600", "\\0", "\\01", "\\061", "\\141", "\\1411", "[\\141]", "[\\61]", "[\\0]", "[\\x61-\\x62]", "[\\u0061b]",
    "[a]", "[ab]", "[a-b]", "[^a]", "[^ab]", "[]]", "[^]]", "[]a]", "[]-a]", "[a-]", "[-a]", "[a\\-b]", "[\\]]", "[\\\\]", "[\\b]", "[\\d]", "[\\da]", "[^\\d]", "[\\w.]", "[\\W]", "[\\s\\S]", "[^\\s\\S]", "[\\d\\D]*",
    "[.]", "[*+?{}()|$^]", "[a^]", "[^^]", "[(]", "[ -~]", "[\\t-\\r]", "[😀]", "[^😀]", "a😀b", "😀+", "[٠-٩]", "[a-bb-c]*", "[a-a]", "[a-zb-cm]+", "[^a-zb-c]", "\\\\+", "[\\d-]", "[\\w-]*",
    "a(?#note)*", "(?#note)a", "(?#)", "(a|ab)(c|bcd)?b?", "(?:ab|a)(?:b|)", "(?:a|b){2,4}", "((a|b){2}){2}", "(a{2}){2}", "(?:a{0,2}){2}", "a{3}b{0}", "(ab?)*?", "(?:a*?)*?b",
]
BAD = [
    "(", ")", "a)", "(a", "((a)", "(?:a", "(?P<x>a", "[", "[a", "[^", "[]", "[^]", "[a-", "[\\]", "*", "+", "?", "a|*", "(*a)", "^*", "$+", "\\b?", "\\A{2}", "a**", "a*{2}", "a{2}{3}", "a{2}*", "a???", "a*??",
    "{2}", "{1,2}a", "{,}", "a{3,2}", "a{10,1}", "[b-a]", "[\\d-z]", "[a-\\d]", "[\\w-\\d]", "\\", "a\\", "[a\\", "\\q", "\\e", "\\g", "\\z", "[\\q]", "[\\A]", "[\\Z]", "[\\B]", "[\\8]", "\\x", "\\x6", "\\xg1", "\\u006", "\\U0000006",
    "\\U00110000", "\\400", "\\777", "[\\400]", "(?", "(?<n>a)", "(?<n", "(?P", "(?P<", "(?P<>a)", "(?P<1>a)", "(?P<a-b>a)", "(?P<x>a)(?P<x>b)", "(?P!a)", "(?P>x)", "(?z)", "(?|a)", "(?&x)", "(?'n'a)", "(?#", "(?#a", "(?R)",
]
UNSUPPORTED = {
    "back-reference": ["(a)\\1", "(?P<x>a)(?P=x)", "(a)(b)\\2\\1"],
    "look-ahead": ["(?=a)a", "(?!b)a", "a(?=$)"],
    "look-behind": ["(?<=a)b", "a(?<!b)"],
    "inline flags": ["(?i)a", "(?s).", "(?x) a", "(?i:a)b", "(?-i:a)", "(?a:a)"],
    "atomic group": ["(?>a)b"],
    "possessive repeat": ["a*+", "a++b", "a?+", "a{1,2}+"],
    "conditional group": ["(a)?(?(1)b|c)"],
    "named character": ["\\N{LATIN SMALL LETTER A}", "[\\N{DIGIT ONE}]"],
}


def random_pattern(rng: random.Random, depth: int) -> str:
    atoms = ["a", "b", ".", "[ab]", "[^a]", "\\w", "\\.", "a", "b", "1", "^", "$", "\\b"]
    parts = []
    for _ in range(rng.randint(1, 3)):
        if depth > 0 and rng.random() < 0.45:
            options = [random_pattern(rng, depth - 1) for _ in range(rng.randint(1, 3))]
            if rng.random() < 0.15:
                options[rng.randrange(len(options))] = ""
            part = rng.choice(["(", "(?:"]) + "|".join(options) + ")"
        else:
            part = rng.choice(atoms)
        if part not in ("^", "$", "\\b") and rng.random() < 0.5:
            part += rng.choice(["*", "+", "?", "*?", "+?", "??", "{2}", "{1,2}", "{0,2}", "{,2}", "{1,}?"])
        parts.append(part)
    return "".join(parts)


def mutated(rng: random.Random, pattern: str) -> str:
    chars = list(pattern)
    for _ in range(rng.randint(1, 2)):
        where = rng.randrange(len(chars) + 1)
        if rng.random() < 0.5 and where < len(chars):
            del chars[where]
        else:
            chars.insert(where, rng.choice("()[]{}*+?|\\^$-,2ab"))
    return "".join(chars)


def verdicts(pattern: str, texts: list[str]) -> dict:
    compiled = re.compile(pattern)
    return {"pattern": pattern, "matches": [t for t in texts if compiled.fullmatch(t)], "misses": [t for t in texts if not compiled.fullmatch(t)]}


def error_of(pattern: str) -> dict | None:
    try:
        re.compile(pattern)
    except re.error as error:
        return {"pattern": pattern, "position": error.pos}
    return None


def class_ranges(pattern: str) -> list[list[int]]:
    """The code points of blocks that every later version of Unicode leaves as they are."""
    ranges: list[list[int]] = []
    for code in [*range(0x0, 0x530), *range(0x2000, 0x2070), *range(0x2100, 0x2190), *range(0x3000, 0x3100), *range(0xAC00, 0xAC80), *range(0xFE00, 0xFF00)]:
        if re.fullmatch(pattern, chr(code)):
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return ranges


def main() -> None:
    warnings.simplefilter("ignore")
    rng = random.Random(20)
    short = ["", "a", "b", "ab", "ba", "aa", "bb", "aab", "abb", "bab", "abab", "aabb", "bbaa", "aaaaa", "a.b", "1", "a1b", "a\n", "ab.", "_a"]
    good, errors = [], []
    good += [verdicts(p, PATHS) for p in PATH_PATTERNS] + [verdicts(p, TEXTS) for p in HAND]
    seen = {case["pattern"] for case in good}
    while len(good) < 560:
        pattern = random_pattern(rng, 2)
        if len(pattern) <= 48 and pattern not in seen and error_of(pattern) is None:
            seen.add(pattern)
            good.append(verdicts(pattern, short))
    for pattern in BAD:
        error = error_of(pattern)
        assert error is not None, pattern
        errors.append(error)
    constructs = re.compile(r"\(\?[^:#]|[*+?}]\+|\\[0-9Nux]")
    while len(errors) < 260 or len(good) < 760:
        pattern = mutated(rng, random_pattern(rng, 1))
        if len(pattern) > 40 or pattern in seen or constructs.search(pattern):
            continue
        seen.add(pattern)
        error = error_of(pattern)
        if error is None and len(good) < 760:
            good.append(verdicts(pattern, short))
        elif error is not None and len(errors) < 260:
            errors.append(error)
    for pattern in sum(UNSUPPORTED.values(), []):
        re.compile(pattern)
    fixture = {
        "python": platform.python_version(),
        "unicode": unicodedata.unidata_version,
        "patterns": good,
        "errors": errors,
        "unsupported": UNSUPPORTED,
        "classes": {pattern: class_ranges(pattern) for pattern in ["\\d", "\\D", "\\w", "\\W", "\\s", "\\S", "."]},
    }
    target = Path(__file__).resolve().parent.parent / "test" / "fixtures" / "patterns.json"
    lines = [f"{json.dumps(key)}: {rows(value)}" for key, value in fixture.items()]
    target.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="ascii")
    print(f"{target.name}: {len(good)} patterns, {len(errors)} errors", file=sys.stderr)


def rows(value: object) -> str:
    """JSON with one line for each element of a list."""
    if isinstance(value, list):
        return "[\n" + ",\n".join(json.dumps(item) for item in value) + "\n]"
    return json.dumps(value)


if __name__ == "__main__":
    main()
