"""Which tokens of a conversation are answers."""

import pytest

from hf_compress._errors import CompressionError
from hf_compress.inputs.fresh import train_tokenizer
from hf_compress.inputs.sections import FreshTokenizer
from hf_compress.tasks.chats import PLAIN_TEMPLATE, encode_chat

CHATML = """\
{% for message in messages %}
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{%- endfor %}
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
MARKED = """\
{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}{% if message['role'] == 'assistant' %}\
{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{% else %}{{ message['content'] + '<|im_end|>' }}\
{% endif %}{{ '\\n' }}{% endfor %}"""
FORGETS = """\
{% for message in messages %}{{ message['role'] + ':' }}\
{% if loop.last or message['role'] == 'user' %}{{ message['content'] }}{% endif %}{{ '\\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"""
"""Earlier answers are left out, as some templates leave out what a model thought."""


def tokenizer(template):
    made = train_tokenizer(FreshTokenizer(vocab_size=320), ["user assistant hello there who is it me and you"] * 4)
    made.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    made.chat_template = template
    return made


def turns(*contents, first="user"):
    roles = ("user", "assistant") if first == "user" else ("assistant", "user")
    return [{"role": roles[place % 2], "content": content} for place, content in enumerate(contents)]


def answers(made, conversation, first=0):
    """The text of every answer, as its tokens have it."""
    ids, labels = encode_chat(made, conversation, first)
    assert ids == made.apply_chat_template(conversation)["input_ids"] and len(ids) == len(labels)
    found, before = [], -100
    for id, label in zip(ids, labels, strict=True):
        assert label in (id, -100)
        if label != -100:
            found = [*found[:-1], [*found[-1], id]] if before != -100 else [*found, [id]]
        before = label
    return [made.decode(one) for one in found]


TALK = turns("who is it", "me", "and you", "hello there")


def test_marked_answers_are_those_of_the_template():
    assert answers(tokenizer(MARKED), TALK) == ["me<|im_end|>", "hello there<|im_end|>"]
    made = tokenizer(PLAIN_TEMPLATE)
    assert answers(made, TALK) == [f"{one}{made.eos_token}" for one in ("me", "hello there")]
    assert made.apply_chat_template(TALK[:1], tokenize=False, add_generation_prompt=True).endswith("assistant\n")


def test_without_marks_an_answer_is_what_the_conversation_grows_by():
    made = tokenizer(CHATML)
    assert answers(made, TALK) == ["me<|im_end|>\n", "hello there<|im_end|>\n"]
    ids, labels = encode_chat(made, TALK)
    slow = []  # token by token, without a look at characters
    for place in (1, 3):
        before = made.apply_chat_template(TALK[:place], add_generation_prompt=True)["input_ids"]
        after = made.apply_chat_template(TALK[: place + 1])["input_ids"]
        assert after[: len(before)] == before and ids[: len(after)] == after
        slow += [-100] * (len(before) - len(slow)) + after[len(before) :]
    assert labels == slow + [-100] * (len(ids) - len(slow))


def test_answers_of_a_prompt_are_not_learned():
    for template in (MARKED, CHATML):
        (found,) = answers(tokenizer(template), TALK, first=2)
        assert found.strip() == "hello there<|im_end|>"


def test_a_template_that_changes_what_was_said_is_refused_where_it_matters():
    made = tokenizer(FORGETS)
    with pytest.raises(CompressionError, match="its first turns .here 2. become other tokens once more turns follow"):
        encode_chat(made, TALK)
    assert answers(made, TALK[:2]) == ["me\n"]  # one answer, at the end


def test_an_answer_without_a_question_needs_marks():
    alone = turns("hello", first="assistant")
    assert answers(tokenizer(MARKED), alone) == ["hello<|im_end|>"]
    with pytest.raises(CompressionError, match="it begins with an answer, and the chat template does not mark answers"):
        encode_chat(tokenizer(CHATML), alone)


def test_a_token_that_is_half_an_answer_is_refused():
    made = tokenizer(FORGETS.replace(":'", ": '"))
    with pytest.raises(CompressionError, match="its first turns .here 1. become other tokens once more turns follow"):
        encode_chat(made, TALK[:2])  # who asks ends with a space, and the answer goes on without


def test_what_a_template_refuses_is_said():
    made = tokenizer("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(CompressionError, match="the chat template refuses it: roles must alternate"):
        encode_chat(made, TALK)


def test_a_template_that_python_cannot_carry_out_is_refused_too():
    made = tokenizer("{% for message in messages %}{{ message['content'] + 1 }}{% endfor %}")
    with pytest.raises(CompressionError, match="the chat template refuses it: can only concatenate str"):
        encode_chat(made, TALK)


def test_a_template_that_writes_no_answer_is_refused_and_not_taken_for_a_short_length():
    with pytest.raises(CompressionError, match="the chat template writes nothing of its answers"):
        encode_chat(tokenizer("hello"), TALK)
