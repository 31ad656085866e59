"""The small LM with working memory and procedure-book: training pass, decoding, saving."""

from model.batches import EncodedTrace, TraceBatch, collate
from model.decoding import DecodingEngine, Reading
from model.errors import ModelError
from model.procedure_lm import Losses, ProcedureLM
from model.saving import from_bytes, from_pretrained, save_pretrained, to_bytes
from model.tokenizer import SubwordTokenizer, Tokenizer, WordTokenizer

__all__ = [
    "DecodingEngine",
    "EncodedTrace",
    "Losses",
    "ModelError",
    "ProcedureLM",
    "Reading",
    "SubwordTokenizer",
    "Tokenizer",
    "TraceBatch",
    "WordTokenizer",
    "collate",
    "from_bytes",
    "from_pretrained",
    "save_pretrained",
    "to_bytes",
]
