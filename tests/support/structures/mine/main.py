import os
import sys

sys.stdout.write(f"{os.environ['GREETING']} {sys.argv[1]}\n")
