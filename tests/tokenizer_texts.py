"""Texts that tokenizers disagree on: a list of known ones, and a generator of more."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Sequence
from typing import Final

SPACES: Final = (
    " \t\n\r\v\f\x1c\x1d\x1e\x1f\x85\xa0\u1680\u180e\u2000\u2003\u2007\u2009\u200a\u200b\u2028\u2029"
    "\u202f\u205f\u2060\u3000\ufeff"
)
CONTRACTIONS: Final = (
    *(
        "'s",
        "'S",
        "'\u017f",
        "'t",
        "'T",
        "'re",
        "'RE",
        "'Re",
        "'ve",
        "'Ve",
        "'m",
        "'ll",
        "'LL",
        "'lL",
    ),
    *("'d", "'D", "\u2019s", "'\u212a", "n't", "N'T", "'", "''", "'s's", " 's", "'x", "\u02bcs"),
)
CLUSTERS: Final = (
    *(
        "👩‍👩‍👧‍👦",
        "👍🏽",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "🇩🇪🇫🇷",
        "❤️",
        "☎\ufe0e",
        "1️⃣",
    ),
    *(
        "क्षि",
        "श्रीमान्",
        "ন্ত্র",
        "நொ",
        "స్త్రీ",
        "ന്‍",
        "เกี๊ยว",
        "ก็ำ",
        "ປີ້",
        "བོད་ཡིག",
        "မြန်မာ",
        "ភាសាខ្មែរ",
        "ර්‍ය",
    ),
    *(
        "각",
        "\u1100\u1161\u11a8",
        "ᄀ각",
        "한국어",
        "ㅎㅏㄴ",
        "ｶﾞ",
        "か\u3099",
        "が",
        "㍿",
        "㈱",
        "ﷺ",
        "ﬃ",
        "Ǆ",
        "ŉ",
        "ΐ",
    ),
    *(
        "e\u0301",
        "é",
        "a\u0323\u0307",
        "a\u0307\u0323",
        "\u1e9b\u0323",
        "Å",
        "\u212b",
        "A\u030a",
        "ẞ",
        "İ",
        "i\u0307",
        "ı",
    ),
    *(
        "ς",
        "Σίσυφος",
        "ΟΔΟΣ",
        "ǅ",
        "\u0345",
        "ᾳ",
        "Ω",
        "\u2126",
        "µ",
        "½",
        "①",
        "²",
        "Ⅷ",
        "\U0001d54f",
        "𝟘𝟡",
        "\u0130\u0307",
    ),
    *(
        "العربية",
        "لا",
        "בְּרֵאשִׁית",
        "\u202eabc\u202c",
        "\u2066x\u2069",
        "中文",
        "\u3400",
        "\U00020000",
        "\ufa0e",
        "\U0002f800",
        "々〆",
    ),
    *(
        "\0",
        "\x01",
        "\x7f",
        "\x80",
        "\x9f",
        "\xad",
        "\ufffd",
        "\uffff",
        "\ufdd0",
        "\U0010ffff",
        "\ue000",
        "\U000e0100",
        "\u034f",
    ),
)
MARKS: Final = (
    *(
        "->",
        "!=",
        "...",
        "!!!",
        "?!",
        "//",
        "/*",
        "*/",
        "'''",
        '"',
        "``",
        "$",
        "^",
        "~",
        "|",
        "<",
        ">",
        "<<",
    ),
    *(
        "a_b",
        "__x__",
        "#x",
        "##",
        "▁",
        "▁▁",
        "Ġ",
        "Ċ",
        "</w>",
        "http://a.b/c?d=e#f",
        "a@b.cd",
        "\\n",
        "{}",
        "[]",
    ),
    *(
        "e.g.",
        "1,000.50",
        "2024-01-31",
        "3.14e-10",
        "0x1F",
        "€5",
        "№1",
        "—",
        "–",
        "…",
        "«»",
        "“”",
        "、",
        "。",
        "！",
    ),
)
ZEROS: Final = "0٠۰߀०০੦૦୦௦౦೦൦๐໐༠၀០᠐\uff10\U0001d7d8\U0001fbf0"
BLOCKS: Final = (
    *((0x20, 0x7E), (0x20, 0x7E), (0, 0x1F), (0x80, 0xFF), (0x100, 0x24F), (0x250, 0x2FF)),
    *(
        (0x300, 0x36F),
        (0x370, 0x3FF),
        (0x400, 0x52F),
        (0x530, 0x58F),
        (0x590, 0x5FF),
        (0x600, 0x6FF),
    ),
    *(
        (0x700, 0x8FF),
        (0x900, 0x97F),
        (0x980, 0xDFF),
        (0xE00, 0xEFF),
        (0xF00, 0xFFF),
        (0x1000, 0x109F),
    ),
    *((0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x139F), (0x13A0, 0x16FF), (0x1700, 0x18AF)),
    *((0x18B0, 0x1CFF), (0x1D00, 0x1DFF), (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x20FF)),
    *((0x2100, 0x218F), (0x2190, 0x23FF), (0x2400, 0x2BFF), (0x2C00, 0x2DFF), (0x2E00, 0x2FFF)),
    *((0x3000, 0x303F), (0x3040, 0x30FF), (0x3100, 0x33FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF)),
    *((0xA000, 0xABFF), (0xAC00, 0xD7FF), (0xE000, 0xF8FF), (0xF900, 0xFAFF), (0xFB00, 0xFDFF)),
    *(
        (0xFE00, 0xFEFF),
        (0xFF00, 0xFFFF),
        (0x10000, 0x107FF),
        (0x10800, 0x10FFF),
        (0x11000, 0x11FFF),
    ),
    *((0x12000, 0x16FFF), (0x17000, 0x1BFFF), (0x1D000, 0x1D7FF), (0x1D800, 0x1EFFF)),
    *(
        (0x1F000, 0x1FAFF),
        (0x1F1E6, 0x1F1FF),
        (0x20000, 0x3FFFF),
        (0xE0000, 0xE01EF),
        (0xF0000, 0x10FFFF),
    ),
)

NASTY: Final = (
    *("", " ", "  ", "\t\r\n\v\f", "\r\n", "\n\n\n", " \n ", "\0", "a\0b\x01\x7f\x85", "x" * 101 + " " + "y" * 100),
    *("[CLS] [SEP] [PAD] [MASK] [UNK]", "[MASK][MASK]x[MASK]", "[ MASK ] [mask]", "##ing ##", "<s></s><pad><unk>"),
    *("<|endoftext|>", " <|endoftext|> ", "<|im_start|>user\n", "<0x0A>", "<bos><eos>", "▁▁ ▁a", "Hello▁world"),
    *("!?" * 300, "a" * 5000, " " * 300, "\n" * 100 + "x", "ab" * 200, "中" * 100, "é" * 150, "🎉" * 50, "9" * 50),
    *("\u2028line\u2029paragraph\u3000wide", "\u200b\u200c\u200d\ufeff\u2060\u00ad", "नमस्ते สวัสดี مرحبا שלום"),
    *("I'm you're WE'VE he'll SHE'D it\u2019s 'tis", "1234567 12 345,678.90 ١٢٣٤ १२३", "camelCase snake_case HTTPServer"),
    *("def f(x):\n    return x  # ok\n\n\tif y:\r\n", "trailing ", " leading", "a  b   c    d", "tab\tsep\t\tx"),
    *CLUSTERS,
    *CONTRACTIONS,
    *MARKS,
)  # fmt: skip


class Texts:
    """Makes short texts of corpora, added tokens, vocabulary and the odd corners of Unicode."""

    def __init__(
        self, rng: random.Random, corpus: Sequence[str], tokens: Sequence[str] = ()
    ) -> None:
        """Take a source of chance, lines of prose, and tokens to spell out."""
        self._rng = rng
        self._corpus = corpus or NASTY
        self._tokens = tokens or MARKS
        self._kept = list(NASTY)
        self._atoms: list[tuple[int, Callable[[], str]]] = [
            (30, self._snippet),
            (14, self._token),
            (10, self._characters),
            (8, self._spaces),
            (6, lambda: rng.choice(CONTRACTIONS)),
            (8, lambda: rng.choice(CLUSTERS)),
            (8, lambda: rng.choice(MARKS)),
            (4, self._digits),
            (3, self._repeated),
            (2, lambda: chr(self._any())),
        ]

    def batch(self, count: int) -> list[str]:
        """Return some texts."""
        return [self.text() for _ in range(count)]

    def text(self) -> str:
        """Return a text: mostly a few parts, sometimes one that was made before with changes."""
        rng = self._rng
        if rng.random() < 0.2:
            return self._mutated(rng.choice(self._kept))
        gap = rng.choice(("", "", " ", " ", rng.choice(SPACES)))
        text = gap.join(self._atom() for _ in range(rng.choice((1, 1, 2, 2, 3, 4, 5, 8, 12))))
        if rng.random() < 0.1:
            text = self._mutated(text)
        if rng.random() < 0.05:
            self._kept[rng.randrange(len(self._kept))] = text[:400]
        return text

    def long(self, size: int) -> str:
        """Return one line of about this many characters."""
        if self._rng.random() < 0.3:
            return (self._atom() or "x") * (size // 8)
        parts = []
        while size > 0:
            parts.append(self.text())
            size -= len(parts[-1]) + 1
        return " ".join(parts)

    def _atom(self) -> str:
        weights = [weight for weight, _ in self._atoms]
        (made,) = self._rng.choices([make for _, make in self._atoms], weights)
        text = made()
        if self._rng.random() < 0.12:
            changes: tuple[Callable[[str], str], ...] = (
                str.upper,
                str.lower,
                str.title,
                str.swapcase,
            )
            forms = ("NFD", "NFC", "NFKD", "NFKC")
            if self._rng.random() < 0.5:
                return self._rng.choice(changes)(text)
            return unicodedata.normalize(self._rng.choice(forms), text)
        return text

    def _snippet(self) -> str:
        line = self._rng.choice(self._corpus)
        start = self._rng.randrange(len(line) + 1)
        if self._rng.random() < 0.6:  # mostly whole words
            start = line.find(" ", start) + 1
        return line[start : start + self._rng.choice((3, 8, 20, 40, 80))]

    def _token(self) -> str:
        token = self._rng.choice(self._tokens)
        if self._rng.random() < 0.3 and token:
            cut = self._rng.randrange(len(token))
            return token[cut:] if self._rng.random() < 0.5 else token[: cut + 1]
        return token

    def _characters(self) -> str:
        low, high = self._rng.choice(BLOCKS)
        return "".join(
            chr(self._rng.randint(low, high)) for _ in range(self._rng.choice((1, 1, 2, 3, 6)))
        )

    def _spaces(self) -> str:
        rng = self._rng
        kind = rng.random()
        if kind < 0.5:
            return rng.choice((" ", "\n", "\t", "\r\n", "\u3000")) * rng.choice((1, 2, 3, 4, 7, 20))
        return "".join(rng.choice(SPACES) for _ in range(rng.choice((1, 2, 3, 5))))

    def _digits(self) -> str:
        zero = ord("0") if self._rng.random() < 0.5 else ord(self._rng.choice(ZEROS))
        return "".join(
            chr(zero + self._rng.randrange(10))
            for _ in range(self._rng.choice((1, 2, 3, 4, 7, 10)))
        )

    def _repeated(self) -> str:
        low, high = self._rng.choice(BLOCKS)
        part = self._rng.choice(
            (chr(self._rng.randint(low, high)), self._rng.choice(CLUSTERS), self._token())
        )
        return part * self._rng.choice((2, 3, 5, 10, 17, 40, 101))

    def _any(self) -> int:
        point = self._rng.randrange(0x110000 - 0x800)
        return point + 0x800 * (point >= 0xD800)

    def _mutated(self, text: str) -> str:
        for _ in range(self._rng.choice((1, 1, 2, 4))):
            start = self._rng.randrange(len(text) + 1)
            end = min(len(text), start + self._rng.choice((0, 1, 1, 2, 5)))
            part = text[start:end]
            new = self._rng.choice(
                ("", part * 2, part[::-1], self._characters(), self._spaces(), self._token())
            )
            text = text[:start] + new + text[end:]
        return text
