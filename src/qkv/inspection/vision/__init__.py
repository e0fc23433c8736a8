"""Why a vision model answered as it did: which patches speak for it, and what attends to what."""
