"""Care of any DVC project: its cache checked (`fsck`), its last commit made again (`verify`)."""
