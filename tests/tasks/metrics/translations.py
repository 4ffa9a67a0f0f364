"""A few predicted and right texts: equal, near, empty, in other scripts, with capitals and punctuation."""

PREDICTIONS = [
    "The cat sat on the mat.",
    "It's raining cats and dogs, isn't it?",
    "",
    "Größe ist nicht alles .",
    "私は 猫 が好きです。",
    "the end of the long story is here",
]
REFERENCES = [
    "The cat sat on the mat.",
    "It is raining cats and dogs.",
    "Nothing at all.",
    "Größe ist nicht alles.",
    "私は猫が大好きです。",
    "The end of the story is near here",
]


def streams(several):
    """References as sacrebleu takes them: the first of every row, then the second, where there is one."""
    most = max(len(texts) for texts in several)
    return [[texts[place] if len(texts) > place else None for texts in several] for place in range(most)]
