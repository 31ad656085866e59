"""The small LM with working memory and procedure-book: training pass, decoding, saving."""

from model.batches import EncodedTrace, TraceBatch, collate
from model.decoding import DecodingEngine, Reading
from model.errors import ModelError
from model.making import make_engine, make_lm
from model.plain_decoding import PlainDecodingEngine
from model.plain_lm import PlainLM
from model.procedure_lm import ProcedureLM
from model.saving import from_bytes, from_pretrained, save_pretrained, to_bytes
from model.small_lm import Losses, SmallLM
from model.tokenizer import SubwordTokenizer, Tokenizer, WordTokenizer

__all__ = [
    "DecodingEngine",
    "EncodedTrace",
    "Losses",
    "ModelError",
    "PlainDecodingEngine",
    "PlainLM",
    "ProcedureLM",
    "Reading",
    "SmallLM",
    "SubwordTokenizer",
    "Tokenizer",
    "TraceBatch",
    "WordTokenizer",
    "collate",
    "from_bytes",
    "from_pretrained",
    "make_engine",
    "make_lm",
    "save_pretrained",
    "to_bytes",
]
