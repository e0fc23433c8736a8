"""Every plot, drawn from saved results only."""
