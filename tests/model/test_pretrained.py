"""Pretrained models as backbones: every architecture, tuning and type, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import huggingface_hub.errors
import pytest
import torch
from checkpoints import VOCABULARY, config_for, make_checkpoint
from safetensors.torch import load_file, save_file
from small_model import NAMES, trace_of
from transformers import AutoModelForCausalLM

from model import ModelError, ProcedureLM, collate, from_pretrained, save_pretrained
from model import pretrained as module
from model.packing import Packing
from model.pretrained import SUPPORTED
from model.tokenizer import SubwordTokenizer

TRACES = range(6)


@pytest.fixture(autouse=True)
def _forget() -> None:
    """Models are read once a process; the tests write others to the same places."""
    for remembered in (module._config, module._tokenizer, module._load):
        remembered.cache_clear()


def made(folder: Path, seed: int = 1, **changes: Any) -> ProcedureLM:
    torch.manual_seed(seed)
    return ProcedureLM(config_for(folder, **changes), VOCABULARY, (NAMES,))


@pytest.mark.parametrize("model_type", SUPPORTED)
def test_the_layers_in_a_row_are_the_pretrained_model(model_type: str, tmp_path: Path) -> None:
    """Without memory, below and above give its own logits, at the tokens that are kept."""
    folder = make_checkpoint(tmp_path / model_type, model_type)
    model = made(folder, tuning="frozen").eval()
    tokenizer = model.tokenizer
    assert isinstance(tokenizer, SubwordTokenizer)
    ids = tokenizer.encode("go place1 take place2 take place6 go place3")
    theirs = torch.tensor([[tokenizer.kept[number] for number in ids]])
    plain = AutoModelForCausalLM.from_pretrained(folder).eval()
    backbone = model.backbone
    with torch.no_grad():
        expected = plain(theirs).logits[..., list(tokenizer.kept)]
        places = torch.arange(len(ids))
        hidden = backbone.run_below(
            backbone.embed(torch.tensor(ids)), places, Packing(1, len(ids), places)
        )[None]
        rotary = backbone.rotary(hidden, torch.arange(len(ids))[None])
        for index in backbone.above:
            hidden = backbone.layer(index, hidden, rotary)
        logits = backbone.logits(hidden)[..., : len(tokenizer.kept)]
    assert torch.allclose(logits, expected, atol=2e-5)


@pytest.mark.parametrize(
    ("model_type", "changes"),
    [
        ("llama", {}),
        ("llama", {"attention_bias": True, "head_dim": 16}),
        ("llama", {"tie_word_embeddings": True}),
        ("qwen2", {}),
        ("qwen2", {"tie_word_embeddings": False, "num_key_value_heads": 1}),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_learns(model_type: str, changes: dict[str, Any], dtype: str, tmp_path: Path) -> None:
    model = made(make_checkpoint(tmp_path, model_type, **changes), dtype=dtype)
    batch = collate([trace_of(model, number) for number in TRACES], model.tokenizer)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=5e-3)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        found = model(batch)
        found.total.backward()
        optimiser.step()
        losses.append(float(found.cross_entropy))
    assert losses[-1] < 0.6 * losses[0]
    book = model.book.state_dict().values()
    assert all(tensor.dtype != torch.bfloat16 for tensor in book)
    assert all(weight.dtype == torch.float32 for weight in weights)
    assert model.backbone.dtype == getattr(torch, dtype)


@pytest.mark.parametrize("tuning", ["frozen", "lora", "full"])
def test_tuning_moves_what_it_should_and_nothing_else(tuning: str, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, "llama")
    model, other = made(folder, tuning=tuning), made(folder, tuning=tuning)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=1e-2, weight_decay=0.1)
    batch = collate([trace_of(model, number) for number in TRACES], model.tokenizer)
    for _ in range(3):  # LoRA's A moves only once B has
        optimiser.zero_grad()
        model(batch).total.backward()
        optimiser.step()
    moved = {
        name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])
    }
    theirs = {name for name in before if name.startswith("backbone.transformer.")}
    theirs.add("backbone.head")
    if tuning == "full":
        assert moved == set(before)
    else:
        adapters = {name for name in theirs if "lora_" in name}
        assert moved == set(before) - theirs | adapters
        assert bool(adapters) == (tuning == "lora")
    for name, weight in other.named_parameters():  # another model of the same pretrained one
        assert torch.equal(weight, before[name])


def test_frozen_weights_are_shared_and_not_saved(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "base", "qwen2")
    first, second = made(folder), made(folder)
    name = "layers.0.mlp.down_proj.base_layer.weight"
    weights = [each.backbone.transformer.get_parameter(name) for each in (first, second)]
    assert weights[0].data_ptr() == weights[1].data_ptr()
    frozen = sum(weight.numel() for weight in first.parameters() if not weight.requires_grad)
    size = save_pretrained(first, tmp_path / "saved").stat().st_size
    every = sum(weight.nbytes for weight in first.state_dict().values())
    assert every - 4 * frozen < size < every - 4 * frozen + 60_000


@pytest.mark.parametrize("model_type", ["llama", "qwen2"])
@pytest.mark.parametrize("tuning", ["frozen", "lora", "full"])
@pytest.mark.parametrize(
    ("dtype", "also_written_at"), [("float32", ()), ("bfloat16", ()), ("bfloat16", (1,))]
)
def test_everything_comes_back_bit_for_bit(
    model_type: str, tuning: str, dtype: str, also_written_at: tuple[int, ...], tmp_path: Path
) -> None:
    folder = make_checkpoint(tmp_path / "base", model_type)
    model = made(folder, tuning=tuning, dtype=dtype, also_written_at=also_written_at)
    batch = collate([trace_of(model, number) for number in TRACES], model.tokenizer)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.SGD(weights, lr=0.1)
    model(batch).total.backward()
    optimiser.step()
    save_pretrained(model, tmp_path / "saved", version=4)
    module._load.cache_clear()
    folder.rename(tmp_path / "moved")
    again, version = from_pretrained(tmp_path / "saved", pretrained=str(tmp_path / "moved"))
    assert version == 4
    mine, theirs = model.state_dict(), again.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert all(mine[name].dtype == theirs[name].dtype for name in mine)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained == {name for name, weight in again.named_parameters() if weight.requires_grad}
    model.eval()
    again.eval()
    with torch.no_grad():
        memory, _ = model.write_batch(batch)
        procedure = model.quantise(memory).procedure
        same, _ = again.write_batch(batch)
        assert torch.equal(memory, same)
        logits = model.answer(batch.inputs, procedure)
        assert torch.equal(logits, again.answer(batch.inputs, again.quantise(same).procedure))


def test_another_base_of_the_same_shape_is_refused(tmp_path: Path) -> None:
    model = made(make_checkpoint(tmp_path / "base", "llama"))
    save_pretrained(model, tmp_path / "saved")
    make_checkpoint(tmp_path / "base", "llama", seed=9)
    module._load.cache_clear()
    with pytest.raises(ModelError, match="not the one that this model was made with"):
        from_pretrained(tmp_path / "saved")


def test_its_own_shapes_take_the_place_of_the_configured(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, "llama")
    config = made(folder, layers=2, width=999, heads=3).config
    assert (config.layers, config.width, config.heads, config.feed_forward) == (4, 48, 4, 64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_tokens": 4096}, r"max_tokens = 4096, but .* reads 128"),
        (
            {"memory": {"slots": 3, "width": 16, "layer": 4, "heads": 2}},
            r"memory\.layer = 4 leaves no layer above the memory: .* has 4 layers",
        ),
    ],
)
def test_what_does_not_fit_it_is_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = make_checkpoint(tmp_path, "llama")
    with pytest.raises(ModelError, match=message):
        made(folder, **changes)


def test_another_architecture_is_refused_with_a_list_of_those_that_work(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, "llama")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "gpt2"}))
    with pytest.raises(ModelError, match=r"is a 'gpt2' model, and these work: llama, .*qwen2"):
        made(folder)


def test_an_absent_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"folder .*/nowhere does not exist: give a folder"):
        made(tmp_path / "nowhere")


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(ModelError, match=r"holds no config\.json: give a folder"):
        made(tmp_path)


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, "llama")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"no \*\.safetensors \(pickled weights .* not read"):
        made(folder)


def test_damaged_weights_are_refused_in_a_sentence(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, "llama")
    (folder / "model.safetensors").write_bytes(b"\x08")
    with pytest.raises(ModelError, match=r"the model of '.*' cannot be read: "):
        made(folder)


def test_weights_that_are_not_there_are_not_made_up(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, "llama")
    tensors = load_file(folder / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks lm_head\.weight and 0 other weights"):
        made(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_damaged_description_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, "llama")
    (folder / name).write_text('{"model_type": ')
    with pytest.raises(ModelError, match=r"model\.pretrained: the .* of '.*' cannot be read: "):
        made(folder)


def test_a_missing_tokenizer_is_named(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, "llama")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(ModelError, match=r"the tokenizer of '.*' cannot be read: "):
        made(folder)


@pytest.mark.parametrize(
    ("cause", "message"),
    [
        (
            "GatedRepoError",
            r"access is restricted: accept its terms on https://huggingface\.co/a/b",
        ),
        ("RepositoryNotFoundError", r"there is no such model on huggingface\.co: check its name"),
        ("LocalEntryNotFoundError", r"cannot be reached and it was not fetched before: .* a/b"),
    ],
)
def test_trouble_with_a_name_is_told_in_a_sentence(
    cause: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = getattr(huggingface_hub.errors, cause)

    def fail(*_: object, **__: object) -> None:
        raise OSError("a long story") from kind.__new__(kind)

    monkeypatch.setattr(module.AutoConfig, "from_pretrained", fail)
    with pytest.raises(ModelError, match=f"the configuration of 'a/b' cannot be read, .*{message}"):
        ProcedureLM(config_for("a/b"), VOCABULARY)


def test_lora_without_peft_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = make_checkpoint(tmp_path, "llama")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ModelError, match=r"needs the package `peft`.*choose frozen or full"):
        made(folder)
