"""Arrays and tables to matplotlib figures, without pyplot: the same input gives the same bytes."""
