"""Make small models of every architecture, with what transformers makes of a few batches.

A folder ``tiny-models/<name>`` holds:

- ``config.json`` and ``model.safetensors``: a seeded random checkpoint, as transformers writes it
- ``expected.safetensors``: texts as token ids (``input_ids``, ``type_ids``, ``lengths``, flat), and
  ``hidden`` (N, H): the last hidden states, computed in one padded batch with its mask
- ``<task>.safetensors``: a head's tensors by their own names, and its ``expected/logits`` for these
  texts: (B, labels) for sequence-classification, (N, labels) for token-classification,
  (N, 2) for question-answering, (N, V) for masked-lm

To make them again::

    python -m venv /tmp/venv && /tmp/venv/bin/pip install torch transformers
    /tmp/venv/bin/python tests/data/make_tiny_models.py

Two runs on one machine give the same bytes.
"""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import copy
import json
import shutil
import tempfile
import zlib
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file

FOLDER = Path(__file__).resolve().parent / "tiny-models"
VOCAB = 40
LABELS = 3
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
    "initializer_range": 0.02,
    "num_labels": LABELS,
}
LENGTHS = (7, 1, 21, 2, 7, 33)
TASKS = {
    "sequence-classification": "ForSequenceClassification",
    "token-classification": "ForTokenClassification",
    "question-answering": "ForQuestionAnswering",
    "masked-lm": "ForMaskedLM",
}


@dataclass
class Case:
    """One model."""

    architecture: str
    options: dict[str, Any] = field(default_factory=dict)
    lengths: tuple[int, ...] = LENGTHS
    segments: int = 1
    pad: int = 0
    pads_inside: bool = False
    # Which of the heads to make too.
    tasks: tuple[str, ...] = ()
    # How older checkpoints of the same layers differ: their config, their names, their dtype.
    config: dict[str, Any] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    renames: tuple[tuple[str, str], ...] = ()
    dtype: torch.dtype = torch.float32
    # Names as transformers has them in memory, where it writes others.
    native: bool = False


ALL = tuple(TASKS)
DISTILBERT = {
    "dim": 16,
    "n_layers": 2,
    "n_heads": 2,
    "hidden_dim": 24,
}
CASES = {
    "bert": Case("Bert", segments=2, tasks=ALL),
    "bert-old": Case(
        "Bert",
        {"hidden_act": "gelu_new", "layer_norm_eps": 1e-5, "num_attention_heads": 4},
        renames=(("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")),
        dtype=torch.float16,
    ),
    "bert-relu": Case("Bert", {"hidden_act": "relu"}, segments=2, dtype=torch.bfloat16),
    "distilbert": Case("DistilBert", DISTILBERT, tasks=ALL),
    "roberta": Case("Roberta", {"type_vocab_size": 1}, pad=1, pads_inside=True, tasks=ALL),
    "xlm-roberta": Case(
        "XLMRoberta", {"type_vocab_size": 1, "hidden_act": "silu"}, pad=1, tasks=ALL
    ),
    "camembert": Case("Camembert", {"pad_token_id": 3}, pad=3, pads_inside=True),
    "mpnet": Case(
        "MPNet",
        {"max_position_embeddings": 150},
        lengths=(*LENGTHS, 148),
        pad=1,
        pads_inside=True,
        tasks=ALL,
    ),
    "albert": Case(
        "Albert",
        {
            "embedding_size": 8,
            "num_hidden_layers": 4,
            "num_hidden_groups": 2,
            "inner_group_num": 2,
            "classifier_dropout_prob": 0.0,
        },
        segments=2,
        tasks=ALL,
    ),
    "electra": Case("Electra", {"embedding_size": 8}, segments=2, tasks=ALL),
    "electra-wide": Case("Electra", {"embedding_size": 16, "num_hidden_layers": 1}, segments=2),
    "deberta-v3": Case(
        "DebertaV2",
        {
            "max_position_embeddings": 90,
            "relative_attention": True,
            "position_buckets": 8,
            "max_relative_positions": -1,
            "share_att_key": True,
            "pos_att_type": "p2c|c2p",
            "position_biased_input": False,
            "norm_rel_ebd": "layer_norm",
            "type_vocab_size": 0,
            "pooler_hidden_act": "gelu",
        },
        lengths=(*LENGTHS, 80),
        tasks=ALL,
    ),
    "deberta-v2": Case(
        "DebertaV2",
        {
            "relative_attention": True,
            "max_relative_positions": 12,
            "pos_att_type": ["c2p", "p2c"],
            "type_vocab_size": 2,
            "embedding_size": 8,
            "conv_kernel_size": 3,
            "conv_groups": 2,
            "conv_act": "gelu",
        },
        segments=2,
    ),
    "deberta-c2p": Case(
        "DebertaV2",
        {
            "relative_attention": True,
            "position_buckets": 4,
            "max_relative_positions": 16,
            "share_att_key": True,
            "pos_att_type": ["c2p"],
            "norm_rel_ebd": "none",
        },
    ),
    "deberta-plain": Case("DebertaV2", {"num_hidden_layers": 1, "hidden_act": "gelu_new"}),
    "modernbert": Case(
        "ModernBert",
        {
            "num_hidden_layers": 4,
            "local_attention": 6,
            "max_position_embeddings": 160,
            "cls_token_id": 1,
            "sep_token_id": 2,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        lengths=(*LENGTHS, 150),
        tasks=ALL,
        # As transformers 4 wrote it.
        config={
            "global_attn_every_n_layers": 3,
            "global_rope_theta": 160000.0,
            "local_rope_theta": 10000.0,
        },
        without=("layer_types", "rope_parameters"),
    ),
    "modernbert-bias": Case(
        "ModernBert",
        {
            "num_hidden_layers": 3,
            "local_attention": 9,
            "cls_token_id": 1,
            "sep_token_id": 2,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 500.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 70.0},
            },
            "norm_bias": True,
            "attention_bias": True,
            "mlp_bias": True,
            "classifier_bias": True,
            "classifier_pooling": "mean",
            "decoder_bias": False,
            "hidden_activation": "silu",
            "classifier_activation": "relu",
        },
        tasks=ALL,
    ),
    "nomic": Case(
        "NomicBert",
        segments=2,
        tasks=("sequence-classification", "token-classification", "masked-lm"),
    ),
    "nomic-remote": Case(
        "NomicBert",
        {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
        segments=2,
        config={
            "n_embd": 16,
            "n_layer": 2,
            "n_head": 2,
            "n_inner": 24,
            "n_positions": 40,
            "layer_norm_epsilon": 1e-12,
            "activation_function": "swiglu",
            "rotary_emb_base": 10000,
            "rotary_emb_fraction": 1.0,
            "rotary_emb_interleaved": False,
            "rotary_emb_scale_base": None,
            "prenorm": False,
            "qkv_proj_bias": False,
            "mlp_fc1_bias": False,
            "mlp_fc2_bias": False,
            "causal": False,
        },
        without=(
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "max_position_embeddings",
            "layer_norm_eps",
            "hidden_act",
            "rope_parameters",
            "head_dim",
        ),
    ),
    "nomic-native": Case("NomicBert", {"type_vocab_size": 1}, native=True),
}


def seeded(shape: torch.Size, name: str) -> torch.Tensor:
    """Return noise that depends on a parameter's name alone."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return torch.randn(shape, generator=generator)


def make(case: Case, suffix: str, config: Any) -> Any:
    """Return a model with seeded weights: the same encoder under every head."""
    model = getattr(transformers, f"{case.architecture}{suffix}")(config).eval()
    # The encoder first: a head's matrix that is tied to it has two names.
    named = {id(value): name for name, value in reversed(list(model.named_parameters()))}
    named |= {id(value): name for name, value in model.base_model.named_parameters()}
    with torch.no_grad():
        for parameter in model.parameters():
            name = named[id(parameter)]
            noise = seeded(parameter.shape, name)
            is_norm = parameter.ndim == 1 and name.endswith("weight")
            scale = 0.1 if name.endswith("bias") else 0.25
            parameter.copy_(1 + 0.1 * noise if is_norm else scale * noise)
            parameter.copy_(parameter.to(case.dtype))
    return model


def saved(model: Any) -> dict[str, torch.Tensor]:
    """Return the tensors that transformers writes for a model."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_file(Path(folder) / "model.safetensors")


def texts(case: Case) -> dict[str, torch.Tensor]:
    """Return a padded batch."""
    generator = torch.Generator().manual_seed(7)
    shape = (len(case.lengths), max(case.lengths))
    ids = torch.randint(5, VOCAB, shape, generator=generator)
    if case.pads_inside:
        ids[2, 5] = ids[2, 6] = ids[5, 0] = case.pad
    mask = torch.tensor([[int(t < n) for t in range(shape[1])] for n in case.lengths])
    types = torch.randint(0, case.segments, shape, generator=generator)
    return {
        "input_ids": torch.where(mask == 1, ids, case.pad),
        "attention_mask": mask,
        "token_type_ids": types * mask,
    }


def inputs(case: Case, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return what the model takes of a batch."""
    if case.segments > 1:
        return batch
    return {name: value for name, value in batch.items() if name != "token_type_ids"}


def rename(case: Case, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors under the names and in the dtype of the case."""
    renamed = {}
    for name, tensor in tensors.items():
        for old, new in case.renames:
            name = name.replace(old, new)  # noqa: PLW2901
        renamed[name] = tensor.to(case.dtype).contiguous()
    return renamed


def write_config(folder: Path, case: Case, config: Any) -> None:
    """Write config.json, changed as the case says."""
    written = json.loads(config.to_json_string())
    for name in case.without:
        written.pop(name, None)
    written.update(case.config)
    text = json.dumps(written, indent=2, sort_keys=True)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def write(name: str, case: Case) -> None:
    """Write one model's folder."""
    folder = FOLDER / name
    folder.mkdir(parents=True)
    sizes = {**SIZES, **case.options}
    if case.architecture == "DistilBert":
        # It has names of its own for these.
        for size in (*transformers.DistilBertConfig.attribute_map, "intermediate_size"):
            sizes.pop(size, None)
    sizes.setdefault("pad_token_id", case.pad)
    config = getattr(transformers, f"{case.architecture}Config")(**sizes)
    config._attn_implementation = "eager"
    config.architectures = [f"{case.architecture}Model"]
    write_config(folder, case, config)
    made_by = {"made_by": f"torch {version('torch')}, transformers {version('transformers')}"}

    batch = texts(case)
    flat = batch["attention_mask"] == 1
    base = make(case, "Model", config)
    base_tensors = dict(base.state_dict()) if case.native else saved(base)
    save_file(rename(case, base_tensors), folder / "model.safetensors", made_by)
    with torch.no_grad():
        hidden = base(**inputs(case, batch)).last_hidden_state[flat]
    expected = {
        "input_ids": batch["input_ids"][flat],
        "type_ids": batch["token_type_ids"][flat],
        "lengths": torch.tensor(case.lengths),
        "hidden": hidden,
    }
    save_file(expected, folder / "expected.safetensors", made_by)
    for task in case.tasks:
        write_head(folder, case, task, config, batch, set(base_tensors))


def write_head(
    folder: Path,
    case: Case,
    task: str,
    config: Any,
    batch: dict[str, torch.Tensor],
    base: set[str],
) -> None:
    """Write a head's tensors and logits."""
    config = copy.deepcopy(config)
    config.num_labels = 2 if task == "question-answering" else LABELS
    model = make(case, TASKS[task], config)
    prefix = f"{model.base_model_prefix}."
    flat = batch["attention_mask"] == 1
    with torch.no_grad():
        answer = model(**inputs(case, batch))
    if task == "question-answering":
        logits = torch.stack([answer.start_logits[flat], answer.end_logits[flat]], dim=-1)
    else:
        logits = answer.logits if task == "sequence-classification" else answer.logits[flat]
    tensors = saved(model)
    head = {name: value for name, value in tensors.items() if name.removeprefix(prefix) not in base}
    head["expected/logits"] = logits
    save_file(
        {name: value.contiguous() for name, value in head.items()}, folder / f"{task}.safetensors"
    )
    print(f"  {task}: {', '.join(f'{name} {tuple(value.shape)}' for name, value in head.items())}")


def main() -> None:
    """Write all folders anew."""
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    shutil.rmtree(FOLDER, ignore_errors=True)
    for name, case in CASES.items():
        print(name)
        write(name, case)
        size = sum(path.stat().st_size for path in (FOLDER / name).iterdir())
        print(f"  {size} bytes")


if __name__ == "__main__":
    main()
