"""Says hello with the version that was built."""

import os

print("hello from greeter", os.environ["GREETER_VERSION"])
