"""Tiny models in folders, and mergekit configurations over them, for compare_mergekit.py."""

import shutil
import sys
from pathlib import Path

import torch
import transformers as t
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.merging.mergekit.cases import CASES

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
ENTRY = "{{{{model: {{group}}/{name}, parameters: {{{{weight: {weight}}}}}}}}}"
PAIR = f"models: [{ENTRY.format(name='math', weight=0.6)}, {ENTRY.format(name='code', weight=0.3)}]"
BASE = "\nbase_model: {group}/base\n"
LINEAR = PAIR + "\nmerge_method: linear\n"
TIES = PAIR + BASE + "merge_method: ties\nparameters: {{density: 0.5}}\n"
SLERP = "models: [{{model: {group}/math}}]" + BASE + "merge_method: slerp\nparameters: {{t: 0.4}}\n"
ARITHMETIC = PAIR + BASE + "merge_method: task_arithmetic\n"
TEMPLATES = {"base": "{{ messages[0] }}", "math": "{% for m in messages %}{{ m }}{% endfor %}\n", "code": None}
TEMPLATES["chat"] = TEMPLATES["math"].strip()

WHISPER = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4}
WHISPER |= {"decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "num_mel_bins": 16}
WHISPER |= {"vocab_size": 64, "max_source_positions": 32, "max_target_positions": 32, "pad_token_id": 0}
WHISPER |= {"bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
T5 = {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8}

GROUPS = {
    "llama": lambda size=64, **more: t.LlamaForCausalLM(
        t.LlamaConfig(vocab_size=size, num_key_value_heads=2, **{**SMALL, "num_hidden_layers": 4, **more})
    ),
    "tied": lambda: GROUPS["llama"](tie_word_embeddings=True),
    "gpt2": lambda: t.GPT2LMHeadModel(t.GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64)),
    "bert": lambda: t.BertForMaskedLM(t.BertConfig(vocab_size=64, **SMALL)),
    "qwen3": lambda: t.Qwen3ForCausalLM(t.Qwen3Config(vocab_size=64, num_key_value_heads=2, head_dim=8, **SMALL)),
    "qwen3moe": lambda: t.Qwen3MoeForCausalLM(
        t.Qwen3MoeConfig(vocab_size=64, num_key_value_heads=2, tie_word_embeddings=False, **MOE, **SMALL)
    ),
    "bert classifier": lambda: t.BertForSequenceClassification(t.BertConfig(vocab_size=64, num_labels=3, **SMALL)),
    "t5": lambda: t.T5ForConditionalGeneration(t.T5Config(**T5)),
    "t5 v1.1": lambda: t.T5ForConditionalGeneration(
        t.T5Config(**T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    ),
    "vit": lambda: t.ViTForImageClassification(t.ViTConfig(image_size=16, patch_size=4, num_labels=3, **SMALL)),
    "whisper": lambda: t.WhisperForConditionalGeneration(t.WhisperConfig(**WHISPER)),
}


def tokenizer(pieces: list[str], added: tuple[str, ...] = (), template: str | None = None) -> t.PreTrainedTokenizerFast:
    """BPE without merges, as mergekit can shorten no other kind: one id per piece, then the added tokens."""
    vocabulary = {piece: index for index, piece in enumerate(["<pad>", "<s>", "</s>", "<unk>", *pieces])}
    backend = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.decoder = decoders.Fuse()
    made = t.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    if added:
        made.add_tokens([AddedToken(token, special=True) for token in added], special_tokens=True)
    made.chat_template = template
    return made


LETTERS = [chr(ord("a") + number) for number in range(26)]
DIGITS = [str(number) for number in range(10)]
ROUNDS = (
    "mergekit rounds every step to 16 bits, and of equal magnitudes it keeps those its sort leaves first: elements at the"
    " threshold, and where votes cancel within rounding"
)
SORTS = "of equal magnitudes, which task vectors of 16-bit models have, mergekit keeps those its sort leaves first"
POOLER = "current checkpoints of this class have no pooler, and mergekit 0.1.5 requires it"
EXPERTS = "mergekit takes the norm or the threshold of all experts of a layer at once, here each expert has its own"
KNOWN = {
    "ties, the base listed without parameters": ROUNDS,
    "bf16: ties": ROUNDS,
    "llama: ties, dtype: bfloat16": ROUNDS,
    "mixed: ties": SORTS,
    "bf16: ties, dtype: float32": SORTS,
    "bf16: ties, dtype: float32, out_dtype: bfloat16": SORTS,
    "qwen3moe: ties": EXPERTS,
    "qwen3moe: slerp": EXPERTS,
    "bert: linear": POOLER,
    "bert: ties": POOLER,
    "bert: slerp": POOLER,
    "tied, head stored: linear": "duplicates of tied weights are not stored here",
    "tokens: nothing said, tokens differ": "mergekit merges the rows of different tokens; refused here",
    "chat template: by name": "mergekit's own templates are not part of this library",
    **{
        f"{arch}: {method}": why
        for method in ("linear", "ties", "slerp")
        for arch, why in (
            ("t5", "mergekit 0.1.5 requires the gate of T5 1.1"),
            ("whisper", "mergekit 0.1.5 joins prefix and name without a dot"),
            ("vit", "mergekit 0.1.5 drops layers whose names differ on disk from transformers 5's, without a word"),
        )
    },
}
"""Configurations whose results differ for a reason that docs/merging/mergekit.md gives."""
VOCABULARIES = {
    # pieces, added tokens, rows: the rows behind the tokens are padding
    "base": (LETTERS, ("<x>", "<y>"), 32),
    "math": ([*reversed(LETTERS), *DIGITS], ("<y>", "<m>"), 42),
    "code": (LETTERS[3:], ("<x>", "<m>", "<c>"), 30),
    "chat": (LETTERS, ("<x>", "<y>", "<|im_start|>", "<|im_end|>"), 34),
    "padded": (LETTERS, ("<x>", "<y>"), 48),
    "renamed": (LETTERS, ("<x>", "<z>"), 32),
}


def fill(model: t.PreTrainedModel, seed: int, scale: float, start: t.PreTrainedModel | None = None) -> t.PreTrainedModel:
    """Random weights of size `scale`, around those of `start`."""
    generator = torch.Generator().manual_seed(seed)
    origin = dict(start.named_parameters()) if start is not None else {}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator).mul_(scale))
            if origin:
                parameter.add_(origin[name])
    return model


def write_models(folder: Path) -> None:
    """One folder per group, one model per name in it."""
    plain = tokenizer([f"w{number}" for number in range(60)])
    for group, build in GROUPS.items():
        base = fill(build(), 0, 0.05)
        for seed, name in enumerate(("base", "math", "code", "chat")):
            model = base if seed == 0 else fill(build(), seed, 0.01, base)
            model.save_pretrained(folder / group / name)
            if group != "vit":
                plain.save_pretrained(folder / group / name)
            if group == "llama":
                model.save_pretrained(folder / "sharded" / name, max_shard_size="40KB")
                for kind in ("bf16", "mixed"):
                    stored = model if kind == "mixed" and name == "math" else build().to(torch.bfloat16)
                    if stored is not model:
                        stored.load_state_dict(model.to(torch.bfloat16).state_dict())
                        model.to(torch.float32)
                    stored.save_pretrained(folder / kind / name)
                model.save_pretrained(folder / "templates" / name)
                templated = tokenizer([f"w{number}" for number in range(60)], template=TEMPLATES[name])
                templated.save_pretrained(folder / "templates" / name)
    for seed, (name, (pieces, added, rows)) in enumerate(VOCABULARIES.items()):
        fill(GROUPS["llama"](rows, num_hidden_layers=2), seed, 0.05).save_pretrained(folder / "vocabularies" / name)
        tokenizer(pieces, added).save_pretrained(folder / "vocabularies" / name)
    write_adapter(folder)
    write_stored_heads(folder)


def write_stored_heads(folder: Path) -> None:
    """The tied models with their head stored a second time, as older libraries did."""
    for name in ("base", "math", "code"):
        tensors = load_file(folder / "tied" / name / "model.safetensors")
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
        shutil.copytree(folder / "tied" / name, folder / "tied, head stored" / name)
        save_file(tensors, folder / "tied, head stored" / name / "model.safetensors", metadata={"format": "pt"})


def write_adapter(folder: Path) -> None:
    from peft import LoraConfig, get_peft_model

    model = t.AutoModelForCausalLM.from_pretrained(folder / "llama" / "math")
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj", "down_proj"]))
    generator = torch.Generator().manual_seed(9)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator).mul_(0.1)
    adapted.save_pretrained(folder / "llama" / "adapter")


def cases() -> dict[str, tuple[str, str]]:
    """Name -> (group, YAML)."""
    found = {name: ("llama", relative(text)) for name, text in CASES.items()}
    for group in GROUPS:
        if group != "llama":  # the cases above
            for method, text in (("linear", LINEAR), ("ties", TIES), ("slerp", SLERP)):
                found[f"{group}: {method}"] = (group, text.format(group=group))
    found["tied, head stored: linear"] = (
        "tied, head stored",
        "models: [{model: 'tied, head stored/math'}, {model: 'tied, head stored/code'}]\nmerge_method: linear\n"
        "parameters: {weight: 0.5}",
    )
    for group in ("bf16", "mixed", "sharded"):
        for method, text in (("linear", LINEAR), ("ties", TIES), ("slerp", SLERP), ("task arithmetic", ARITHMETIC)):
            found[f"{group}: {method}"] = (group, text.format(group=group))
    for group, dtype in (("bf16", "dtype: float32"), ("llama", "dtype: bfloat16"), ("llama", "out_dtype: bfloat16")):
        found[f"{group}: ties, {dtype}"] = (group, TIES.format(group=group) + dtype)
        found[f"{group}: linear, {dtype}"] = (group, LINEAR.format(group=group) + dtype)
    found["bf16: ties, dtype: float32, out_dtype: bfloat16"] = (
        "bf16",
        TIES.format(group="bf16") + "dtype: float32\nout_dtype: bfloat16",
    )
    found["model+adapter: linear"] = (
        "llama",
        "models: [{model: llama/math+llama/adapter}, {model: llama/code}]\nmerge_method: linear\nparameters: {weight: 0.5}",
    )
    found["model+adapter: ties"] = (
        "llama",
        "models: [{model: llama/math+llama/adapter}, {model: llama/code}]\nbase_model: llama/base\nmerge_method: ties\n"
        "parameters: {weight: 0.5, density: 0.4}",
    )
    found.update(random_cases())
    found.update(vocabulary_cases())
    for name, text in (("auto", "chat_template: auto"), ("given", "chat_template: '{{ messages }}{{ bos_token }}'")):
        found[f"chat template: {name}"] = ("templates", ARITHMETIC.format(group="templates") + text)
    found["chat template: auto, the most frequent"] = (
        "templates",
        "models: [{model: templates/math}, {model: templates/chat}]\nmerge_method: linear\nbase_model: templates/base\n"
        "parameters: {weight: 0.5}\nchat_template: auto",
    )
    found["chat template: auto, nobody has one"] = ("llama", LINEAR.format(group="llama") + "chat_template: auto")
    found["chat template: by name"] = ("llama", LINEAR.format(group="llama") + "chat_template: chatml")
    return found


def random_cases() -> dict[str, tuple[str, str]]:
    found = {}
    for method in ("dare_linear", "dare_ties", "della_linear", "della"):
        for rescale in ("true", "false"):
            found[f"random: {method}, one model, rescale {rescale}"] = (
                "llama",
                "models: [{model: llama/math, parameters: {weight: 1, density: 0.4}}]\nbase_model: llama/base\n"
                f"merge_method: {method}\nparameters: {{rescale: {rescale}}}",
            )
    return found


def vocabulary_cases() -> dict[str, tuple[str, str]]:
    def of(names: str, method: str, more: str) -> tuple[str, str]:
        models = ", ".join(f"{{model: vocabularies/{name}}}" for name in names.split())
        return "vocabularies", f"models: [{models}]\nmerge_method: {method}\nparameters: {{weight: 0.5}}\n{more}"

    base = "base_model: vocabularies/base\n"
    tokens = "tokenizer:\n  source: union\n  pad_to_multiple_of: 16\n  tokens:\n    "
    forced = tokens + "<x>: {source: vocabularies/code, force: true}"
    lent = tokens + "<m>: {source: vocabularies/code}\n    a: {source: vocabularies/math}"
    added = tokens.replace("union", "vocabularies/math") + "<c>: {source: vocabularies/code, force: true}"
    multiple = "tokenizer: {source: base, pad_to_multiple_of: 8}"
    return {
        "tokens: union": of("math code", "task_arithmetic", base + "tokenizer_source: union"),
        "tokens: union, linear without a base": of("math code", "linear", "tokenizer_source: union"),
        "tokens: base": of("math code", "task_arithmetic", base + "tokenizer_source: base"),
        "tokens: base, three models": of("math code chat", "ties", base + "tokenizer_source: base"),
        "tokens: of a model": of("math code", "task_arithmetic", base + "tokenizer_source: vocabularies/math"),
        "tokens: union of what the base has anyway": of("chat", "task_arithmetic", base + "tokenizer_source: union"),
        "tokens: union, rows padded, one forced": of("math code", "task_arithmetic", base + forced),
        "tokens: union, rows padded, two lent": of("math code", "task_arithmetic", base + lent),
        "tokens: of a model, one added": of("math code", "task_arithmetic", base + added),
        "tokens: base, linear, listed first": of("base math code", "linear", base + "tokenizer_source: base"),
        "tokens: union in bf16": of("math code", "task_arithmetic", base + "tokenizer_source: union\ndtype: bfloat16"),
        "tokens: a model with padding": of("padded", "task_arithmetic", base + "tokenizer_source: base"),
        "tokens: equal, all padded": (
            "vocabularies",
            "models: [{model: vocabularies/padded}]\nbase_model: vocabularies/padded\nmerge_method: passthrough\n"
            "tokenizer_source: base",
        ),
        "tokens: base with multiples": of("math", "task_arithmetic", base + multiple),
        "tokens: nothing said, sizes differ": of("math", "task_arithmetic", base),
        "tokens: nothing said, tokens differ": of("renamed", "task_arithmetic", base),
    }


def relative(text: str) -> str:
    """The configurations of the tests name models `base`, `math`, `code` and `chat`."""
    import textwrap

    import yaml

    data = yaml.safe_load(textwrap.dedent(text))

    def walk(value: object) -> object:
        if isinstance(value, dict):
            return {
                key: f"llama/{inner}" if key in ("model", "base_model") and isinstance(inner, str) else walk(inner)
                for key, inner in value.items()
            }
        return [walk(item) for item in value] if isinstance(value, list) else value

    return yaml.safe_dump(walk(data), sort_keys=False)
