"""Each mistake a user can make is one sentence with its path, exit code 2, and nothing written."""

import json
import os

import PIL.Image
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from transformers import (
    LlamaConfig,
    LlamaForSequenceClassification,
    Qwen3Config,
    Qwen3ForCausalLM,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from hf_compress import CompressionError, Recipe
from hf_compress._problems import RecipeError
from hf_compress._yaml import write_yaml
from tests.small import DROP, pretrained, recipe, text_rows, write_images, write_jsonl, write_model
from tests.tiny import VOCAB, tiny_llama, tiny_tokenizer, tiny_vit

POINT = "is not a point in training; write a step (300) or a share ('60%')"
SHARE = "is not a sparsity; it is the share of zeros, in [0, 1)"

RECIPE_MISTAKES = {
    # keys
    "unknown key": ({"prunning": {}}, "prunning: unknown key 'prunning'; did you mean 'pruning'?"),
    "unknown nested key": (
        {"pruning.schedule.finall": 0.3},
        "pruning.schedule.finall: unknown key 'finall'; did you mean 'final'?",
    ),
    "unknown training key": (
        {"training.learning_rat": 1e-3},
        "training.learning_rat: unknown key 'learning_rat'; did you mean",
    ),
    "unknown dense key": (
        {"dense.training": {"max_step": 3}},
        "dense.training.max_step: unknown key 'max_step'; did you mean",
    ),
    "missing job": ({"job": DROP}, "job: is missing (known: "),
    "unknown job": ({"job": "trian"}, "job: unknown job 'trian'; did you mean 'train'?"),
    "job as a list": ({"job": ["train"]}, "job: is missing (known: "),
    "missing task": ({"task": DROP}, "task: is missing"),
    "unknown task": ({"task": "causal_ml"}, "task: unknown task 'causal_ml'; did you mean 'causal_lm'?"),
    "empty task": ({"task": None}, "given, the name of a task expected, or a mapping with `name` (known: "),
    "task as a list": ({"task": ["causal_lm"]}, "task: a list given, the name of a task expected"),
    # kinds of values
    "data as text": ({"data": "train.jsonl"}, "data: 'train.jsonl' (text) given, a mapping with path, "),
    "data as a list": ({"data": [{"path": "x"}]}, "data: a list given, a mapping with path, "),
    "training empty": ({"training": None}, "training: nothing given, a mapping expected"),
    "training as a list": ({"training": [1]}, "training: a list given, a mapping expected"),
    "dense training empty": ({"dense": {"training": None}}, "dense.training: nothing given, a mapping expected"),
    "pruning as text": ({"pruning": "magnitude"}, "pruning: 'magnitude' (text) given, a mapping with criterion, "),
    "quantization as text": ({"quantization": "W4A16"}, "quantization: 'W4A16' (text) given, a mapping with scheme, "),
    "model as a number": ({"model": 3}, "model: 3 (a whole number) given, text or a mapping with config expected"),
    "model empty": ({"model": None}, "model: nothing given, text or a mapping with config expected"),
    "losses as text": (
        {"distillation.losses": "forward_kl"},
        "distillation.losses: 'forward_kl' (text) given, a list expected: [",
    ),
    "loss without weight": (
        {"distillation.losses": ["forward_kl"]},
        "distillation.losses.0: 'forward_kl' (text) given, a mapping with weight, loss",
    ),
    "targets as text": ({"pruning.targets": "Linear"}, "pruning.targets: 'Linear' (text) given, a list expected: [Linear]"),
    "targets empty": ({"pruning.targets": []}, "pruning: pruning.targets is empty; name what to prune"),
    "length as text": ({"task.length": "long"}, "task.length: 'long' (text) given, a whole number expected"),
    "text as a number": ({"task.text": 5}, "task.text: 5 (a whole number) given, text expected"),
    "group size as text": (
        {"quantization.scheme": {"name": "W4A16", "group_size": "32"}},
        "quantization.scheme.group_size: '32' (text) given, a whole number expected",
    ),
    "flag as a number": (
        {"evaluation": {"untrained": 1}},
        "evaluation.untrained: 1 (a whole number) given, true or false expected",
    ),
    "a number as a key": ({"training": {7: 1}}, "training: the key 7 (a whole number) given, text expected"),
    "layers beyond reason": (
        {"model.config.num_hidden_layers": 10**9},
        "model: config: num_hidden_layers=1000000000 is more than any model has; write at most 1000",
    ),
    "more layers than can be tried in a moment": (
        {"model.config.num_hidden_layers": 2000},
        "model: config: num_hidden_layers=2000 is more than any model has; write at most 1000",
    ),
    "a width beyond reason": (
        {"model.config.intermediate_size": 64 * 10**12, "pruning": {}},
        "model: the config makes model.layers.0.mlp.gate_proj.weight 64000000000000 x 32 large; correct its sizes",
    ),
    "labels beyond reason": (
        {"model.config.num_labels": 10**12},
        "model: config: num_labels=1000000000000 is more than any model has",
    ),
    "teacher as a mapping": (
        {"distillation.teacher": {"name": "model", "model": {"a": 1}}},
        "distillation.teacher.model: a mapping given, text expected",
    ),
    # strategies
    "unknown criterion": (
        {"pruning.criterion": "magnitud"},
        "pruning.criterion: unknown criterion 'magnitud'; did you mean 'magnitude'?",
    ),
    "criterion as a number": (
        {"pruning.criterion": 5},
        "pruning.criterion: 5 (a whole number) given, the name of a criterion expected",
    ),
    "schedule without name": ({"pruning.schedule": {"final": 0.5}}, "pruning.schedule: a schedule needs a `name` (known: "),
    "unknown scheme": ({"quantization.scheme": "W4A17"}, "quantization.scheme: unknown scheme 'W4A17'; did you mean"),
    "group size without groups": (
        {"quantization.scheme": {"name": "W8A8", "group_size": 32}},
        "quantization.scheme: scheme W8A8 has one scale per channel",
    ),
    "teacher as text": (
        {"distillation.teacher": "./teacher"},
        "distillation.teacher: unknown teacher './teacher' (known: model)",
    ),
    "teacher type": (
        {"distillation.teacher": {"name": "model", "dtype": "int8"}},
        "distillation.teacher: dtype='int8' is not a floating torch type",
    ),
    "temperature": (
        {"distillation.losses": [{"weight": 0.5, "loss": {"name": "forward_kl", "temperature": 0}}]},
        "distillation.losses.0.loss: temperature=0.0 must be above 0",
    ),
    "loss weight 0": ({"distillation.losses": [{"weight": 0}]}, "distillation.losses.0: weight=0.0 must be above 0"),
    "weights above 1": (
        {"distillation.losses": [{"weight": 0.7}, {"weight": 0.7}]},
        "distillation: the distillation weights sum to 1.4",
    ),
    "pattern and sparsity": (
        {"pruning.pattern": "n_m", "pruning.schedule.final": 0.6},
        "pruning: a 2:4 pattern has sparsity 0.5",
    ),
    # sparsity and points
    "sparsity 1": ({"pruning.schedule.final": 1.0}, f"pruning.schedule: final=1.0 {SHARE}"),
    "sparsity negative": ({"pruning.schedule.final": -0.1}, f"pruning.schedule: final=-0.1 {SHARE}"),
    "sparsity in percent": ({"pruning.schedule.final": 50}, f"pruning.schedule: final=50.0 {SHARE}"),
    "sparsity true": (
        {"pruning.schedule.final": True},
        "pruning.schedule.final: True (true or false) given, a number expected",
    ),
    "sparsity as text": (
        {"pruning.schedule.final": "0.5"},
        "pruning.schedule.final: '0.5' (text) given, a number expected",
    ),
    "sparsity not a number": (
        {"pruning.schedule.final": float("nan")},
        "pruning.schedule.final: nan is not a finite number",
    ),
    "bare float point": ({"pruning.schedule.begin": 0.5}, f"pruning.schedule.begin: begin=0.5 {POINT}"),
    "bare float beginning": ({"quantization.begin": 0.5}, f"quantization.begin: begin=0.5 {POINT}"),
    "point as a word": ({"pruning.schedule.end": "half"}, f"pruning.schedule.end: end='half' {POINT}"),
    "point true": ({"pruning.schedule.begin": True}, f"pruning.schedule.begin: begin=True {POINT}"),
    "point negative": ({"pruning.schedule.begin": -1}, "pruning.schedule.begin: begin=-1 is negative; steps count from 0"),
    "point over 100%": ({"quantization.begin": "150%"}, "quantization.begin: begin='150%' is after the end of training"),
    "points swapped": (
        {"pruning.schedule.begin": 3, "pruning.schedule.end": 2},
        "pruning.schedule: begin=3 is after end=2; swap them",
    ),
    "points of two kinds swapped": (
        {"pruning.schedule.begin": "90%", "pruning.schedule.end": 2},
        "pruning.schedule: the pruning schedule begins at step 4, after its end at step 2",
    ),
    "every 0": ({"pruning.schedule.every": 0}, "pruning.schedule: every=0 is not a number of steps"),
    "pruning ends late": (
        {"pruning.schedule.end": 5},
        "pruning.schedule: the pruning schedule ends at step 5, but training has 4 steps",
    ),
    "quantization begins late": (
        {"quantization.begin": 4},
        "quantization.begin: quantization begins at step 4, but training has 4 steps",
    ),
    # sections that do not go together
    "nothing to do": (
        {"pruning": DROP, "quantization": DROP, "distillation": DROP},
        "nothing to do: name at least one of shrink, pruning",
    ),
    "dense export of int4": (
        {"export": {"format": "dense"}},
        "export.format: a dense checkpoint would lose the quantization",
    ),
    "packed export of floats": (
        {"export": {"format": "compressed-tensors"}, "quantization": DROP},
        "export.format: compressed-tensors stores quantized weights",
    ),
    "unknown export": (
        {"export": {"format": "gguf"}},
        "export.format: unknown export format 'gguf' (known: auto, compressed-tensors, dense, executorch, onnx, openvino)",
    ),
    "unknown stored type": ({"export": {"dtype": "int8"}}, "export.dtype: unknown value 'int8'"),
    "fresh model without dense": (
        {"dense": DROP},
        "dense: is missing: fresh weights must be trained before they are compressed; write `dense: {}`",
    ),
    "fresh model without tokenizer": (
        {"tokenizer": DROP},
        "tokenizer: is missing: fresh weights have none; write vocab_size: 4096",
    ),
    "small vocabulary": ({"tokenizer": {"vocab_size": 100}}, "tokenizer: vocab_size=100 leaves no room for merges"),
    "dense output_dir": ({"dense": {"training": {"output_dir": "x"}}}, "dense: training.output_dir cannot be set here"),
    # training
    "learning rate as text": (
        {"training.learning_rate": "1e-4"},
        "training.learning_rate: '1e-4' (text) given, a number expected",
    ),
    "learning rate negative": ({"training.learning_rate": -1.0}, "training.learning_rate: -1.0 must be 0 or more"),
    "learning rate infinite": (
        {"training.learning_rate": float("inf")},
        "training.learning_rate: inf is not a finite number",
    ),
    "steps negative": ({"training.max_steps": -5}, "training.max_steps: -5 must be 1 or more"),
    "steps 0": ({"training.max_steps": 0}, "training.max_steps: 0 must be 1 or more"),
    "epochs 0": (
        {"training.max_steps": DROP, "training.num_train_epochs": 0},
        "training.num_train_epochs: 0 must be above 0",
    ),
    "batch size 0": (
        {"training.per_device_train_batch_size": 0},
        "training.per_device_train_batch_size: 0 must be 1 or more",
    ),
    "accumulation 0": (
        {"training.gradient_accumulation_steps": 0},
        "training.gradient_accumulation_steps: 0 must be 1 or more",
    ),
    "workers negative": ({"training.dataloader_num_workers": -1}, "training.dataloader_num_workers: -1 must be 0 or more"),
    "seed as text": ({"training.seed": "abc"}, "training.seed: 'abc' (text) given, a whole number expected"),
    "seed negative": ({"training.seed": -1}, "training.seed: -1 must lie between 0 and"),
    "seed too large": ({"training.seed": 2**40}, "must lie between 0 and 2**32 - 1"),
    "unknown scheduler": (
        {"training.lr_scheduler_type": "cosin"},
        "training.lr_scheduler_type: unknown value 'cosin'; did you mean 'cosine'?",
    ),
    "save strategy false": (
        {"training.save_strategy": False},
        "training.save_strategy: False (true or false) given, one of no, steps",
    ),
    "save and eval differ": (
        {"training.load_best_model_at_end": True},
        "training: --load_best_model_at_end requires the save and eval strategy to match",
    ),
    "two precisions": (
        {"training.bf16": True, "training.fp16": True},
        "training: At most one of fp16 and bf16 can be True",
    ),
    "unknown metric": (
        {"training.metric_for_best_model": "perplexity"},
        "training.metric_for_best_model: unknown metric of causal_lm 'perplexity' (known: loss);"
        " evaluations while training give it as the loss: write loss",
    ),
    "own checkpoint": (
        {"training.resume_from_checkpoint": "x"},
        "training.resume_from_checkpoint: a run finds its own checkpoints; leave this out and run with --resume",
    ),
    "push": ({"training.push_to_hub": True}, "training.push_to_hub: pushes checkpoints and not the result"),
    "FSDP": ({"training.fsdp": "full_shard"}, "training: fsdp is set and this is one process, which has nobody to share"),
    "FSDP settings": (
        {"training.fsdp": True, "training.fsdp_config": {"versoin": 2}},
        "training.fsdp_config.versoin: unknown key 'versoin'; did you mean 'version'?",
    ),
    "DeepSpeed": ({"training.deepspeed": "ds.json"}, "training.deepspeed: there is no file ds.json"),
    "no output_dir": ({"training.output_dir": DROP}, "training.output_dir: is missing; name the folder"),
    "empty output_dir": ({"training.output_dir": ""}, "training.output_dir: is missing; name the folder"),
    "output_dir as a number": ({"training.output_dir": 5}, "training.output_dir: 5 (a whole number) given, text expected"),
    # data section
    "path empty": ({"data.path": ""}, "data: path is empty; name a file, a folder, a Hub data set or builtin:pydoc"),
    "length of the data": (
        {"data.length": 512},
        "data.length: columns and length belong to the task now; write task: {name: ..., length: 512}",
    ),
    "a class twice": (
        {"task": {"name": "sequence_classification", "classes": ["a", "b", "a"]}},
        "task: classes names 'a' twice; name each class once, in the order of their ids",
    ),
    "column of the data": ({"data.text": "txt"}, "write task: {name: ..., text: txt}"),
    "length 0": ({"task.length": 0}, "task: length=0 must be 1 or more"),
    "length 1": ({"task.length": 1}, "task: length=1 is too short: the first token of a block predicts the second"),
    "share": ({"data.validation_share": 0.9}, "data: validation_share=0.9 must lie between 0 and 0.5"),
    "max_train 0": ({"data.max_train": 0}, "data: max_train=0 must be 1 or more"),
    "evaluation batch 0": ({"evaluation": {"batch_size": 0}}, "evaluation: batch_size=0 must be 1 or more"),
}

FRESH_MISTAKES = {
    # found by opening data and model
    "reports": ({"training.report_to": "foo"}, "training: foo is not supported, only "),
    "optimizer value": ({"training.adam_beta1": 2.0}, "training: Invalid beta parameter at index 0: 2.0"),
    "dense reports": ({"dense.training.report_to": "foo"}, "dense.training: foo is not supported, only "),
    "scheduler arguments": (
        {"training.lr_scheduler_kwargs": {"foo": 1}},
        "training: get_linear_schedule_with_warmup() got an unexpected keyword argument 'foo'",
    ),
    "label smoothing": (
        {"training.label_smoothing_factor": 0.1},
        "training: distillation and label_smoothing_factor exclude each other",
    ),
    "batch size search": ({"training.auto_find_batch_size": True}, "training: auto_find_batch_size restarts training"),
    "targets": (
        {"pruning.targets": ["Conv2d"]},
        "pruning.targets: 'Conv2d' matches no module; the model has Embedding x1, Linear x15",
    ),
    "quantized targets": ({"quantization.targets": ["Linar"]}, "quantization.targets: 'Linar' matches no module"),
    "all ignored": ({"pruning.ignore": ["Linear"]}, "pruning: every module that targets=['Linear'] matches is ignored"),
    "target without matrix": (
        {"pruning.targets": ["LlamaRMSNorm"]},
        "pruning.targets: LlamaRMSNorm has no (out, in) weight matrix",
    ),
    "2:4 of an embedding": (
        {"pruning.targets": ["Embedding"], "pruning.pattern": "n_m"},
        "n_m groups neighbouring inputs, and those of an embedding are ids",
    ),
    "regular expression": ({"pruning.targets": ["re:("]}, "pruning: 're:(' is not a regular expression"),
    "tied": (
        {"model.config.tie_word_embeddings": True, "pruning.targets": ["Linear", "lm_head"], "pruning.ignore": []},
        "pruning: lm_head cannot be compressed: its weight is tied to model.embed_tokens",
    ),
    "group size": (
        {"quantization.scheme": {"name": "W4A16", "group_size": 64}},
        "group_size=64 does not divide the 32 inputs of model.layers.0.self_attn.q_proj; set scheme.group_size to 32",
    ),
    "pattern width": (
        {"pruning.pattern": {"name": "n_m", "n": 3, "m": 6}},
        "pruning.pattern: model.layers.0.self_attn.q_proj: m=6 does not divide the 32 inputs",
    ),
    "model type": (
        {"model.config.model_type": "lama"},
        "model.config.model_type: unknown architecture 'lama'; did you mean 'llama'?",
    ),
    "model type without a config": (
        {"model": {"config": {"model_type": "nougat"}}},
        "model.config.model_type: nougat has no default config to start from",
    ),
    "model type of another task": (
        {"model": {"config": {"model_type": "vit", "hidden_size": 32}}},
        "model: vit has no AutoModelForCausalLM",
    ),
    "encoder as a language model": (
        {
            "model": {
                "config": {"model_type": "bert", "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 1}
            },
            "pruning.ignore": ["re:.*decoder"],
            "quantization.ignore": ["re:.*decoder"],
            "quantization.scheme": "W8A8",
        },
        "model: bert is an encoder that sees the tokens it should predict",
    ),
    "config key": (
        {"model.config.hiden_size": 3},
        "model.config.hiden_size: unknown key of a llama config 'hiden_size'; did you mean 'hidden_size'?",
    ),
    "config heads": (
        {"model.config.num_attention_heads": 3},
        "The hidden size (32) is not a multiple of the number of attention heads (3)",
    ),
    "config value as text": ({"model.config.hidden_size": "32"}, "Field 'hidden_size' expected int, got str (value: '32')"),
    "config activation": (
        {"model.config.hidden_act": "gellu"},
        "model: the config makes no llama model: 'gellu' is missing or unknown there",
    ),
    "config vocabulary": ({"model.config.vocab_size": 100}, "model.config.vocab_size: the data and tokenizer decide this"),
    "length beyond positions": ({"task.length": 65}, "task.length: 65 tokens are more than the model's 64 positions"),
    "teacher path": (
        {"distillation.teacher": {"name": "model", "model": "./nowhere"}},
        "distillation.teacher.model: there is no folder './nowhere'",
    ),
    "missing file": ({"data.path": "nowhere.jsonl"}, "data.path: there is no file or folder nowhere.jsonl"),
    "missing folder": ({"data.path": "./nowhere"}, "data.path: there is no file or folder nowhere"),
    "unknown built-in": (
        {"data.path": "builtin:pydocs"},
        "data.path: unknown built-in data 'builtin:pydocs'; did you mean 'builtin:pydoc'?",
    ),
    "no data set of that name": (
        {"data.path": "nobody/nothing"},
        "data.path: 'nobody/nothing' is not a local file or folder, and the Hub data set could not be loaded",
    ),
    "column": ({"task.text": "txt"}, "task.text: unknown column of the train split of "),
    "name of a file": ({"data.name": "plain"}, "data.name: 'plain' is for Hub data sets"),
    "pruning ends after the epochs": (
        {"training.max_steps": DROP, "training.num_train_epochs": 1, "pruning.schedule.end": 500},
        "pruning.schedule: the pruning schedule ends at step 500, but training has ",
    ),
    "quantization begins after the epochs": (
        {"training.max_steps": DROP, "training.num_train_epochs": 1, "quantization.begin": 500},
        "quantization.begin: quantization begins at step 500, but training has ",
    ),
    "a best model that no evaluation finds": (
        {"training.eval_strategy": "steps", "training.save_strategy": "best", "training.eval_delay": 5}
        | {"training.metric_for_best_model": "loss"},
        "eval_delay below the end of training",
    ),
    "a best model that no evaluation finds, counted": (
        {"training.max_steps": DROP, "training.num_train_epochs": 1, "training.load_best_model_at_end": True}
        | {"training.eval_strategy": "steps", "training.save_strategy": "steps", "training.eval_delay": 10**4},
        "training.eval_delay: a best model is asked for (load_best_model_at_end, save_strategy 'best' or early stopping)",
    ),
    "every example dropped": (
        {"training.dataloader_drop_last": True, "training.per_device_train_batch_size": 10**5},
        "training.dataloader_drop_last: drops all ",
    ),
}


@pytest.mark.parametrize("mistake", [*RECIPE_MISTAKES, *FRESH_MISTAKES])
def test_a_mistake_is_one_sentence(mistake, refused):
    changes, expected = {**RECIPE_MISTAKES, **FRESH_MISTAKES}[mistake]
    complaints = refused(changes)
    assert len(complaints) == 1, complaints
    assert expected in complaints[0]


FROM_PYTHON = {
    "too many digits for a number": (
        {"distillation.losses": [{"weight": 10**400}]},
        "distillation.losses.0.weight: inf is not a finite number",
    ),
    "bytes in a config": (
        {"model.config.hidden_size": b"bytes"},
        r"model.config.hidden_size: only text, numbers, true, false, lists and mappings are recorded",
    ),
}


@pytest.mark.parametrize("mistake", FROM_PYTHON)
def test_what_no_file_can_say_is_one_sentence_too(mistake, tmp_path):
    changes, expected = FROM_PYTHON[mistake]
    with pytest.raises(RecipeError, match=expected) as refusal:
        Recipe.from_plain(recipe(tmp_path, changes))
    assert len(refusal.value.problems) == 1


def test_check_finds_what_run_finds(call, tmp_path):
    write_jsonl(tmp_path / "train.jsonl", text_rows())
    file = tmp_path / "recipe.yaml"
    for changes, expected in FRESH_MISTAKES.values():
        file.write_text(write_yaml(recipe(tmp_path, changes)))
        code, out, complaints = call("check", file)
        assert (code, out) == (2, "") and len(complaints) == 1
        assert expected in complaints[0]


def test_all_mistakes_of_a_recipe_are_named_at_once(refused):
    changes = {
        "prunning": {},
        "task": "causal_ml",
        "data.lenght": 3,
        "pruning.schedule.final": 2.0,
        "quantization.begin": 0.5,
        "distillation.losses": [{"weight": -1}],
        "training.learnin_rate": 1,
        "training.seed": "x",
    }
    paths = [complaint.split(": ")[0] for complaint in refused(changes)]
    assert sorted(paths) == [
        "data.lenght",
        "distillation.losses.0",
        "pruning.schedule",
        "prunning",
        "quantization.begin",
        "task",
        "training.learnin_rate",
        "training.seed",
    ]


def test_mistakes_of_every_kind_are_named_at_once(refused, call, tmp_path):
    changes = {
        "title": 5,
        "prunning": {},
        "model.config.hiden_size": 3,
        "model.config.vocab_size": 100,
        "tokenizer.vocab_size": 10,
        "data.path": "nowhere.jsonl",
        "dense.training": {"max_step": 3, "seed": -1},
        "pruning.criterion": "magnitud",
        "pruning.schedule": {"name": "cubic", "final": 2.0, "begin": 0.5},
        "quantization.begin": 4,
        "distillation": {"losses": [{"weight": -1}], "teacher": {"name": "model", "dtype": "int8"}},
        "training.learnin_rate": 1,
        "training.save_steps": "often",
        "training.output_dir": str(write(tmp_path, "thesis.txt", "mine")),
        "evaluation": {"batch_size": 0},
        "export": {"format": "dense", "dtypo": "int8"},
    }
    complaints = refused(changes)
    assert sorted(complaint.split(": ")[0] for complaint in complaints) == [
        "data.path",
        "dense.training.max_step",
        "dense.training.seed",
        "distillation.losses.0",
        "distillation.teacher",
        "evaluation",
        "export.dtypo",
        "model.config.hiden_size",
        "model.config.vocab_size",
        "pruning.criterion",
        "pruning.schedule",
        "pruning.schedule.begin",
        "prunning",
        "quantization.begin",
        "title",
        "tokenizer",
        "training.learnin_rate",
        "training.output_dir",
        "training.save_steps",
    ]
    assert call("check", tmp_path / "recipe.yaml") == (2, "", complaints)


def test_the_best_model_is_chosen_by_a_metric_that_evaluations_give(refused):
    """Known only where the section that names metrics is right."""
    complaints = refused({"title": 5, "training.metric_for_best_model": "perplexity"})
    assert sorted(complaint.split(": ")[0] for complaint in complaints) == ["title", "training.metric_for_best_model"]


SOURCES = {
    "data file": ({"data.path": "nowhere.jsonl"}, "data.path"),
    "column": ({"task.text": "txt"}, "task.text"),
    "label": ({"task.name": "sequence_classification", "task.label": "lable"}, "task.label"),
    "architecture": ({"model.config.model_type": "lama"}, "model.config.model_type"),
    "config value": ({"model.config.num_attention_heads": 3}, "model.config"),
    "model folder": (pretrained("./nowhere"), "model"),
    "tokenizer folder": ({"tokenizer": "./nowhere"}, "tokenizer"),
    "teacher folder": ({"distillation.teacher": {"name": "model", "model": "./nowhere"}}, "distillation.teacher.model"),
    "reporter": ({"training.report_to": "foo"}, "training"),
}
ELSEWHERE = {
    "a wrong section": ({"evaluation": {"batch_size": 0}}, "evaluation"),
    "two sections that do not go together": ({"export": {"format": "dense"}}, "export.format"),
}


@pytest.mark.parametrize("elsewhere", ELSEWHERE)
@pytest.mark.parametrize("source", SOURCES)
def test_a_mistake_elsewhere_hides_no_mistake_in_what_a_section_names(source, elsewhere, refused):
    changes, path = SOURCES[source]
    also, also_path = ELSEWHERE[elsewhere]
    assert [complaint.split(": ")[0] for complaint in refused({**changes, **also})] == [also_path, path]


def test_without_a_task_the_data_is_opened_and_its_columns_are_not_judged(refused):
    assert [complaint.split(": ")[0] for complaint in refused({"task": "causal_ml", "task.text": "txt"})] == ["task"]
    complaints = refused({"task": "causal_ml", "data.path": "nowhere.jsonl", "model.config.model_type": "lama"})
    assert [complaint.split(": ")[0] for complaint in complaints] == ["task", "data.path", "model.config.model_type"]


def test_a_wrong_seed_does_not_keep_the_data_from_being_opened(refused):
    complaints = refused({"training.seed": -1, "task.text": "txt"})
    assert [complaint.split(": ")[0] for complaint in complaints] == ["training.seed", "task.text"]


def test_a_refused_folder_hides_no_mistake_in_data_and_model(refused, tmp_path):
    thesis = str(write(tmp_path, "thesis.txt", "mine"))
    complaints = refused({"training.output_dir": thesis, "data.path": "nowhere.jsonl"})
    assert [complaint.split(": ")[0] for complaint in complaints] == ["data.path", "training.output_dir"]


def test_reading_a_recipe_from_python_opens_no_data(tmp_path):
    plain = recipe(tmp_path, {"data.path": "nowhere.jsonl", "evaluation": {"batch_size": 0}})
    with pytest.raises(RecipeError) as refusal:
        Recipe.from_plain(plain)
    assert [problem.path for problem in refusal.value.problems] == ["evaluation"]
    with pytest.raises(RecipeError) as refusal:
        Recipe.from_plain(plain, sources=True)
    assert [problem.path for problem in refusal.value.problems] == ["evaluation", "data.path"]


def test_mistakes_between_sections_are_named_together(refused):
    changes = {"dense": DROP, "tokenizer": DROP, "training.max_steps": 0, "export": {"format": "dense"}}
    paths = [complaint.split(": ")[0] for complaint in refused(changes)]
    assert sorted(paths) == ["dense", "export.format", "tokenizer", "training.max_steps"]


def test_mistakes_in_data_model_and_targets_are_named_together(refused):
    changes = {
        "data.path": "nowhere.jsonl",
        "task.length": 100,
        "pruning.targets": ["Conv2d"],
        "quantization.scheme": "W4A16",
    }
    changes["training.report_to"] = "foo"
    paths = [complaint.split(": ")[0] for complaint in refused(changes)]
    assert paths == ["training", "data.path", "task.length", "pruning.targets", "quantization"]


# Data files


def write(folder, name, content):
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content) if isinstance(content, bytes) else file.write_text(content)
    return file


TEXTS = "".join(json.dumps(row) + "\n" for row in text_rows(30))
BAD_FILES = {
    "no bytes": ("data.jsonl", "", "is empty; it needs rows"),
    "blank lines": ("data.jsonl", "\n\n", "is empty; it needs rows"),
    "blank text": ("data.txt", "   \n", "is empty; it needs rows"),
    "two rows": ("data.jsonl", '{"text": "a"}\n{"text": "b"}\n', "has 2 rows, too few to cut a test split from them"),
    "broken JSON": ("data.jsonl", '{"text": "a"\n{]', "cannot be read: JSON parse error"),
    "numbers": ("data.jsonl", "1\n2\n3\n", "cannot be read: JSON parse error"),
    "broken CSV": ("data.csv", 'text,label\n"abc,1\nx,2,3,4\n', "cannot be read: Error tokenizing data"),
    "not parquet": ("data.parquet", b"nope" * 10, "cannot be read: Parquet magic bytes not found"),
    "not UTF-8": ("data.txt", bytes(range(256)) * 30, "cannot be read: 'utf-8' codec can't decode"),
    "unknown ending": ("data.xyz", "text", "has an unknown ending; known: .parquet, .jsonl, .json, .csv, .tsv, .txt"),
}


@pytest.mark.parametrize("mistake", BAD_FILES)
def test_a_data_file_that_is_none_is_refused(mistake, refused, tmp_path):
    name, content, expected = BAD_FILES[mistake]
    complaints = refused({"data.path": str(write(tmp_path, name, content))})
    assert len(complaints) == 1, complaints
    assert complaints[0].startswith("data.path: ") and expected in complaints[0] and name in complaints[0]


BAD_ROWS = {
    "another separator": (
        "data.csv",
        "text;label\n" + "one;0\ntwo;1\n" * 6,
        "task.text: unknown column of the train split of {} 'text' (known: text;label); a .csv"
        " file has commas between its columns, and a .tsv file tabs",
    ),
    "no header": (
        "data.csv",
        "a cat sat,0\n" * 9,
        "task.text: unknown column of the train split of {} 'text' (known: 0, a cat sat)",
    ),
    "values of several kinds": (
        "data.jsonl",
        '{"text": "a"}\n{"text": 5}\n{"text": [1]}\n' * 3,
        "task.text: column 'text' of the train split of {} holds values of several kinds, not text",
    ),
}


@pytest.mark.parametrize("mistake", BAD_ROWS)
def test_a_file_that_is_read_otherwise_than_it_was_meant_is_refused(mistake, refused, tmp_path):
    name, content, expected = BAD_ROWS[mistake]
    file = write(tmp_path, name, content)
    (complaint,) = refused({"data.path": str(file)})
    assert complaint == expected.format(file)


BAD_FOLDERS = {
    "empty": ({}, "has no data files, images or sounds; known endings: .parquet"),
    "two kinds": ({"a.jsonl": TEXTS, "b.txt": "hi"}, "mixes .jsonl and .txt files; keep one kind"),
    "test only": ({"test.jsonl": TEXTS}, "has no train split (found: test)"),
    "other columns": ({"train.jsonl": TEXTS, "test.jsonl": '{"txt": "a"}\n'}, "unknown column of the test split"),
}


@pytest.mark.parametrize("mistake", BAD_FOLDERS)
def test_a_data_folder_without_the_splits_is_refused(mistake, refused, tmp_path):
    files, expected = BAD_FOLDERS[mistake]
    (tmp_path / "data").mkdir()
    for name, content in files.items():
        write(tmp_path / "data", name, content)
    complaints = refused({"data.path": str(tmp_path / "data")})
    assert len(complaints) == 1 and expected in complaints[0]


def test_a_data_file_that_cannot_be_opened_is_refused(refused, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").symlink_to(tmp_path / "gone.jsonl")
    (complaint,) = refused({"data.path": str(tmp_path / "data")})
    assert complaint.startswith("data.path: ") and "has no data files" in complaint


def test_a_folder_inside_a_data_folder_is_no_data_file(refused, tmp_path):
    (tmp_path / "data" / "train.jsonl").mkdir(parents=True)
    (complaint,) = refused({"data.path": str(tmp_path / "data")})
    assert "has no data files" in complaint


def test_data_that_may_not_be_read_is_refused(refused, tmp_path, monkeypatch):
    def forbidden(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    file = write_jsonl(tmp_path / "data.jsonl", text_rows(9))
    monkeypatch.setattr("hf_compress.inputs.data_files._is_empty", forbidden)
    (complaint,) = refused({"data.path": str(file)})
    assert complaint.startswith("data.path: ") and "cannot be read" in complaint and str(file) in complaint


@pytest.mark.parametrize("path", ["~nobody-of-that-name/x", "x" * 300, "a\0b"], ids=["nobody's home", "long", "null"])
@pytest.mark.parametrize("key", ["data.path", "model", "distillation.teacher", "training.output_dir", "tokenizer"])
def test_what_cannot_be_a_path_is_refused(key, path, refused):
    changes = {"distillation.teacher": {"name": "model", "model": path}} if "teacher" in key else {key: path}
    changes = pretrained(path) if key == "model" else changes
    (complaint,) = refused(changes)
    assert complaint.startswith(key)


def test_a_parquet_file_without_rows_is_refused(refused, tmp_path):
    Dataset.from_dict({"text": []}, features=Features({"text": Value("string")})).to_parquet(tmp_path / "data.parquet")
    complaints = refused({"data.path": str(tmp_path / "data.parquet")})
    assert len(complaints) == 1 and "is empty; it needs rows" in complaints[0]


BAD_TEXTS = {
    "a null": (
        [*text_rows(9), {"text": None}],
        "row 9 (counted from 0) of {path} is empty (null) in the column 'text'; remove it",
    ),
    "all null": ([{"text": None}] * 9, "is empty (null) in the column 'text' (and 8 more such rows)"),
    "numbers": (
        [{"text": n} for n in range(9)],
        "column 'text' of the train split of {path} holds Value('int64'), not text",
    ),
    "lists": ([{"text": ["a", "b"]}] * 9, "holds List(Value('string')), not text"),
    "too short": (
        [{"text": ""}] * 30,
        "the validation split has fewer than 16 tokens; choose a shorter length or add text",
    ),
}


@pytest.mark.parametrize("mistake", BAD_TEXTS)
def test_a_text_column_without_text_is_refused(mistake, refused, tmp_path):
    rows, expected = BAD_TEXTS[mistake]
    path = write_jsonl(tmp_path / "data.jsonl", rows)
    complaints = refused({"data.path": str(path)})
    assert len(complaints) == 1, complaints
    assert expected.format(path=path) in complaints[0]


def labelled(values):
    return [{"text": "a b c", "label": value} for value in values]


BAD_LABELS = {
    "a gap": (
        labelled([0, 1, 3] * 10),
        "task.label: labels go up to 3 and 2 never occurs in training; number them from 0 without gaps",
    ),
    "from one": (labelled([1, 2] * 15), "task.label: labels go up to 2 and 0 never occurs in training"),
    "unlabelled": (
        labelled([0, 1] * 15 + [-1] * 9),
        "has the label -1, which means unlabelled or is a mistake (and 8 more such rows)",
    ),
    "fractions": (
        labelled([0.0, 1.0] * 15),
        "task.label: column 'label' holds float64, which are no labels; write problem: regression",
    ),
    "lists": (
        labelled([[1.0, 0.0], [0.0, 1.0]] * 15),
        "data.jsonl holds List(Value('float64')); a row has one label, which is",
    ),
    "lists of names": (labelled([["a", "b"], ["c"]] * 15), "holds List(Value('string')); a row has one label"),
    "mappings": (labelled([{"a": 1}, {"a": 2}] * 15), "; a row has one label, which is text, a class name or a whole"),
    "a null": (labelled([0, 1] * 15 + [None]), "task.label: row 30 (counted from 0) of "),
    "one label": (labelled(["good"] * 30), "task.label: column 'label' has one label only (good); two or more are needed"),
    "no column": ([{"text": "a"}] * 9, "task.label: unknown column of the train split"),
}
CLASSIFY = {"task.name": "sequence_classification"}


def test_every_wrong_column_is_named(refused, call, tmp_path):
    gap = write_jsonl(tmp_path / "gap.jsonl", labelled([0, 2] * 9))
    changes = {**CLASSIFY, "task.text": "txt", "task.label": "lable"}
    expected = ["task.text: unknown column of the train split", "task.label: unknown column of the train split"]
    for complaints in (refused(changes), call("check", tmp_path / "recipe.yaml")[2]):
        assert [line[: len(start)] for line, start in zip(complaints, expected, strict=True)] == expected
    complaints = refused({**CLASSIFY, "task.text": "txt", "data.path": str(gap)})
    assert len(complaints) == 2 and "labels go up to 2 and 1 never occurs" in complaints[1]


@pytest.mark.parametrize("mistake", BAD_LABELS)
def test_labels_that_are_none_are_refused(mistake, refused, tmp_path):
    rows, expected = BAD_LABELS[mistake]
    complaints = refused({**CLASSIFY, "data.path": str(write_jsonl(tmp_path / "data.jsonl", rows))})
    assert len(complaints) == 1, complaints
    assert expected in complaints[0]


def test_a_label_that_only_evaluation_has_is_refused(refused, tmp_path):
    for split, labels in (("train", "ab"), ("validation", "ab"), ("test", "abc")):
        write(tmp_path / "data", f"{split}.jsonl", "".join(json.dumps(row) + "\n" for row in labelled(labels)))
    complaints = refused({**CLASSIFY, "data.path": str(tmp_path / "data"), "data.max_train": 2})
    assert len(complaints) == 1
    assert (
        f"row 2 (counted from 0) of the test split of {tmp_path / 'data'} has the label 'c', which training has not"
        in complaints[0]
        and "data.max_train=2" in complaints[0]
    )


def test_class_names_in_another_order_in_evaluation_are_refused(refused, tmp_path):
    for split, names in (("train", ["a", "b"]), ("validation", ["a", "b"]), ("test", ["b", "a"])):
        features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
        (tmp_path / "data").mkdir(exist_ok=True)
        Dataset.from_dict({"text": ["x"] * 4, "label": [0, 1] * 2}, features=features).to_parquet(
            tmp_path / "data" / f"{split}.parquet"
        )
    complaints = refused({**CLASSIFY, "data.path": str(tmp_path / "data")})
    assert len(complaints) == 1 and "the test split numbers its labels in another way than training" in complaints[0]


VIT = {"model_type": "vit", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
IMAGES = {"task": "image_classification", "tokenizer": DROP, "model": {"config": {**VIT, "image_size": 8, "patch_size": 4}}}


IMAGE_MISTAKES = {
    "tokenizer": ({"tokenizer": {"vocab_size": 300}}, "tokenizer: image_classification reads no text; leave it out"),
    "channels": ({"model": {"config": {**VIT, "num_channels": 1}}}, "model: num_channels=1, and images are read as RGB"),
    "column": ({"task.image": "img"}, "task.image: unknown column of the train split"),
    "removed column": (
        {"training.remove_unused_columns": True},
        "training.remove_unused_columns: true would remove the images",
    ),
    "text model": (
        {"model": {"config": {"model_type": "gpt2"}}},
        "model: gpt2 has no AutoModelForImageClassification",
    ),
}


@pytest.mark.parametrize("mistake", IMAGE_MISTAKES)
def test_a_mistake_with_images_is_one_sentence(mistake, refused, tmp_path):
    changes, expected = IMAGE_MISTAKES[mistake]
    complaints = refused({**IMAGES, "data.path": str(write_images(tmp_path / "data.parquet")), **changes})
    assert len(complaints) == 1, complaints
    assert expected in complaints[0]


def test_an_image_that_cannot_be_decoded_is_refused_by_its_name(refused, tmp_path):
    for number in range(9):
        file = tmp_path / "data" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", (8, 8)).save(file)
    file.write_bytes(b"no image")
    (complaint,) = refused({**IMAGES, "data.path": str(tmp_path / "data"), "data.validation_share": 0.3})
    assert complaint.startswith("task.image: row ") and f"({file}) cannot be decoded: cannot identify image" in complaint


def test_names_of_files_that_are_not_there_are_no_images(refused, tmp_path):
    rows = [{"image": f"{n}.png", "label": n % 2} for n in range(9)]
    path = write_jsonl(tmp_path / "data.jsonl", rows)
    (complaint,) = refused({**IMAGES, "data.path": str(path)})
    assert complaint.startswith(f"task.image: row 0 (counted from 0) of {path} (0.png) cannot be decoded: ")
    assert complaint.endswith(" (and 8 more such rows); remove it, or mend the file")


# Checkpoints


def llama_classifier(names, **changes):
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=64,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
        **changes,
    )
    return LlamaForSequenceClassification(config)


def test_a_model_folder_that_is_not_there_is_refused_once(refused, tmp_path):
    complaints = refused(pretrained(tmp_path / "nowhere"))
    assert len(complaints) == 1
    assert complaints[0].startswith("model: there is no folder ") and "nowhere" in complaints[0]


def test_a_hub_id_that_cannot_be_had_is_refused_once(refused):
    complaints = refused(pretrained("nobody/nothing"))
    assert len(complaints) == 1
    assert complaints[0].startswith("model: nobody/nothing is not a local folder and cannot be loaded: ")


BROKEN_MODELS = {
    "empty folder": (
        lambda folder: [file.unlink() for file in folder.iterdir()],
        "model: {path} cannot be loaded: Unrecognized model",
    ),
    "no weights": (
        lambda folder: (folder / "model.safetensors").unlink(),
        "model: {path} cannot be loaded: Error no file named model.safetensors",
    ),
    "half the weights": (
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:9000]),
        "model: {path} cannot be loaded: {path}/model.safetensors is truncated: ",
    ),
    "another width": (
        lambda folder: (folder / "config.json").write_text(
            (folder / "config.json").read_text().replace('"intermediate_size": 64', '"intermediate_size": 96')
        ),
        "model: model.layers.0.mlp.down_proj.weight has the shape (32, 64) in {path} and (32, 96) by its config",
    ),
    "broken config": (
        lambda folder: (folder / "config.json").write_text("{nope"),
        "model: {path} cannot be loaded: It looks like the config file",
    ),
    "no tokenizer": (
        lambda folder: [file.unlink() for file in folder.glob("token*")],
        "tokenizer: the folder {path} holds no tokenizer",
    ),
    "broken tokenizer": (
        lambda folder: (folder / "tokenizer.json").write_text("{}"),
        "tokenizer: {path} cannot be loaded: ",
    ),
    "empty tokenizer": (
        lambda folder: [
            (folder / "tokenizer.json").unlink(),
            (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}'),
        ],
        "tokenizer: {path} holds no vocabulary",
    ),
}


@pytest.mark.parametrize("mistake", BROKEN_MODELS)
def test_a_broken_checkpoint_is_one_sentence(mistake, refused, tmp_path):
    damage, expected = BROKEN_MODELS[mistake]
    folder = write_model(tmp_path / "model")
    damage(folder)
    complaints = refused(pretrained(folder))
    assert len(complaints) == 1, complaints
    assert expected.format(path=folder) in complaints[0]


def test_a_file_is_no_model(refused, tmp_path):
    complaints = refused(pretrained(write_jsonl(tmp_path / "model.safetensors", [])))
    assert len(complaints) == 1 and "is a file; name the folder that holds it" in complaints[0]


def test_a_tokenizer_larger_than_the_model_is_refused(refused, tmp_path):
    complaints = refused(pretrained(write_model(tmp_path / "model", tiny_llama(vocab_size=40))))
    assert complaints == [
        f"tokenizer: it has {len(tiny_tokenizer())} entries and the model only 40; take the model's own tokenizer"
    ]


def test_a_fresh_tokenizer_for_a_trained_model_is_refused(refused, tmp_path):
    complaints = refused({**pretrained(write_model(tmp_path / "model")), "tokenizer": {"vocab_size": 300}})
    assert complaints == ["tokenizer: a fresh tokenizer fits no trained model; leave it out to use the model's own"]


def test_a_model_that_is_quantized_already_is_refused(refused, tmp_path):
    folder = write_model(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "compressed-tensors", "format": "pack-quantized"}
    (folder / "config.json").write_text(json.dumps(config))
    complaints = refused(pretrained(folder))
    assert len(complaints) == 1 and "is quantized already" in complaints[0]


def test_a_fresh_head_without_dense_is_refused(refused, tmp_path):
    complaints = refused(pretrained(write_model(tmp_path / "model"), CLASSIFY))
    assert len(complaints) == 1
    assert (
        complaints[0].startswith("dense: is missing: ") and "has no score.weight (a new head, 1 tensors)" in complaints[0]
    )
    assert complaints[0].endswith("write `dense: {}`")


def test_a_classifier_of_another_number_of_labels_is_refused(refused, tmp_path):
    folder = write_model(tmp_path / "model", llama_classifier(["a", "b", "c"]))
    for dense in ({}, {"dense": {}}):
        complaints = refused({**pretrained(folder, CLASSIFY), **dense})
        assert len(complaints) == 1
        assert "classifies 3 labels (a, b, c) and the data has 2 (LABEL_0, LABEL_1)" in complaints[0]


def test_a_classifier_of_other_labels_is_refused(refused, tmp_path):
    folder = write_model(tmp_path / "model", llama_classifier(["good", "bad"]))
    complaints = refused(pretrained(folder, {**CLASSIFY, "task.label": "name"}))
    assert len(complaints) == 1
    assert "classifies good, bad and the data cold, warm, so an id has two meanings" in complaints[0]


def test_positions_that_padding_takes_do_not_count(refused, tmp_path):
    config = RobertaConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=20,
        num_labels=2,
    )
    folder = write_model(tmp_path / "model", RobertaForSequenceClassification(config))
    complaints = refused(pretrained(folder, {**CLASSIFY, "task.length": 19}))
    assert complaints == ["task.length: 19 tokens are more than the model's 18 positions"]


# Teachers


def teacher(path):
    return {"distillation": {"teacher": {"name": "model", "model": str(path)}}}


def other_tokenizer(folder):
    """The same size, other tokens."""
    file = folder / "tokenizer.json"
    file.write_text(file.read_text().replace('"q": ', '"ß": '))
    return folder


def test_a_teacher_with_a_vocabulary_of_another_size_is_refused(refused, tmp_path):
    """Unless its tokenizer shows that the rest is padding."""
    student, large = write_model(tmp_path / "student"), write_model(tmp_path / "large", tiny_llama(vocab_size=80))
    for file in large.glob("tokenizer*"):
        file.unlink()
    complaints = refused(pretrained(student, teacher(large)))
    assert len(complaints) == 1
    assert complaints[0].startswith(
        "distillation.teacher.model: the teacher has a vocabulary of 80 and the student one of 64"
    )


def test_a_teacher_with_other_tokens_is_refused(refused, tmp_path):
    student, other = write_model(tmp_path / "student"), other_tokenizer(write_model(tmp_path / "other"))
    complaints = refused(pretrained(student, teacher(other)))
    assert len(complaints) == 1
    assert complaints[0].startswith(
        "distillation.teacher.model: the teacher's tokenizer is another one than the student's: 'q' has id 20 for the"
    )


def test_a_teacher_without_weights_or_without_a_head_for_the_task_is_refused(refused, tmp_path):
    student = write_model(tmp_path / "student")
    empty = write_model(tmp_path / "empty")
    (empty / "model.safetensors").unlink()
    assert "no file named model.safetensors" in " ".join(refused(pretrained(student, teacher(empty))))
    headless = write_model(tmp_path / "headless", llama_classifier(["a", "b"]))
    complaints = refused(pretrained(student, teacher(headless)))
    assert len(complaints) == 1
    assert "has no lm_head.weight (1 tensors are missing), so it was not trained for causal_lm" in complaints[0]


def test_a_teacher_of_another_task_is_refused(refused, tmp_path):
    student = write_model(tmp_path / "student")
    complaints = refused(pretrained(student, teacher(write_model(tmp_path / "vit", tiny_vit(), tokenizer=False))))
    assert len(complaints) == 1 and "has a vocabulary of None" not in complaints[0]
    assert complaints[0].startswith("distillation.teacher.model: vit has no AutoModelForCausalLM")


def test_a_teacher_of_another_architecture_teaches(call, tmp_path):
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4, head_dim=8
    )
    config.num_key_value_heads = 2
    from hf_compress._yaml import write_yaml

    write_jsonl(tmp_path / "train.jsonl", text_rows())
    student = write_model(tmp_path / "student")
    strange = write_model(tmp_path / "strange", Qwen3ForCausalLM(config))
    (tmp_path / "recipe.yaml").write_text(write_yaml(recipe(tmp_path, pretrained(student, teacher(strange)))))
    code, _, complaints = call("check", tmp_path / "recipe.yaml")
    assert (code, complaints) == (0, [])


# Output folder


def test_an_output_folder_that_is_a_file_or_lies_in_one_is_refused(refused, tmp_path):
    write(tmp_path, "thesis.txt", "mine")
    assert refused({"training.output_dir": str(tmp_path / "thesis.txt")}) == [
        f"training.output_dir: {tmp_path / 'thesis.txt'} is a file; name another folder"
    ]
    complaints = refused({"training.output_dir": str(tmp_path / "thesis.txt" / "out")})
    assert len(complaints) == 1 and complaints[0].endswith("would lie in it; name another folder")


def test_an_output_folder_that_cannot_be_written_is_refused(refused, tmp_path, monkeypatch):
    # Asked of the system, because a test that runs as root may write everywhere.
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(tmp_path) and access(path, mode))
    complaints = refused()
    assert complaints == [f"training.output_dir: {tmp_path} cannot be written to; name a folder that can"]


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize("place", ["/proc/out", "/dev/null/out", "new/" + "a" * 300])
def test_an_output_folder_that_the_system_does_not_make_is_refused_before_anything_is_read(
    place, command, call, refused, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (complaint,) = refused({"training.output_dir": place})
    assert complaint.startswith("training.output_dir: ") and "name another" in complaint
    assert call(command, tmp_path / "recipe.yaml") == (2, "", [complaint])


def test_an_output_folder_with_other_files_is_refused(refused, tmp_path):
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", "thesis.txt", "mine")
    complaints = refused()
    assert complaints == [
        f"training.output_dir: {tmp_path / 'out'} holds files of something else; name an empty or new folder"
    ]


def test_an_output_folder_of_another_run_names_the_difference(refused, tmp_path):
    from hf_compress import Recipe

    (tmp_path / "out").mkdir()
    write(tmp_path / "out", "recipe.yaml", Recipe.from_plain(recipe(tmp_path)).to_yaml())
    for options in ((), ("--resume",)):
        complaints = refused({"pruning.schedule.final": 0.25}, *options)
        assert len(complaints) == 1
        difference = "pruning.schedule.final is set here and not there"
        assert complaints[0].endswith(f"holds a different run ({difference}); name another folder, or remove it")
    assert "holds this run already and it was interrupted; add --resume" in " ".join(refused())


# The file itself

BAD_YAML = {
    "no mapping": ("- job: train\n", "recipe.yaml holds no mapping; a recipe starts with `job: train`"),
    "nothing": ("", "recipe.yaml holds no mapping"),
    "one word": ("train\n", "recipe.yaml holds no mapping"),
    "key twice": (
        "job: train\ntask: causal_lm\njob: train\n",
        "recipe.yaml is not valid YAML: the key 'job' stands twice (line 3, column 1)",
    ),
    "nested key twice": ("data:\n  path: a\n  path: b\n", "the key 'path' stands twice (line 3, column 3)"),
    "open bracket": (
        "job: [train\ntask: x\n",
        "recipe.yaml is not valid YAML: expected ',' or ']', but got ':' (line 2, column 5)",
    ),
    "tab": ("job: train\n\ttask: x\n", "found character '\\t' that cannot start any token (line 2, column 1)"),
    "template": ("job: {{job}}\n", "a key must be one word, not a mapping or a list (line 1, column 7)"),
    "object": ("job: !!python/object:os.system x\n", "could not determine a constructor for the tag"),
    "control character": ("job: tr\x01ain\n", "unacceptable character #x0001"),
}


@pytest.mark.parametrize("mistake", BAD_YAML)
def test_a_file_that_is_no_recipe_is_one_sentence(mistake, refused):
    text, expected = BAD_YAML[mistake]
    complaints = refused(text=text)
    assert len(complaints) == 1, complaints
    assert expected in complaints[0]


def test_a_recipe_that_is_not_there_or_no_text_is_refused(call, tmp_path):
    code, _, complaints = call("run", tmp_path / "nowhere.yaml")
    assert code == 2 and complaints == [
        f"there is no recipe {tmp_path / 'nowhere.yaml'}; recipes are YAML files, see recipes/"
    ]
    code, _, complaints = call("run", tmp_path)
    assert code == 2 and complaints[0].startswith(f"there is no recipe {tmp_path};")
    write(tmp_path, "binary.yaml", bytes(range(256)))
    code, _, complaints = call("check", tmp_path / "binary.yaml")
    assert code == 2 and "is not UTF-8 text" in complaints[0]


BAD_OVERRIDES = {
    "no equals sign": ("training.max_steps", "--set: 'training.max_steps' is not an assignment; write a.b=value"),
    "no key": ("=5", "is not an assignment; write a.b=value"),
    "empty part": ("a..b=5", "is not an assignment; write a.b=value"),
    "into a number": ("training.max_steps.x=5", "--set: 'training.max_steps.x=5': training.max_steps is 4, not a mapping"),
    "no such item": ("distillation.losses.0.weight=1", "the recipe has no list distillation.losses; write the list first"),
    "broken value": ("task.length=[1", "--set 'task.length=[1' is not valid YAML"),
    "unknown key": ("trainig.seed=5", "trainig: unknown key 'trainig'; did you mean 'training'?"),
    "unknown value": ("task=causal_ml", "task: unknown task 'causal_ml'"),
}


@pytest.mark.parametrize("mistake", BAD_OVERRIDES)
def test_a_bad_override_is_one_sentence(mistake, refused):
    override, expected = BAD_OVERRIDES[mistake]
    complaints = refused({}, "--set", override)
    assert len(complaints) == 1, complaints
    assert expected in complaints[0]


def test_every_bad_override_is_named(refused):
    complaints = refused(
        {"distillation.losses": [{"weight": 0.5}]}, "--set", "a", "--set", "distillation.losses.1.weight=2"
    )
    assert len(complaints) == 2
    assert "'1' is not an item of a list of 1; they count from 0" in complaints[1]


SECRET = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz01234567"
WITH_SECRET = {
    "token": ({"training.hub_token": SECRET}, (), "training.hub_token"),
    "token that does not look like one": ({"training.hub_token": "not-a-real-one"}, (), "training.hub_token"),
    "in the dense stage": ({"dense": {"training": {"hub_token": SECRET}}}, (), "dense.training.hub_token"),
    "at an unknown key": ({"training.hub_tokn": SECRET}, (), "training.hub_tokn"),
    "of the wrong kind": ({"data": SECRET}, (), "data"),
    "in an address": ({"model": f"https://me:{SECRET}@huggingface.co/a/b"}, (), "model"),
    "set": ({}, ("--set", f"training.hub_token={SECRET}"), "--set: training.hub_token"),
    "set with a mistake": ({}, ("--set", f"training.hub_token=[{SECRET}"), "--set: training.hub_token"),
    "beside other mistakes": ({"training.hub_token": SECRET, "taks": "x", "title": 5}, (), "training.hub_token"),
}


@pytest.mark.parametrize("case", WITH_SECRET)
def test_a_recipe_with_a_secret_is_refused_without_repeating_it(case, refused, capsys):
    changes, options, place = WITH_SECRET[case]
    complaints = refused(changes, *options)
    assert len(complaints) == 1
    assert complaints[0].startswith(place) and "set HF_TOKEN in the environment, or log in" in complaints[0]
    assert SECRET not in complaints[0] and "not-a-real-one" not in complaints[0]


def test_a_recipe_made_in_python_with_a_secret_is_refused(tmp_path):
    import dataclasses

    made = Recipe.from_plain(recipe(tmp_path))
    with pytest.raises(CompressionError, match="training.hub_token: holds a secret"):
        dataclasses.replace(made, training={**made.training, "hub_token": SECRET})
