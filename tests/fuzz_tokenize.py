"""Look for texts that legato tokenizes otherwise than tokenizers 0.23.3. Run by ``make fuzz SECONDS=1800``.

Generated texts go through real definitions, small trained ones and random variants of those; ids, type
ids, masks, offsets, words, windows, padded arrays and decoded text are compared. On a difference it prints
the seed, the definition and a text cut down as far as it still differs, and the exit code is 1. Training is not the same each time: a
small definition that differs is written to a file.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.append(str(Path(__file__).parent.parent))

import tokenizers

from bench import _materials
from legato import Tokenizer
from tokenizer_compare import Options, Raised, first_difference, theirs
from tokenizer_definitions import Definition, trained, variant
from tokenizer_texts import NASTY, Texts

BATCHES = {"real": 120, "trained": 50, "variant": 12}
"""Batches that a definition gets at a time: counted, not timed, or a seed would repeat nothing."""
KEPT = 3
"""Real definitions that stay loaded: some take a second and hundreds of megabytes."""
LONG_EVERY = 400
BOUNDED = "times longer"
"""What legato says of normalizers that multiply a text: a limit of its own, and documented."""
"""Batches, of which one gets a text of up to a million characters."""
DETAILED = 32
"""Most texts of a batch whose offsets and words are compared."""
SURE = 8
"""Loads that tell whether tokenizers agrees with itself."""
TRIES = 400
"""Texts tried to make a difference small."""


class Subject(NamedTuple):
    """A definition that both sides have loaded."""

    name: str
    definition: str
    legato: Any
    original: Any
    tokens: list[str]


class Tally:
    """What has been done so far."""

    def __init__(self) -> None:
        """Start at nothing."""
        self.texts = self.characters = self.batches = self.definitions = 0
        self.unusable = self.unsure = 0
        self.differences = 0
        self.by_name: collections.Counter[str] = collections.Counter()


def main() -> int:
    """Fuzz for some time; return 1 if anything differed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None, help="of an earlier run: the same texts")
    parser.add_argument("--only", default="", help="only definitions with this in their name")
    parser.add_argument("--most", type=int, default=5, help="differences to stop after")
    parser.add_argument("--materials", type=Path, default=_materials.CACHE)
    arguments = parser.parse_args()
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
    print(f"seed {seed}, tokenizers {tokenizers.__version__}", flush=True)
    rng, tally = random.Random(seed), Tally()
    fuzzer = Fuzzer(rng, tally, arguments.materials, seed)
    started = said = time.monotonic()
    subjects = fuzzer.subjects(arguments.only)
    while time.monotonic() - started < arguments.seconds and tally.differences < arguments.most:
        kind, subject = next(subjects)
        for _ in range(BATCHES[kind]):
            if time.monotonic() - started > arguments.seconds or not fuzzer.same(subject):
                break
        if time.monotonic() - said > 30:
            said = time.monotonic()
            print(summary(tally, said - started), flush=True)
    print(summary(tally, time.monotonic() - started))
    for name, count in sorted(tally.by_name.items()):
        print(f"  {name}: {count:,} texts")
    return 1 if tally.differences else 0


def summary(tally: Tally, seconds: float) -> str:
    """Return one line of progress."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return (
        f"{seconds:.0f} s: {tally.texts:,} texts, {tally.characters / 1e6:.1f} M characters, "
        f"{tally.definitions:,} definitions ({tally.unusable} more that tokenizers refuses), "
        f"{tally.unsure} times it disagreed with itself, "
        f"{tally.differences} differences, peak {peak:,} MiB"
    )


class Fuzzer:
    """Makes subjects, gives them texts, and reports what differs."""

    def __init__(self, rng: random.Random, tally: Tally, materials: Path, seed: int) -> None:
        """Take chance, the tally and the folder of materials."""
        self._rng, self._tally, self._materials, self._seed = rng, tally, materials, seed
        self._corpus = _corpus(materials)
        self._loaded: collections.OrderedDict[str, Subject] = collections.OrderedDict()
        self._names = _real(materials)
        lines = [line for line in self._corpus if len(line) < 500]
        self._trained = trained(rng.sample(lines, min(1500, len(lines))))
        self._charsmap = _charsmap(materials)
        self._texts: dict[str, Texts] = {}

    def subjects(self, only: str) -> Iterator[tuple[str, Subject]]:
        """Yield definitions for ever: real ones, trained ones, and variants, which make most of it."""
        real = [name for name in self._names if only in name]
        families = [name for name in self._trained if only in name]
        if not real and not families:
            raise SystemExit(f"no definition has {only!r} in its name")
        while True:
            if real and (not families or self._rng.random() < 0.1):
                yield "real", self._load(self._rng.choice(real))
            elif families:
                family = self._rng.choice(families)
                varied = self._rng.random() < 0.95
                if subject := self._make(family, varied=varied):
                    yield ("variant" if varied else "trained"), subject

    def _load(self, name: str) -> Subject:
        if name not in self._loaded:
            while len(self._loaded) >= KEPT:
                self._loaded.popitem(last=False)
            text = _materials.tokenizer_json(name, self._materials).read_text(encoding="utf-8")
            subject = _subject(name, text)
            if subject is None:
                raise SystemExit(f"tokenizers cannot load {name}")
            self._tally.definitions += 1
            self._loaded[name] = subject
        self._loaded.move_to_end(name)
        return self._loaded[name]

    def _make(self, family: str, *, varied: bool) -> Subject | None:
        definition: Definition = self._trained[family]
        if varied:
            definition = variant(self._rng, definition, self._charsmap)
        text = json.dumps(definition)
        try:
            subject = _subject(f"{family} variant" if varied else f"{family} trained", text)
        except Exception as error:  # noqa: BLE001 - legato refused what tokenizers takes
            if BOUNDED in str(error):
                self._tally.unusable += 1
                return None
            self._report(f"{family} variant", text, f"legato cannot load it: {error}")
            return None
        self._tally.definitions += subject is not None
        self._tally.unusable += subject is None
        return subject

    def same(self, subject: Subject) -> bool:
        """Give a subject one batch; report a difference."""
        rng, tally = self._rng, self._tally
        source = Texts(rng, self._corpus, subject.tokens)
        if name := subject.name if not subject.name.endswith("variant") else "":
            source = self._texts.setdefault(name, source)
        texts: list[Any] = source.batch(rng.choice((1, 7, 64, 256, 256)))
        pairs = rng.random() < 0.15
        if pairs and callable(subject.legato):
            texts = list(zip(texts, reversed(texts), strict=True))
        options = self._options(subject, pair=isinstance(texts[0], tuple))
        if options.stride is None and isinstance(texts[0], str) and rng.random() < 1 / LONG_EVERY:
            texts.append(source.long(rng.choice((10_000, 100_000, 1_000_000))))
        if options.details:  # every row is encoded once more for them
            del texts[4 if options.stride is not None else DETAILED :]
        tally.batches += 1
        tally.texts += len(texts)
        tally.by_name[subject.name] += len(texts)
        tally.characters += sum(len("".join(text)) for text in texts)
        difference = first_difference(subject.legato, subject.original, texts, options)
        if difference:
            self._explain(subject, texts, options, difference)
            return False
        return self._decoded_same(subject, texts)

    def _options(self, subject: Subject, *, pair: bool) -> Options:
        rng = self._rng
        special = rng.random() < 0.7
        options = Options(add_special_tokens=special, details=rng.random() < 0.15)
        added = subject.original.num_special_tokens_to_add(pair)
        least = added * special
        if rng.random() < 0.4:
            limit = least + rng.choice((1, 2, 3, 5, 8, 13, 30, 100))
            side = rng.choice(("right", "right", "left"))
            options = options._replace(max_length=limit, side=side)
            if rng.random() < 0.3 and limit > added:
                # Upstream panics where a stride is not less than what is left of a pair's text.
                if pair:  # and of windows there are as many as those of both texts multiplied
                    return options._replace(stride=0, details=False)
                return options._replace(stride=rng.randrange(min(limit - added, 10)))
            if pair and rng.random() < 0.3:
                options = options._replace(strategy=rng.choice(("only_first", "only_second")))
        if rng.random() < 0.3:
            # With a limit that is no such multiple, legato refuses, as transformers does.
            multiple = 1 if options.max_length else rng.choice((1, 8))
            return options._replace(padded=multiple, details=False)
        return options

    def _decoded_same(self, subject: Subject, texts: list[Any]) -> bool:
        rng = self._rng
        if not hasattr(subject.legato, "decode_batch") or rng.random() > 0.1:
            return True
        size = subject.original.get_vocab_size()
        encoded = theirs(subject.original, texts[:32], Options())
        rows = [] if isinstance(encoded, Raised) else [row["ids"][:1000] for (row,) in encoded]
        rows += [[rng.randrange(size + 2) for _ in range(rng.randrange(12))] for _ in range(32)]
        skip = rng.random() < 0.5
        found = subject.legato.decode_batch(rows, skip_special_tokens=skip)
        expected = subject.original.decode_batch(rows, skip_special_tokens=skip)
        for ids, got, want in zip(rows, found, expected, strict=True):
            if got != want:
                what = f"decode, skip_special_tokens={skip}\n  ids: {ids}\n  legato: {got!a}"
                self._report(subject.name, subject.definition, f"{what}\n  tokenizers: {want!a}")
                return False
        return True

    def _explain(
        self, subject: Subject, texts: list[Any], options: Options, difference: tuple[int, Any, Any]
    ) -> None:
        index, got, want = difference
        text = texts[index]

        def differs(candidate: Any) -> bool:
            return (
                first_difference(subject.legato, subject.original, [candidate], options) is not None
            )

        if differs(text):
            text = smallest(text, differs)
            _, got, want = (
                first_difference(subject.legato, subject.original, [text], options) or difference
            )
            if self._unsure(subject, text, options):
                self._tally.unsure += 1
                return
            how = f"text: {text!a}"
        else:
            how = f"only in its batch of {len(texts)}, at {index}; text: {ascii(text)[:2000]}"
        fields = f"  legato: {shown(got, want)}\n  tokenizers: {shown(want, got)}"
        self._report(subject.name, subject.definition, f"{options}\n  {how}\n{fields}")

    def _unsure(self, subject: Subject, text: Any, options: Options) -> bool:
        """Say whether tokenizers gives legato's answer on another load.

        Of added tokens that a normalizer makes the same, it takes one by the order of a hash map.
        """
        loads = (tokenizers.Tokenizer.from_str(subject.definition) for _ in range(SURE))
        return not all(first_difference(subject.legato, load, [text], options) for load in loads)

    def _report(self, name: str, definition: str, what: str) -> None:
        self._tally.differences += 1
        where = name
        if name.endswith(("variant", "trained")):
            path = Path(tempfile.gettempdir()) / f"fuzz-{self._seed}-{self._tally.differences}.json"
            path.write_text(definition, encoding="utf-8")
            where = f"{name}, written to {path}"
        print(
            f"DIFFERENCE {self._tally.differences}, seed {self._seed}: {where}\n  {what}",
            flush=True,
        )


def shown(rows: Any, others: Any) -> str:
    """Return the fields of the rows that differ."""
    if isinstance(rows, Raised) or isinstance(others, Raised) or len(rows) != len(others):
        return ascii(rows)[:2000]
    for one, other in zip(rows, others, strict=True):
        if one != other:
            return ascii({name: one[name] for name in one if one[name] != other.get(name)})[:2000]
    return ascii(rows)[:2000]


def smallest(text: Any, differs: Callable[[Any], bool]) -> Any:
    """Cut a text, or each text of a pair, down as far as it still differs."""
    if isinstance(text, tuple):
        first, second = text
        first = smallest(first, lambda part: differs((part, second)))
        return first, smallest(second, lambda part: differs((first, part)))
    tries, size = 0, max(len(text) // 2, 1)
    while tries < TRIES:
        for start in range(0, len(text), size):
            shorter = text[:start] + text[start + size :]
            tries += 1
            if differs(shorter):
                text = shorter
                break
        else:
            if size == 1:
                break
            size //= 2
    return text


def _subject(name: str, definition: str) -> Subject | None:
    """Load a definition with both; None if tokenizers refuses it."""
    try:
        original = tokenizers.Tokenizer.from_str(definition)
        # Some added tokens behind some normalizers panic on most texts: nothing to compare with.
        original.encode_batch_fast(list(NASTY))
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            return None
        raise
    legato = Tokenizer.from_bytes(definition.encode())
    vocabulary = sorted(original.get_vocab(with_added_tokens=False))
    added = sorted(token.content for token in original.get_added_tokens_decoder().values())
    readable = [token.replace("Ġ", " ").replace("▁", " ") for token in vocabulary[::7]]
    return Subject(
        name,
        definition,
        legato,
        original,
        added * (1 + len(readable) // (3 * len(added) + 1)) + readable,
    )


def _real(materials: Path) -> list[str]:
    """Return the names of the definitions that this machine can have, and say which it cannot."""
    found = []
    for name in _materials.TOKENIZERS:
        try:
            _materials.tokenizer_json(name, materials)
            found.append(name)
        except _materials.NotToBeHadError as error:
            print(f"left out: {name}: {error}")
    return found


def _corpus(materials: Path) -> list[str]:
    lines = _materials.paragraphs("docstrings", materials)[:3000]
    try:
        for language in _materials.languages(materials):
            lines += _materials.paragraphs(language, materials)[:200]
    except _materials.NotToBeHadError as error:
        print(f"left out: texts but the docstrings: {error}")
    return lines


def _charsmap(materials: Path) -> str | None:
    """Return a real table of the Precompiled normalizer, XLM-R's."""
    try:
        path = _materials.tokenizer_json("xlmr", materials)
    except _materials.NotToBeHadError:
        return None

    def find(part: Any) -> str | None:
        if isinstance(part, dict):
            if "precompiled_charsmap" in part:
                return str(part["precompiled_charsmap"])
            part = list(part.values())
        return next(filter(None, map(find, part)), None) if isinstance(part, list) else None

    return find(json.loads(path.read_bytes())["normalizer"])


if __name__ == "__main__":
    sys.exit(main())
