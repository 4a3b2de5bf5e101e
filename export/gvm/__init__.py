"""GVM: three artefacts from one checkpoint."""
