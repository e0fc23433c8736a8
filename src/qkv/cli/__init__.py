"""The `qkv` command. Modules here import torch only once a command needs it."""
