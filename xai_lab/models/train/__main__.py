"""``python -m xai_lab.models.train``."""

import sys

from xai_lab.models.train import main

sys.exit(main())
