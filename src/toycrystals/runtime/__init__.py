"""How the package is run: params, errors in one line, the runner of stages. It decides no number, so no stage depends on it."""
