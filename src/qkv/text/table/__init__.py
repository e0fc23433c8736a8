"""The user's own texts: CSV, TSV, JSONL or Parquet tables, or a folder of text files a class."""

from qkv.text.table.load import load_labelled_texts, load_text_table
from qkv.text.table.settings import TextTableSettings
from qkv.text.table.unlabelled import read_texts

__all__ = ["TextTableSettings", "load_labelled_texts", "load_text_table", "read_texts"]
