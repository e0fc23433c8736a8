"""Why a text model answered as it did: which words speak for its answer, and what it attends to."""
