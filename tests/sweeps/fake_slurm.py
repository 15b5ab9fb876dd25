"""SLURM's commands for a test: `sbatch` keeps the script and runs its array in the background, job after job."""

import sys
from pathlib import Path

SBATCH = """#!{python}
import pathlib, re, subprocess, sys
script = pathlib.Path(sys.argv[-1])
pathlib.Path(r"{folder}", "submitted.sh").write_text(script.read_text())
found = re.search(r"--array=(\\d+)-(\\d+)", script.read_text())
first, last = map(int, found.groups()) if found else (0, 0)
runs = [
    f"SLURM_JOB_ID=77 SLURM_ARRAY_JOB_ID=77 SLURM_ARRAY_TASK_ID={{i}} SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 "
    f"SLURM_NODEID=0 SLURM_JOB_NUM_NODES=1 SLURM_JOB_NODELIST=here bash {{script}}"
    for i in range(first, last + 1)
]
log = open(pathlib.Path(r"{folder}", "array.log"), "w")
text = "; ".join(["sleep 2", *runs]).replace(str(script), r"{folder}/submitted.sh")
subprocess.Popen(["bash", "-c", text], stdout=log, stderr=log, start_new_session=True)
print("Submitted batch job 77")
"""

SRUN = """#!{python}
import os, sys
command = sys.argv[sys.argv.index("-u") - 1 :]
os.execv(command[0], command)
"""

SACCT = """#!{python}
print("JobID|State|NodeList")
for i in range(9):
    print(f"77_{{i}}|RUNNING|here")
"""


def install(folder: Path) -> Path:
    """Write the commands, and return where `sbatch` will put the script that it was given.

    Args:
        folder: to be put on PATH.
    """
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("sacct", SACCT)):
        file = folder / name
        file.write_text(text.format(python=sys.executable, folder=folder))
        file.chmod(0o755)
    return folder / "submitted.sh"
