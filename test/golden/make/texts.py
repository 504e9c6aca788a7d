"""Texts that tokenizers get wrong."""

from __future__ import annotations

import random

ODD = [
    "", " ", "  ", "   a", "a   ", "a    b", "\n", "\n\n\n", "\r\n\r\n", "\t\tx\t", " \n \n ", "a \n b", "x\u00a0y", "\u3000全角",
    "\u0085next line\u0085", "\ufeffBOM \ufeff inside", "\u200bzero\u200bwidth", "\u2028line\u2029paragraph", "a\x00b", "\x7f\x1b[0m",
    "1", "12", "123456789", "3.14159", "1,234,567.89", "$5 + $6 = $11", "½ cup, ¾ cup, x² + y³", "①②③ ⅣⅤ", "٠١٢٣٤٥", "१२३४", "一二三 123 四五六",
    "Hello, world!", "don't can't I'll we've they're it's I'm he'd", "DON'T CAN'T I'LL", "O'Neil's 'quoted' \"text\"", "don\u2019t curly",
    "😀", "😀😀😀", "👩‍👩‍👧‍👦 family", "🇩🇪🇫🇷", "👍🏽", "e\u0301 é", "ﬁ ligature", "Å Å", "Ω Ω", "naïve café", "straße STRASSE",
    "日本語のテキスト", "中文，標點。", "한국어 문장", "ไทยไม่มีช่องว่าง", "العربية", "עברית", "हिन्दी में", "Ελληνικά", "Русский текст",
    "<|im_start|>user\nHi<|im_end|>\n", "<|endoftext|>", " <|im_end|> ", "<|im_start|><|im_start|>", "<|im_end", "<repo_name>x<file_sep>",
    "def f(x):\n    return x**2\n", "    indented\n\tmixed\n  \tlines", "{\"a\": [1, 2, 3]}", "http://example.com/?q=1&r=2#x", "C:\\path\\to", "a_b-c.d/e",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "......!!!!!!????", "--------", "=====", "<<48/2=24>>24", "#### 72", "x" * 300,
    "A" + " " * 50 + "B", "word" * 40, "ab" * 130, "𝒳𝒴𝒵 𝟙𝟚𝟛", "\U0010ffff", "a\u0300\u0301\u0302b", "Ǆ ǅ ǆ", "ß'S ſ'ſ", "ı'LL İ",
    "__proto__ constructor toString", "\u180e mongolian", "tab\tsep 1\t2", "\x1c\x1d\x1e\x1f", "\u1680ogham\u2003em\u202fnarrow\u205f",
]

_PIECES = [
    " ", "  ", "\n", "\t", "a", "Zz", "the", "ing", "'s", "'LL", "7", "42", "2024", "½", "²", "é", "e\u0301", "ß", "中", "日本", "한", "😀", "👍🏽",
    "\u200d", "\ufeff", "\u0085", "\u00a0", "\u3000", ".", ",", "!?", "$", "##", "<|im_end|>", "<|", "|>", "_", "١", "\r\n", "\x00", "\u2028",
]


def mixtures(count: int) -> list[str]:
    rng = random.Random(7)
    return ["".join(rng.choice(_PIECES) for _ in range(rng.randint(1, 24))) for _ in range(count)]
