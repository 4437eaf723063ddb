"""A structure that ends with the exit code it is given."""

import sys

sys.stderr.write("it broke\n")
sys.exit(int(sys.argv[1]))
