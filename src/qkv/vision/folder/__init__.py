"""The user's own images: a folder for each class, read once into a memory map."""

from qkv.vision.folder.load import (
    ImageFolderSettings,
    load_image_folder,
    load_labelled_images,
)

__all__ = ["ImageFolderSettings", "load_image_folder", "load_labelled_images"]
