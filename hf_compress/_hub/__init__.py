"""The Hub: who may write where, what lies there, and one commit that brings a whole folder or nothing.

Knows files and repositories, and nothing of models; `huggingface_hub` is imported when something is asked of the Hub.
"""
