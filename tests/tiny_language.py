"""Language models of a few thousand random weights, in folders as `save_pretrained` leaves them."""

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerFast,
)

from pipeline.concepts.language import LanguageModel, Source

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "cat", "dog", "red", "star", "moon", "on", "mat", "blue", "sky"]
"""A word's token is its place."""
KINDS = ["transformers", "sentence_transformers"]
POSITIONS = 64
SIZES = {
    "vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": POSITIONS,
}  # fmt: skip


def save_tokenizer(folder, *, encoder, limit=POSITIONS):
    """An encoder's puts [CLS] and [SEP] around a text; a decoder's has neither, and no token for padding."""
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"unk_token": "[UNK]", "eos_token": "[SEP]"}
    if encoder:
        ends = [(word, WORDS.index(word)) for word in ("[CLS]", "[SEP]")]
        made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
        special = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=limit, **special).save_pretrained(folder)


def save_encoder(folder, seed=0, limit=POSITIONS, headed=False, **changed):
    torch.manual_seed(seed)
    of = BertForMaskedLM if headed else BertModel
    of(BertConfig(**{**SIZES, "initializer_range": 0.5, **changed})).save_pretrained(folder)
    save_tokenizer(folder, encoder=True, limit=limit)
    return folder


def save_gpt2(folder, seed=0, limit=POSITIONS):
    torch.manual_seed(seed)
    ends = {"bos_token_id": 2, "eos_token_id": 3}
    made = GPT2Config(vocab_size=len(WORDS), n_embd=16, n_layer=2, n_head=2, n_positions=POSITIONS, **ends)
    GPT2Model(made).save_pretrained(folder)
    save_tokenizer(folder, encoder=False, limit=limit)
    return folder


def save_llama(folder, seed=0, limit=POSITIONS, positions=POSITIONS):
    torch.manual_seed(seed)
    made = LlamaConfig(**{**SIZES, "max_position_embeddings": positions}, initializer_range=0.5)
    LlamaModel(made).save_pretrained(folder)
    save_tokenizer(folder, encoder=False, limit=limit)
    return folder


SAVED = {"encoder": save_encoder, "gpt2": save_gpt2, "llama": save_llama}


def opened(folder, kind="transformers", **how):
    return LanguageModel(Source(kind, str(folder), **how), "cpu")
