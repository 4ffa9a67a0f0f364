"""Conversations, of which the answers are learned."""

import math

import pytest
import torch
from datasets import Dataset
from torch.nn import functional

from hf_compress._errors import CompressionError
from hf_compress._problems import RecipeError
from hf_compress.inputs.row_numbers import numbered
from hf_compress.inputs.sections import Data
from hf_compress.tasks.builtin.chat import Chat
from hf_compress.tasks.opened import open_inputs
from tests.tiny import tiny_llama, tiny_tokenizer

DATA = Data(path="here")
TEMPLATE = (
    "{% for m in messages %}{{ m['role'][0] + ':' + m['content'] + ';' }}{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}"
)


def tokenizer(template=TEMPLATE):
    made = tiny_tokenizer()
    made.chat_template = template
    return made


def splits(**columns):
    return dict.fromkeys(("train", "validation", "test"), Dataset.from_dict(columns))


def turns(*contents):
    return [{"role": ("user", "assistant")[place % 2], "content": content} for place, content in enumerate(contents)]


def learned(task, data, made=None):
    """What each example of the test split learns, as text."""
    made = tokenizer() if made is None else made
    rows = task.examples(data, made, [])["test"]
    return ["".join(made.convert_ids_to_tokens([id for id in row["labels"] if id != -100])) for row in rows]


def test_the_answers_are_learned_in_every_form_of_a_conversation():
    assert learned(Chat(), splits(messages=[turns("hi", "yo"), turns("a", "b", "c", "d")])) == ["yo;", "b;d;"]
    task = Chat(prompt="question", completion="answer")
    assert learned(task, splits(question=["hi"], answer=["yo"])) == ["yo;"]
    history = splits(question=[turns("a", "b", "c")], answer=[[{"role": "assistant", "content": "d"}]])
    assert learned(task, history) == ["d;"]  # b is the prompt's
    assert list(task.texts(history["train"])) == ["a", "b", "c", "d"]


def test_a_batch_is_padded_on_the_right_even_where_generation_pads_on_the_left():
    made = tokenizer()
    made.padding_side = "left"
    examples = Chat().examples(splits(messages=[turns("hi", "yo"), turns("a", "b")]), made, [])["train"]
    batch = Chat().collator(made)([examples[0], examples[1]])
    assert set(batch) == {"input_ids", "attention_mask", "labels"} and made.padding_side == "left"
    assert batch["attention_mask"].tolist() == [[1] * 10, [1] * 8 + [0, 0]]
    assert (batch["labels"] == -100).tolist() == [[True] * 7 + [False] * 3, [True] * 6 + [False] * 2 + [True] * 2]


def test_answers_that_are_cut_are_counted_and_those_that_are_gone_left_out():
    data = splits(messages=[turns("hi", "yo"), turns("hi", "yo, yo"), turns("a long question", "yes")])
    task = Chat(length=10)
    examples = task.examples(data, tokenizer(), [])
    assert learned(task, data) == ["yo;", "yo,"] and examples["train"]["cut"][:] == [False, True]
    facts = task.describe_examples(data, examples)["answers cut at 10 tokens"]
    assert facts.startswith("2 of 3 train rows (1 of them wholly, and left out), 2 of 3 validation rows")
    roomy = Chat(length=64)
    assert roomy.describe_examples(data, roomy.examples(data, tokenizer(), [])) == {"answers cut at 64 tokens": "none"}
    with pytest.raises(CompressionError, match="task.length: no answer of the train split begins within 4 tokens"):
        Chat(length=4).examples(data, tokenizer(), [])


def test_perplexity_is_that_of_the_answers_alone():
    data = splits(messages=[turns("hi", "yo"), turns("who is it", "me", "no", "yes"), turns("a", "b")])
    made, model, total, count = tokenizer(), tiny_llama().eval(), 0.0, 0
    examples = Chat().examples(data, made, [])["test"]
    for row in examples:  # by hand: one at a time, one answer's token after the other
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([row["input_ids"]])).logits[0]
        for place, label in enumerate(row["labels"]):
            if label != -100:
                total -= functional.log_softmax(logits[place - 1], -1)[label].item()
                count += 1
    for size in (1, 3):
        measured = Chat().evaluate(model, examples, data["test"], made, size, "x")
        assert measured["perplexity"] == pytest.approx(math.exp(total / count), rel=1e-5)
        assert measured["num_tokens"] == count == len("yo;me;yes;b;")


def test_empty_and_missing_answers_are_refused_with_their_rows_all_at_once():
    data = splits(messages=[turns("hi", "yo"), turns("hi", " "), turns("hi"), turns("a", "b", "c", "")])
    with pytest.raises(RecipeError) as refusal:
        Chat().check_data(data, DATA)
    found = [str(problem) for problem in refusal.value.problems]
    assert len(found) == 6  # two in each split
    assert found[0] == (
        "task.messages: row 1 (counted from 0) of the train split has an assistant turn that is empty (and 1 more such"
        " row); remove the turn, or the row"
    )
    assert found[1].startswith("task.messages: row 2 (counted from 0) of the train split has no assistant turn;")
    with pytest.raises(RecipeError, match="task.completion: row 0 .counted from 0. of the train split"):
        Chat(prompt="q", completion="answer").check_data(splits(q=["hi"], answer=[""]), DATA)


def test_columns_of_another_form_are_refused_in_words():
    with pytest.raises(RecipeError, match="task.messages: .* not lists of {role, content}"):
        Chat().check_data(splits(messages=["hi"]), DATA)
    with pytest.raises(RecipeError, match="task.prompt: .* neither text nor lists of {role, content}"):
        Chat(prompt="q", completion="a").check_data(splits(q=[1], a=["yo"]), DATA)
    for wrong in ({"prompt": "q"}, {"completion": "a"}):
        with pytest.raises(CompressionError, match="prompt and completion belong together"):
            Chat(**wrong)
    with pytest.raises(CompressionError, match="messages and prompt are two ways to name conversations"):
        Chat(messages="talk", prompt="q", completion="a")


def test_a_tokenizer_without_a_template_is_refused_and_a_file_may_bring_one(tmp_path):
    with pytest.raises(CompressionError, match="tokenizer: has no chat template"):
        Chat().finish_processor(tokenizer(None), fresh=False)
    own = tokenizer()
    Chat().finish_processor(own, fresh=False)
    assert own.chat_template == TEMPLATE
    made = tokenizer(None)
    Chat().finish_processor(made, fresh=True)
    assert learned(Chat(), splits(messages=[turns("hi", "yo")]), made) == ["yo</s>"]
    file = tmp_path / "chat.jinja"
    file.write_text(TEMPLATE.replace("';'", "'!'"))
    Chat(template=str(file)).finish_processor(own, fresh=False)
    assert learned(Chat(), splits(messages=[turns("hi", "yo")]), own) == ["yo!"]
    for text, words in (
        ("{% for %}", "is not a chat template"),
        ("{{ raise_exception('no') }}", "is not a chat template: no"),
        ("{{ messages[0]['content'] + 1 }}", "is not a chat template: can only concatenate str"),
    ):
        file.write_text(text)
        with pytest.raises(CompressionError, match=rf"task.template: .*chat.jinja {words}"):
            Chat(template=str(file)).finish_processor(own, fresh=False)
    with pytest.raises(CompressionError, match="task.template: .*nowhere.jinja cannot be read"):
        Chat(template=str(tmp_path / "nowhere.jinja")).finish_processor(own, fresh=False)


def test_what_is_wrong_with_data_and_tokenizer_is_said_at_once(tmp_path):
    tiny_llama().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    rows = splits(messages=[turns("hi", "")] * 9)["train"]
    rows.to_parquet(tmp_path / "data.parquet")
    with pytest.raises(RecipeError) as refusal:
        open_inputs(str(tmp_path), Data(path=str(tmp_path / "data.parquet")), Chat(length=100))
    paths = [problem.path for problem in refusal.value.problems]
    assert paths == ["task.messages", "tokenizer", "task.length"]


def test_a_template_that_is_not_there_is_refused_before_a_tokenizer_is_trained(tmp_path):
    with pytest.raises(CompressionError, match="task.template: .*nowhere.jinja cannot be read: No such file or directory$"):
        Chat(template=str(tmp_path / "nowhere.jinja")).check_config(tiny_llama().config, None)


def test_a_row_that_the_template_refuses_is_named():
    with pytest.raises(CompressionError, match="^task.messages: row 1 .* of here: the chat template refuses it: no"):
        made = tokenizer(TEMPLATE + "{% if messages[0]['content'] == 'bad' %}{{ raise_exception('no') }}{% endif %}")
        data = splits(messages=[turns("hi", "yo"), turns("bad", "yo")])
        Chat().examples({name: numbered(split, "here") for name, split in data.items()}, made, [])
