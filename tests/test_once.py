"""What is said once in a run."""

import logging

from hf_compress._once import log_once, saying_once

logger = logging.getLogger("hf_compress.test")


def said(caplog, *numbers):
    caplog.clear()
    with caplog.at_level(logging.INFO):
        for number in numbers:
            log_once(logger, logging.WARNING, "number %d", number)
    return [record.getMessage() for record in caplog.records]


def test_a_sentence_is_said_once_in_a_block_and_every_time_outside(caplog):
    assert said(caplog, 1, 1) == ["number 1", "number 1"]
    for _ in range(2):
        with saying_once():
            assert said(caplog, 1, 2, 1) == ["number 1", "number 2"]
            assert said(caplog, 2, 3) == ["number 3"]
    assert said(caplog, 1) == ["number 1"]


def test_a_block_inside_a_block_belongs_to_it(caplog):
    with saying_once():
        said(caplog, 1)
        with saying_once():
            assert said(caplog, 1, 2) == ["number 2"]
        assert said(caplog, 2) == []


def test_blocks_that_share_a_memory_go_on(caplog):
    memory = set()
    with saying_once(memory):
        said(caplog, 1)
    with saying_once(memory):
        assert said(caplog, 1, 2) == ["number 2"]


def test_what_nobody_hears_counts_as_not_said(caplog):
    with saying_once():
        with caplog.at_level(logging.ERROR, logger=logger.name):
            log_once(logger, logging.WARNING, "quiet")
        with caplog.at_level(logging.INFO, logger=logger.name):
            log_once(logger, logging.WARNING, "quiet")
    assert [record.getMessage() for record in caplog.records] == ["quiet"]


def test_a_function_can_be_a_block(caplog):
    @saying_once()
    def run():
        return said(caplog, 1, 1)

    assert run() == run() == ["number 1"]
