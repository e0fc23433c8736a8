"""Texts: data sets, tokens, a frozen encoder, its states computed once, and light heads on them."""
