"""``check`` and ``verify``: jobs spread over processes, measured, judged and kept.

Imports everything of ``verify`` but the command line. Read ``checking.py`` first, then ``campaign.py``.

Importing this package loads the plugins, in worker processes too.
"""

from maxmargin.models import plugins

plugins.load()
