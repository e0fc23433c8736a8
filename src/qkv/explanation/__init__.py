"""Why a model answered as it did, and how far the explanation itself can be believed."""
