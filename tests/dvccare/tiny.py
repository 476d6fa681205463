"""A DVC project of three stages that takes a second: a file and a folder, a copy of the file, and a summary that git tracks."""

import textwrap

from smoke import commit_all, dvc, git

FILES = {
    "dvc.yaml": """
        stages:
          make:
            cmd: python make.py
            deps: [make.py]
            outs: [data/one.bin, data/folder]
          use:
            cmd: python use.py
            deps: [use.py, data/one.bin, data/folder]
            outs: [models/copy.bin]
          judge:
            cmd: python judge.py
            deps: [judge.py, models/copy.bin]
            metrics:
              - results/metrics.json: {cache: false}
            plots:
              - results/table.csv: {cache: false}
        """,
    "make.py": """
        from pathlib import Path
        Path("data/folder/sub").mkdir(parents=True)
        Path("data/one.bin").write_bytes(bytes(range(256)) * 40)
        Path("data/folder/first.txt").write_text("first" * 1000)
        Path("data/folder/sub/second.txt").write_text("second" * 1000)
        """,
    "use.py": """
        from pathlib import Path
        Path("models").mkdir(exist_ok=True)
        Path("models/copy.bin").write_bytes(Path("data/one.bin").read_bytes())
        """,
    "judge.py": """
        from pathlib import Path
        Path("results").mkdir(exist_ok=True)
        Path("results/metrics.json").write_text('{"mop": {"psnr": 40.0}}')
        Path("results/table.csv").write_text("method,metric,type,value,low,high\\nmop,psnr,all,40,39,41\\n")
        """,
    ".gitignore": "/data\n/models\n__pycache__\n",
}


def finish_project(folder):
    """Write the project into `folder`, run it, and commit the lock."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "config", "user.name", "tiny")
    git(folder, "config", "user.email", "tiny@localhost")
    dvc(folder, "init", "--quiet")
    dvc(folder, "config", "core.analytics", "false")
    for name, text in FILES.items():
        (folder / name).write_text(textwrap.dedent(text))
    dvc(folder, "repro")
    commit_all(folder, "results")
    return folder
