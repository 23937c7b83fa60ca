"""
Puts capture and sink in order. Where the guarantees are made.
"""

from .comparison import Comparison as Comparison
from .mend import mend as mend
from .prepare import StartedAnew as StartedAnew
from .prepare import lost_continuity as lost_continuity
from .prepare import prepare as prepare
from .seed import Loaded as Loaded
from .seed import load as load
from .seed import plan as plan
from .seed import repair as repair
from .stream import Step as Step
from .stream import stream as stream
from .sync import Event as Event
from .sync import SetAside as SetAside
from .sync import catch_up as catch_up
from .sync import follow as follow
from .unattended import Retry as Retry
from .unattended import unattended as unattended
from .verify import Awaited as Awaited
from .verify import Read as Read
from .verify import compare as compare
from .verify import verify as verify
