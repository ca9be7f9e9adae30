"""Writes test/fixtures/text/components.json: what the tokenizers library (Rust) makes of nasty texts, component by component.

Usage: python3 -m venv /tmp/venv && /tmp/venv/bin/pip install tokenizers==0.23.3 && /tmp/venv/bin/python scripts/make-tokenizer-fixture.py
The same version writes the same bytes.

The file holds two small models (byte-pair encoding and unigram, trained on the texts themselves, so that their tokens cross every border
that a component fails to set), and cases: a component, or several, with the ids and places (code points) for each text.
"""

import json
import math
import platform
from collections import Counter
from pathlib import Path

import tokenizers
from tokenizers import Tokenizer, decoders, models, trainers

TEXTS = [
    "",
    " ",
    "a",
    "  two  spaces ",
    "\ttab\n\nline\r\nend \n",
    "\u00a0no\u2003break\u3000wide\u0085\u2028x\ufeffy",
    "e\u0301le\u0300ve d\u0323\u0307 d\u0307\u0323 \u0301",
    "a\u0315\u0300\u05ae\u0062 \u00e5\u212b\u00c5A\u030a",
    "\ufb01ne \u00bd\u00b2 \u2460 \uff21\uff11 \u2126 \u3392\ufdfa",
    "\u1100\u1161\u11a8\uac00\u11a8 \ud55c\uad6d\uc5b4",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u3053\u3093\u306b\u3061\u306f\u30ab\u30ca",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f44d\U0001f3fd \U0001f1e9\U0001f1ea\u2764\ufe0f",
    "\u0645\u0631\u062d\u0628\u0627 \u200f\u05e9\u05dc\u05d5\u05dd\u061f \u0661\u0662\u0663",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \u0928\u092e\u0938\u094d\u0924\u0947 \u0958",
    "12 345 6789 1234567 3.14 1,000",
    "a1b22c333 \u00b2\u2167\u0663\u2460",
    "It's we'LL I'd don't 'tis 'S \u2019s'\u017f",
    "!!! (a) [b] {c} $5 <d> ~x^y `z` |",
    "\u00bfque\u0301? \u00abno\u00bb \u2014 \u2026 \u061d\u2e43\u166d",
    "#tag @me a_b a-b http://x.y/z?q=1&r=\\",
    "CamelCase HTTPServer \u01c5 \u00c9TE \u00df",
    "\u2581under \u2581\u2581two\u2581 ",
    "\u32ff\ua7f2 \U0001fbf1 a\U00010f46\u0301",
    "\u0000\u0001\u001f\u007f\u009f\U0010ffff\u0378",
    "aaaaaaaaaaaaaaaaaaaaaaaa",
    "\u0344\u0958\u2adc \U0001d15e \U0002f800",
]
DEEPSEEK = [
    r"\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""",
]
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
SLASH = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SHORT = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
PATTERNS = {
    "GPT-2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "r50k": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "Llama 3": SHORT + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + TAIL,
    "Qwen 2": SHORT + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + TAIL,
    "o200k": rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{SHORT}?|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{SHORT}?|\p{{N}}{{1,3}}" + SLASH,
    "Tekken": rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*|\p{{N}}" + SLASH,
}


def split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def sequence(name, *parts):
    return {"type": "Sequence", name: list(parts)}


def byte_level(add_prefix_space=False, use_regex=True):
    return {"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": True, "use_regex": use_regex}


def metaspace(scheme="always", splits=True):
    return {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": splits}


def punctuation(behavior):
    return {"type": "Punctuation", "behavior": behavior}


BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
PREPEND = {"type": "Prepend", "prepend": "\u2581"}


def replace(old, new):
    return {"type": "Replace", "pattern": {"String": old}, "content": new}


NORMALIZERS = {
    **{form: {"type": form} for form in ["NFC", "NFD", "NFKC", "NFKD"]},
    "Prepend": PREPEND,
    "Replace a space": replace(" ", "\u2581"),
    "Replace by more": replace("a", "<\u4f60>"),
    "Replace by nothing": replace(" ", ""),
    "Replace several": replace("  ", "\U0001f44d"),
    "Prepend, Replace": sequence("normalizers", PREPEND, replace(" ", "\u2581")),
    "NFD, Replace": sequence("normalizers", {"type": "NFD"}, replace("\u0301", ""), {"type": "NFC"}),
}
PRE_TOKENIZERS = {
    "ByteLevel": byte_level(),
    "ByteLevel with prefix": byte_level(add_prefix_space=True),
    "ByteLevel without pattern": byte_level(add_prefix_space=True, use_regex=False),
    **{f"Metaspace {scheme}": metaspace(scheme) for scheme in ["always", "first", "never"]},
    "Metaspace in one": metaspace(splits=False),
    **{f"Split {b}{' inverted' if i else ''}": split({"String": " "}, b, i) for b in BEHAVIORS for i in [False, True]},
    **{f"Split pattern {b}{' inverted' if i else ''}": split({"Regex": r"\p{N}{1,3}"}, b, i) for b in BEHAVIORS for i in [False, True]},
    "Split overlapping": split({"String": "aa"}, "MergedWithPrevious"),
    "Digits": {"type": "Digits", "individual_digits": False},
    "Digits one by one": {"type": "Digits", "individual_digits": True},
    **{f"Punctuation {b}": punctuation(b) for b in BEHAVIORS},
    "WhitespaceSplit": {"type": "WhitespaceSplit"},
    "Sequence": sequence("pretokenizers", {"type": "WhitespaceSplit"}, punctuation("Isolated"), {"type": "Digits", "individual_digits": False}),
    "StarCoder": sequence("pretokenizers", {"type": "Digits", "individual_digits": True}, byte_level()),
    "Falcon": sequence("pretokenizers", punctuation("Contiguous"), byte_level(), {"type": "Digits", "individual_digits": False}, split({"Regex": "[0-9][0-9][0-9]"})),
    "DeepSeek V3": sequence("pretokenizers", *[split({"Regex": p}) for p in DEEPSEEK], byte_level(use_regex=False)),
    **{name: split({"Regex": pattern}) for name, pattern in PATTERNS.items()},
}
SPECIAL = {"<s>": 1, "</s>": 2}


def piece(name):
    return {"Sequence": {"id": "A", "type_id": 0}} if name == "A" else {"SpecialToken": {"id": name, "type_id": 0}}


def template(*names):
    special = {name: {"id": name, "ids": [SPECIAL[name]], "tokens": [name]} for name in sorted(set(names) - {"A"})}
    return {"type": "TemplateProcessing", "single": [piece(n) for n in names], "pair": [piece("A"), {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": special}


BERT = {"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1]}
POST_PROCESSORS = {
    "TemplateProcessing": template("<s>", "A", "</s>", "</s>"),
    "BertProcessing": BERT,
    "RobertaProcessing": {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1], "trim_offsets": False, "add_prefix_space": False},
    "ByteLevel": byte_level() | {"trim_offsets": False},
    "Sequence": sequence("processors", byte_level() | {"trim_offsets": False}, template("<s>", "A")),
}
BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]
DECODERS = {
    "ByteLevel": byte_level(),
    "ByteFallback": {"type": "ByteFallback"},
    "Fuse": {"type": "Fuse"},
    "Replace": replace("\u2581", " "),
    "Strip": {"type": "Strip", "content": " ", "start": 2, "stop": 0},
    "Strip at both ends": {"type": "Strip", "content": " ", "start": 1, "stop": 2},
    **{f"Metaspace {scheme}": metaspace(scheme) for scheme in ["always", "first", "never"]},
    "Llama 2": sequence("decoders", replace("\u2581", " "), {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}),
}
TOKEN_LISTS = [
    [],
    ["\u2581Hello", "\u2581", "\u2581wor", "ld", "\u2581\u2581x\u2581"],
    ["<0xF0>", "<0x9F>", "<0x91>", "<0x8D>", "a", "<0xC3>", "<0xA9>", "b"],
    ["<0xC3>", "x", "<0xFF>", "<0xC3>", "<0xA9>", "<0x41>"],
    ["<0xEF>", "<0xBB>", "<0xBF>", "<0x41>", "<0xE4>"],
    ["<0xc3>", "<0xA9", "<0x+1>", "<0xG0>", "<0x0a>"],
    ["\u0120a", "\u010ab", "\u00f0\u0141", "\u0133", "\u00e9", "\u4f60", "\u0120\u4f60", "\u00c3", "\u00a9"],
    ["  a  ", " ", "   ", " b", "c   ", ""],
    ["  a  ", "   b   ", "xyz", " yz", "xy  "],
    ["\u00c3", "\u00c3\u00a9", "\u00ff", "a"],
]


def bpe():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=["<unk>", "<s>", "</s>"] + BYTE_TOKENS, show_progress=False)
    changed = [Tokenizer.from_str(tokenizer_json(empty(), normalizer=n)).normalizer.normalize_str(t) for n in [NORMALIZERS["Prepend, Replace"], NORMALIZERS["NFKD"]] for t in TEXTS]
    mapped = ["".join(word for word, _ in Tokenizer.from_str(tokenizer_json(empty(), pre_tokenizer=byte_level())).pre_tokenizer.pre_tokenize_str(t)) for t in TEXTS]
    # Characters that stand only once have no token: they show what becomes of unknown ones.
    tokenizer.train_from_iterator([t for t in TEXTS + changed + mapped for _ in range(2)], trainer)
    return json.loads(tokenizer.to_str())["model"]


def unigram():
    """Frequent pieces of the texts with the logarithm of their share; a trainer would not give the same ones twice. Some tie."""
    counts = Counter()
    for text in TEXTS[3:22]:
        spaced = text.replace(" ", "\u2581")
        counts.update(spaced[i:j] for i in range(len(spaced)) for j in range(i + 1, min(len(spaced), i + 7) + 1))
    # Of characters from Hiragana on the model shall know nothing.
    known = [(piece, count) for piece, count in counts.items() if not any(ord(c) > 0x2fff for c in piece) and (count > 1 or len(piece) < 3)]
    known.sort(key=lambda item: (-item[1] * len(item[0]), item[0]))
    total = sum(count for _, count in known)
    return {"type": "Unigram", "unk_id": 0, "byte_fallback": False, "vocab": [[name, 0.0] for name in ["<unk>", *SPECIAL]] + [[p, round(math.log(c / total), 3)] for p, c in known[:300]]}


def empty():
    return {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": {"a": 0}, "merges": []}


def tokenizer_json(model, **parts):
    fields = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None}
    return json.dumps({**fields, **parts, "model": model})


def encoded(model, **parts):
    tokenizer = Tokenizer.from_str(tokenizer_json(model, **parts))
    encodings = [tokenizer.encode(text) for text in TEXTS]
    return [[e.ids, [start for start, _ in e.offsets], [end for _, end in e.offsets]] for e in encodings]


def decoded(decoder):
    made = Tokenizer.from_str(tokenizer_json(empty(), decoder=decoder)).decoder
    return [decode_or_none(made, list(tokens)) for tokens in TOKEN_LISTS]


def decode_or_none(decoder, tokens):
    """Strip makes the library panic where a token is shorter than what may be cut off."""
    try:
        return decoder.decode(tokens)
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        return None


def main():
    byte_pair, pieces = bpe(), unigram()
    flags = {
        "BPE": {}, "BPE with byte fallback": {"byte_fallback": True}, "BPE that fuses unknown characters": {"fuse_unk": True},
        "BPE without an own token for unknown ones": {"byte_fallback": True, "unk_token": None}, "BPE that keeps whole words": {"ignore_merges": True},
    }
    variants = {name: ("BPE", change) for name, change in flags.items()} | {"Unigram": ("Unigram", {})}
    unigram_bytes = pieces | {"vocab": pieces["vocab"] + [[token, -20.0] for token in BYTE_TOKENS]}
    made = {"BPE": byte_pair, "Unigram": unigram_bytes}
    variants["Unigram with byte fallback"] = ("Unigram", {"byte_fallback": True})
    cases = [
        {"name": name, "model": model, "change": change, "parts": {}, "texts": encoded(made[model] | change)}
        for name, (model, change) in variants.items()
    ]
    for key, components in [("normalizer", NORMALIZERS), ("pre_tokenizer", PRE_TOKENIZERS), ("post_processor", POST_PROCESSORS)]:
        for name, component in components.items():
            cases.append({"name": f"{key} {name}", "model": "BPE", "change": {}, "parts": {key: component}, "texts": encoded(byte_pair, **{key: component})})
    for name, parts in {
        "T5": {"pre_tokenizer": metaspace("always")},
        "Llama 2": {"normalizer": NORMALIZERS["Prepend, Replace"]},
        "NFKC and Metaspace": {"normalizer": {"type": "NFKC"}, "pre_tokenizer": metaspace("first")},
    }.items():
        for model in made:
            change = {"byte_fallback": True}
            cases.append({"name": f"{name} with {model}", "model": model, "change": change, "parts": parts, "texts": encoded(made[model] | change, **parts)})
    fixture = {
        "versions": {"tokenizers": tokenizers.__version__, "python": platform.python_version()},
        "texts": TEXTS,
        "models": made,
        "cases": cases,
        "tokenLists": TOKEN_LISTS,
        "decoders": [{"name": name, "decoder": decoder, "texts": decoded(decoder)} for name, decoder in DECODERS.items()],
    }
    path = Path(__file__).parent.parent / "test/fixtures/text/components.json"
    rows = json.dumps(fixture, ensure_ascii=True, separators=(",", ":")).replace('{"name"', '\n{"name"')
    path.write_text(rows + "\n")
    print(f"{path}: {len(cases)} cases, {len(DECODERS)} decoders, {path.stat().st_size} bytes")


main()
